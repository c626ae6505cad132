//! The live kernel's interfaces: system calls, sysctls, devices, `/dev/kmsg`,
//! pstore. What they are used for is decided above; all unsafe code is in `sys`.

pub mod affinity;
pub mod clock;
pub mod crash_log;
pub mod first_load;
pub mod kmsg;
pub mod module;
pub mod preflight;
pub mod priority;
pub mod program;
pub mod pstore;
pub mod random;
pub mod rcu;
pub mod sys;
pub mod tunable;
pub mod udev;
pub mod uname;
pub mod unload;
pub mod usage;
