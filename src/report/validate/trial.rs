//! What no trial can be: fields of one trial that contradict each other.

use super::Mismatch;
use crate::model::{Outcome, Trial};

/// Clocks of guest and host drift apart by less than this share.
const DRIFT: f64 = 0.05;
/// A race ends so much later than asked at most, seconds: its end is noticed by
/// a thread of a busy machine.
const LATE_S: f64 = 5.0;

/// Every contradiction; fields are named from the trial on.
pub(super) fn check(trial: &Trial, duration_s: f64) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let survived = trial.outcome == Outcome::Survived;
    if let Some(crash) = trial.crash.as_ref().filter(|_| survived) {
        found.push(Mismatch::new("crash", &crash.title, "none in a survivor"));
    }
    let longest_s = duration_s * (1.0 + DRIFT) + LATE_S;
    // A hung trial ends when that is noticed.
    let ended_in_time = survived || trial.outcome == Outcome::Crashed;
    if ended_in_time && trial.exposure_s > longest_s {
        let most = format!("at most {duration_s}, the time asked for");
        found.push(Mismatch::new("exposure_s", trial.exposure_s, most));
    }
    if trial.exposure_s > trial.wall_s * (1.0 + DRIFT) + 1.0 {
        let most = format!("at most {}, the trial's wall time", trial.wall_s);
        found.push(Mismatch::new("exposure_s", trial.exposure_s, most));
    }
    if let Some(time_s) = trial.time_to_crash_s
        && time_s > trial.exposure_s * (1.0 + 1e-9)
    {
        let most = format!("at most {}, the exposure", trial.exposure_s);
        found.push(Mismatch::new("time_to_crash_s", time_s, most));
    }
    let seen = &trial.counters.sightings;
    let sightings = [seen.live, seen.loading, seen.unloading, seen.absent];
    let seen = sightings
        .iter()
        .fold(0_u64, |sum, n| sum.saturating_add(*n));
    if trial.reads == 0 && seen > 0 {
        let least = format!("at least one, for {seen} sightings");
        found.push(Mismatch::new("reads", trial.reads, least));
    }
    found
}
