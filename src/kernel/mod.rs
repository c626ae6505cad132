//! The kernel's interfaces: system calls, sysctls, devices, module files.
//! What they are used for is decided above.

pub mod affinity;
pub mod clock;
pub mod knob;
pub mod module;
pub mod sys;
pub mod uname;
