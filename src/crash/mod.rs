//! Bytes of a log → crashes. Pure: no files, threads, clocks or processes.

pub use crate::model::Crash;
