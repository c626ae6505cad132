//! `modrace run` on a Debian 12 with systemd, udev and a journal: the machine of
//! a person who types it. The stock kernel, and the same one with the fix taken
//! out of its code before it boots.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod campaign;
mod cuts;
#[path = "../common/disk.rs"]
mod disk;
mod kernel;
mod machine;
mod neighbours;
#[path = "../common/running.rs"]
mod running;
