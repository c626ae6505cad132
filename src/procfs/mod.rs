//! Lines of `/proc` files. Pure: opening files is elsewhere.

pub mod cpus;
pub mod modules;
