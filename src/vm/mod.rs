//! Disposable virtual machines: one QEMU process for one trial, watched through
//! three sockets (console, agent, QMP) and one shared page (flight recorder).
//! Nothing touches the disk: sockets, initramfs and page are anonymous, so they
//! go with the process whatever kills it. What the bytes mean is decided above.

pub mod accel;
mod command;
mod console_tty;
pub mod initramfs;
pub mod instrument;
mod qemu;
mod qmp;
pub mod recorder;

pub use command::{AGENT_TTY, VmSpec};
pub use console_tty::open_agent;
pub use qemu::{Qemu, Vm, VmError, VmEvent};
pub use qmp::{QmpEvent, RunState, Shutdown};
