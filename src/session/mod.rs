//! What a command does: kernels made ready, trials scheduled, reports kept.
//! Takes a request of plain values, emits events ([`crate::trial::Event`]),
//! prints nothing.
//!
//! A command that races or looks at kernels is one file here and one in `cli`:
//! 1. a function `run(request, …, events) -> Result<Finished, Failure>`. In VMs
//!    it begins with [`Preparation::new`], which checks the request, and
//!    [`Preparation::prepare`] for each kernel; trials are repeated by a
//!    [`crate::trial::Schedule`] as in `repeated` and `paired`;
//! 2. `?` on any error of the library: `exit` says which exit code and which
//!    way out it has. An error type of your own gets an `impl Exit` there;
//! 3. the file in `cli` turns its arguments into the request and shows what is
//!    [`Finished`].
//!
//! - `request`: what is asked for, its defaults and limits
//! - `race_choice`: a row of the table of races, or a driver of one's own
//! - `kernel_arg`, `module`, `race_modules`, `prepared_kernel`: from KERNEL to a
//!   kernel that waits for its trials
//! - `check`: every race of the table against one kernel
//! - `repeated` (`vm`), `paired` (`ab`), `states`, `prove`, `explore`, `bare` (`run`),
//!   `recovery` (`recover`): one for each command; `lock_step`: guests of `prove`
//!   and `explore`
//! - `lab`, `doctor`: kernels built, the machine looked at
//! - `record`, `control`, `saved_report`, `finished`: the report from blank to
//!   final
//! - `exit`, `events`, `stop`: how it fails, what it says, how it is ended
//! - `guest`: modrace as PID 1 of a guest

pub mod bare;
pub mod check;
mod control;
pub mod doctor;
mod events;
mod exit;
pub mod explore;
mod finished;
pub mod guest;
pub mod kernel_arg;
mod kernel_names;
pub mod lab;
mod lock_step;
mod module;
pub mod paired;
mod prepared_kernel;
pub mod prove;
pub mod race_choice;
mod race_modules;
mod random;
mod record;
pub mod recovery;
pub mod repeated;
pub mod request;
pub mod saved_report;
pub mod scan;
pub mod states;
pub mod stop;

pub use crate::bare::{WORKER_COMMAND, work};
pub use crate::recorder::Phase;
pub use crate::trial::{Event, VmcoreChoice};
pub use crate::verdict::{check_confidence, exit_code};

pub use control::ControlRequest;
pub use events::Events;
pub use exit::{Exit, Failure};
pub use finished::Finished;
pub use prepared_kernel::{Preparation, PreparedKernel};
pub use request::{Destination, Request};
