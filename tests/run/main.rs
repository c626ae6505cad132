//! `modrace run` and `modrace recover` on machines that really crash, lose
//! power, or survive: QEMU with a disk and a pstore, nobody watching from
//! outside. The lab kernels must have been built; `make test` does that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod crashes;
#[path = "../common/disk.rs"]
mod disk;
mod kills;
mod machine;
mod refusals;
#[path = "../common/running.rs"]
mod running;
#[path = "../common/stock_kernel.rs"]
mod stock_kernel;
mod survives;

/// Races the module on the machine's disk, with a report at a known place.
const RUN: &str = "modrace run --disposable --module /dummy_module.ko --report /data/report.json";
