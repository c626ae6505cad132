//! Times to crash → statistics. Owns every formula that a verdict rests on.
//! Pure: no files, threads or clocks, and it knows nothing of reports.
//!
//! A time may be seconds or load/unload cycles; nothing here minds which.

mod clean;
mod compare;
mod exponential;
pub mod figures;
mod fisher;
mod log_rank;
mod near_misses;
mod observation;
mod plan;
mod rates;
mod run;
mod special;
mod survival;
mod verdict;
mod weibull;

pub use clean::{needed_exposure, p_value_clean, times_rarer};
pub use compare::compare;
pub use exponential::{ExponentialFit, Termination, mean_above};
pub use fisher::{Fisher, fisher};
pub use log_rank::{LogRank, log_rank};
pub use observation::{Observation, StatsError};
pub use plan::{Next, Plan, Stop, UnderWay};
pub use rates::{Rate, RateComparison, compare_rates};
pub use run::{Clock, Event, counts, observations, run_stats, summary};
pub use survival::{KaplanMeier, Quantile, Step};
pub use verdict::verdict_of_run;
pub use weibull::{Exponentiality, exponentiality};
