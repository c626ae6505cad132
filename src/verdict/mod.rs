//! From trials to a verdict: what counts as exposure, when enough was seen, what
//! a comparison shows, and the sentence that says so. The one place that makes a
//! verdict. Pure; the mathematics is in `stats`.

mod comparison;
mod exploration;
pub mod format;
mod likeness;
mod near_misses;
mod one_cpu;
mod proof;
mod run_verdict;
mod settle;
mod starts;
mod stop_rule;
mod trials;
mod visits;
mod warnings;

pub use comparison::{Question, compare};
pub use exploration::verdict_of_exploration;
pub use likeness::{Difference, Machine, SAME_IMAGE, forbids, may_matter, unlike};
pub use proof::verdict_of_proof;
pub use run_verdict::{Case, Decision, decide};
pub use settle::{CONFIDENCE, check_confidence, exit_code, settle};
pub use starts::{start_stats, starts_sentence, template_that_differs};
pub use stop_rule::{Kernel, Next, Plan, Seen, Start, Stop, UnderWay, hopeless};
pub use trials::{Clock, Event, counts, is_target, observations, run_stats, summary};
pub use warnings::{WarningSum, new_warnings, warnings};
