//! modrace: races module loading and unloading against readers of
//! `/proc/modules`, and says what a Linux kernel did under it.
//!
//! The floors of the house. A file imports only from floors below its own;
//! `tests/layering.rs` holds the code to it.
//!
//! ```text
//! 5  cli       arguments, plans, one file per command, progress and text
//! 4  report    one file per format over the same record
//! 3  trial     campaign, trial, watch, guest: who decides what happened
//! 2  race      gate, loaders, readers, chaos │ vm   QEMU │ lab  kernels
//! 1  kernel    system calls, sysctls, Kbuild, module images; all unsafe code
//! 0  crash     bytes of a log → crashes      │ stats     times → statistics
//!    console   bytes → lines                 │ procfs    /proc lines
//!    model     the records that everything above speaks in
//! ```
//!
//! Floor 0 is pure: no files, no threads, no clocks, no processes. Inside it
//! `crash` and `stats` may use `console`, `procfs` and `model`, which use
//! nothing.

pub mod cli;
pub mod console;
pub mod crash;
pub mod interleave;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod procfs;
pub mod race;
pub mod report;
pub mod stats;
pub mod trial;
pub mod vm;
