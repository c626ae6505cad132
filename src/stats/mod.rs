//! Times to crash → statistics. Owns every formula that a verdict rests on.
//! Mathematics without words: it knows nothing of trials, reports or verdicts.
//!
//! A time may be seconds or load/unload cycles; nothing here minds which.

mod clean;
mod clean_trials;
mod exponential;
mod fisher;
mod log_rank;
mod observation;
mod rates;
mod special;
mod survival;
mod weibull;

pub use clean::{needed_exposure, p_value_clean, times_rarer};
pub use clean_trials::{clean_trials_p, needed_clean_trials};
pub use exponential::{ExponentialFit, Termination, mean_above};
pub use fisher::{Fisher, fisher};
pub use log_rank::{LogRank, log_rank};
pub use observation::{Observation, StatsError, check_level};
pub use rates::{Rate, RateComparison, compare_rates};
pub use survival::{KaplanMeier, Quantile, Step};
pub use weibull::{Exponentiality, exponentiality};
