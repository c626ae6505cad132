//! One trial: the race performed, the evidence gathered, an outcome.
//!
//! `runner` races on the machine that it runs on: as PID 1 of a guest, or in a
//! worker process of a bare machine. `vm_trial` boots such a guest and feeds all
//! that comes out of it to `watch`; `bare` does the same on a bare machine, and
//! `bare/recovery` after its death. All three gather one `evidence`, which one
//! `judge` judges. `campaign` repeats trials.

mod aftermath;
pub mod bare;
mod blocked_tasks;
mod boots;
pub mod campaign;
mod conclusion;
mod event;
mod evidence;
mod gate;
mod judge;
mod kernel_log;
mod leaks;
mod listener;
mod race_clock;
mod record;
mod runner;
mod scene;
mod stall_detector;
mod start;
mod virtual_cpus;
mod vm_trial;
mod watch;

pub use boots::MOST_BOOTS;
pub use campaign::{Interrupted, Schedule, Turn};
pub use conclusion::Conclusion;
pub use event::Event;
pub use runner::perform;
pub use vm_trial::{VmTrial, VmTrials};
pub use watch::{Budgets, Step, Watch};
