//! The kernel's interfaces: system calls, sysctls, devices, module files,
//! kernel builds. What they are used for is decided above.

pub mod affinity;
pub mod boot_image;
pub mod cache;
pub mod clock;
pub mod config;
pub mod kbuild;
pub mod kmsg;
pub mod knob;
pub mod make;
mod make_error;
pub mod module;
pub mod module_image;
pub mod module_tree;
pub mod packed;
pub mod preflight;
pub mod priority;
pub mod pstore;
pub mod sys;
pub mod uname;
