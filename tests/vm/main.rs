//! `modrace vm` and its kin on real kernels: what must crash does, what must not survives,
//! and trouble of every kind is told apart from both. The lab kernels must have
//! been built; `make test` does that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod accelerator;
mod clones;
mod compared;
mod debugger;
mod decoded;
mod drivers;
mod explore;
mod misbehaves;
mod near_miss;
mod old_kernels;
mod outcomes;
mod prove;
mod repeated;
mod states;
#[path = "../common/stock_kernel.rs"]
mod stock_kernel;
mod support;
mod trouble;
mod vmcores;
