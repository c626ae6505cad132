//! When, and in which cycle, a trial crashed whose machine is gone: by the log's
//! clock, else between two heartbeats that reached the disk.

use super::OpenTrial;
use crate::judge::race_clock::CLOCK_TOLERANCE_S;
use crate::model::{Interval, Trial};

/// How much faster than its fastest second a race may have been in a shorter
/// time, for an upper bound of its cycles.
const BURST: f64 = 2.0;
/// Cycles a second that no machine has reached: twice what the fastest guest
/// made (523 a second, Linux 6.1 without debug information).
const FASTEST_CYCLES_PER_S: f64 = 1000.0;

impl OpenTrial {
    /// When it crashed: by the log's clock, else between two heartbeats.
    pub(super) fn date(&self, trial: &mut Trial, heartbeat_s: f64, start_s: Option<f64>) {
        let logged_s = match (&trial.crash, &self.sign) {
            (Some(crash), _) if crash.log_time_s.is_some() => crash.log_time_s,
            (_, sign) => sign.as_ref().and_then(|sign| sign.log_time_s),
        };
        let low = self.raced_s();
        let time_s = (logged_s.zip(start_s))
            .map(|(at, start)| at - start)
            .filter(|&time_s| time_s >= 0.0 && time_s + CLOCK_TOLERANCE_S >= low);
        // A heartbeat that took long on this machine may take as long again.
        let high = low + 2.0 * heartbeat_s.max(self.longest_gap_s);
        if time_s.is_none() {
            trial.time_to_crash_bounds_s = Some(Interval {
                low,
                high: Some(high),
            });
            trial.notes.push(format!(
                "time to crash is interval-censored: between the last heartbeat on the disk at \
                 {low:.3} s and the next, {high:.3} s at most"
            ));
        }
        let value = time_s.unwrap_or(f64::midpoint(low, high));
        trial.exposure_s = value;
        trial.time_to_crash_s = Some(value);
        if self.sign.is_some() {
            trial.cycles_to_crash = Some(trial.cycles + 1);
            return;
        }
        let more_s = (time_s.unwrap_or(high) - low).max(0.0);
        let bounds = self.cycle_bounds(trial.cycles, more_s);
        trial.notes.push(format!(
            "counts are those of the last heartbeat on the disk: it crashed in cycle {} to {}",
            bounds.low,
            bounds.high.unwrap_or(bounds.low)
        ));
        trial.cycles_to_crash_bounds = Some(bounds);
    }

    /// In which cycle it crashed, `more_s` seconds behind the last count.
    fn cycle_bounds(&self, counted: u64, more_s: f64) -> Interval {
        let rate = if self.most_cycles_per_s > 0.0 {
            BURST * self.most_cycles_per_s
        } else {
            FASTEST_CYCLES_PER_S
        };
        let low = counted as f64 + 1.0;
        Interval {
            low,
            high: Some(low + (rate * more_s).ceil()),
        }
    }
}
