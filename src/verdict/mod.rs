//! From trials to a verdict: what counts as exposure, when enough was seen, what
//! a comparison shows, and the sentence that says so. The one place that makes a
//! verdict. Pure; the mathematics is in `stats`.

mod comparison;
pub mod format;
mod near_misses;
mod proof;
mod run_verdict;
mod stop_rule;
mod trials;

pub use comparison::compare;
pub use proof::verdict_of_proof;
pub use run_verdict::verdict_of_run;
pub use stop_rule::{Next, Plan, Stop, UnderWay};
pub use trials::{Clock, Event, counts, observations, run_stats, summary};
