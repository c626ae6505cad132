//! Trials in disposable VMs: a guest booted or cloned, all that comes out of it
//! gathered, and handed to the judge. `campaign` repeats trials, of whatever kind.

mod boots;
pub mod campaign;
mod console_log;
mod debugger;
mod event;
mod listener;
mod start;
mod virtual_cpus;
mod vm_trial;
mod vmcore;
mod watch;

pub use boots::MOST_BOOTS;
pub use campaign::{Interrupted, Schedule, Turn};
pub use event::Event;
pub use vm_trial::{VmTrial, VmTrials};
pub use vmcore::{VmcoreChoice, Vmcores};
pub use watch::{Budgets, Step, Watch};
