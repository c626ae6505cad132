//! Disposable virtual machines: one QEMU process for one trial, watched through
//! three sockets (console, agent, QMP) and one shared page (flight recorder).
//! Nothing touches the disk: sockets, initramfs and page are anonymous, so they
//! go with the process whatever kills it. What the bytes mean is decided above.

pub mod accel;
mod agent_port;
pub mod at_panic;
mod clone;
mod command;
pub mod contents;
pub mod initramfs;
pub mod instrument;
mod machine;
pub mod protocol;
mod qemu;
mod qmp;
mod template;
pub mod vmcore;

pub use agent_port::open_agent;
pub use command::{AGENT_TTY, VmSpec};
pub use machine::{Vm, VmEvent};
pub use qemu::{Qemu, VmError};
pub use qmp::{QmpEvent, RunState, Shutdown};
pub use template::{SavableVm, SaveError, Template};
