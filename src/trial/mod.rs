//! One trial: the race performed, the evidence gathered, an outcome.
//!
//! `runner` races on the machine that it runs on: as PID 1 of a guest, or in a
//! worker process of a bare machine. `vm_trial` boots such a guest and feeds all
//! that comes out of it to `watch`, which judges and touches nothing; `bare` does
//! the same on a bare machine. `campaign` repeats trials.

pub mod bare;
pub mod campaign;
mod event;
mod race_clock;
mod record;
mod runner;
mod virtual_cpus;
mod vm_trial;
mod watch;

pub use campaign::{Interrupted, Schedule, Turn};
pub use event::Event;
pub use runner::perform;
pub use vm_trial::{VmTrial, VmTrials};
pub use watch::{Budgets, Conclusion, Step, Watch};
