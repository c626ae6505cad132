//! Trials: who does what, who watches, and what it means.
//!
//! `perform` races on the machine that it runs on; `guest` is PID 1 of a
//! disposable VM and calls it; `vm_trial` boots such a guest and feeds all that
//! comes out of it to `watch`, which judges and touches nothing. On a bare
//! machine `bare` watches `racer`, a process that may die with the kernel, and
//! notes everything in `journal`; after a reboot `story` reads it. `campaign`
//! repeats trials.

pub mod bare;
pub mod campaign;
mod event;
mod gate;
pub mod guest;
pub mod journal;
mod listener;
pub mod pack;
mod perform;
mod protocol;
mod race_clock;
pub mod racer;
mod record;
mod start;
pub mod states;
pub mod story;
mod virtual_cpus;
mod vm_trial;
mod watch;

pub use campaign::{Interrupted, Schedule, Turn};
pub use event::Event;
pub use perform::perform;
pub use protocol::{Ending, Finished, GuestMessage, Racing, TrialPlan};
pub use vm_trial::{VmTrial, VmTrials};
pub use watch::{Budgets, Conclusion, Step, Watch};
