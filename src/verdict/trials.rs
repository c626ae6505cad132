//! From the trials of a run to what they add up to. Decides which trials
//! count; knows nothing of how they are reported.
//!
//! - A trial that **crashed** is an event at its time to crash.
//! - One that **survived** is censored at its exposure.
//! - One that **hung** is an event of another kind. For the time to crash it
//!   is censored at its exposure (a cause-specific hazard: Kalbfleisch &
//!   Prentice 2002, ch. 8). Its time was raced without a crash, so it counts as
//!   exposure; it is no clean trial, and who judges must look at `hangs`.
//! - **Broken** and **unsupported** trials say nothing and never count.

use crate::model::{self, CrashClass, Interval, Outcome, RunStats, Summary, Trial};
use crate::stats::KaplanMeier;
use crate::stats::{ExponentialFit, Termination, mean_above};
use crate::stats::{Observation, StatsError};

/// What time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Seconds raced.
    Seconds,
    /// Load/unload cycles.
    Cycles,
}

/// Which crashes are events. The others are censored where they happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Any crash.
    Crash,
    /// Only the race that modrace provokes.
    TargetCrash,
}

/// Whether a trial's outcome says something about the kernel.
pub fn counts(trial: &Trial) -> bool {
    matches!(
        trial.outcome,
        Outcome::Crashed | Outcome::Survived | Outcome::Hung
    )
}

/// The observed times of the trials that count, in their order.
pub fn observations(
    trials: &[Trial],
    clock: Clock,
    event: Event,
) -> Result<Vec<Observation>, StatsError> {
    // A crash before the race is no event of the race, and nothing was raced.
    let counted = trials
        .iter()
        .filter(|trial| counts(trial) && !trial.phase.is_before_race());
    counted
        .map(|trial| {
            let is_event = trial.outcome == Outcome::Crashed
                && match event {
                    Event::Crash => true,
                    Event::TargetCrash => trial
                        .crash
                        .as_ref()
                        .is_some_and(|crash| crash.class == CrashClass::Target),
                };
            let mut time = time(trial, clock);
            // A time known only within bounds counts in a comparison by the
            // upper one: a slower baseline asks more of the candidate.
            let bounds = match clock {
                Clock::Seconds => trial.time_to_crash_bounds_s,
                Clock::Cycles => trial.cycles_to_crash_bounds,
            };
            if let (Event::TargetCrash, Some(bounds), true) = (event, bounds, is_event) {
                time = bounds.high.unwrap_or(time).max(time);
            }
            Observation::new(0.0, time, is_event)
        })
        .collect()
}

fn time(trial: &Trial, clock: Clock) -> f64 {
    let crashed = trial.outcome == Outcome::Crashed;
    match clock {
        Clock::Seconds => trial
            .time_to_crash_s
            .filter(|_| crashed)
            .unwrap_or(trial.exposure_s),
        Clock::Cycles => trial
            .cycles_to_crash
            .filter(|_| crashed)
            .unwrap_or(trial.cycles) as f64,
    }
}

/// What the trials of a run add up to.
///
/// A time that is NaN or negative makes the summary None; whoever reads a file
/// refuses such a report before it gets here.
pub fn run_stats(trials: &[Trial]) -> RunStats {
    let counted = || trials.iter().filter(|trial| counts(trial));
    let number = |outcome| {
        let these = trials.iter().filter(|trial| trial.outcome == outcome);
        u32::try_from(these.count()).unwrap_or(u32::MAX)
    };
    let of = |clock| {
        let observed = observations(trials, clock, Event::Crash).ok()?;
        summary(&observed)
    };
    let seconds = observations(trials, Clock::Seconds, Event::Crash).unwrap_or_default();
    let fit = ExponentialFit::new(&seconds, 0.95, termination(&seconds)).ok();
    RunStats {
        // The sum of nothing is -0.0, which looks odd in a report.
        exposure_s: counted().map(|trial| trial.exposure_s).sum::<f64>() + 0.0,
        cycles: counted().map(|trial| trial.cycles).sum(),
        reads: counted().map(|trial| trial.reads).sum(),
        near_misses: counted()
            .map(|trial| trial.counters.lines.near_misses)
            .sum(),
        crashes: number(Outcome::Crashed),
        hangs: number(Outcome::Hung),
        survived: number(Outcome::Survived),
        time_to_crash_s: of(Clock::Seconds),
        cycles_to_crash: of(Clock::Cycles),
        termination: fit
            .filter(|fit| fit.events > 0)
            .map(|fit| match fit.termination {
                Termination::Failure => model::Termination::Failure,
                Termination::Time => model::Termination::Time,
            }),
        mean_above_s: fit
            .filter(|fit| fit.events == 0 && fit.exposure > 0.0)
            .and_then(|fit| mean_above(fit.exposure, 0.05).ok()),
    }
}

/// What ended a run of trials: a crash each of them (type II), or time at least
/// one (hybrid type I, read as time-terminated, which errs on the wide side).
pub(super) fn termination(observations: &[Observation]) -> Termination {
    if observations.iter().all(Observation::is_event) {
        Termination::Failure
    } else {
        Termination::Time
    }
}

/// The summary of the crashes; None without one.
pub fn summary(observations: &[Observation]) -> Option<Summary> {
    let crashed = || observations.iter().filter(|o| o.is_event());
    let fit = ExponentialFit::new(observations, 0.95, termination(observations)).ok()?;
    let mean = fit.mean?;
    let curve = KaplanMeier::new(observations, 0.95).ok()?;
    let interval = |quantile: crate::stats::Quantile| {
        quantile.low.map(|low| Interval {
            low,
            high: quantile.high,
        })
    };
    let (median, p95) = (curve.quantile(0.5), curve.quantile(0.95));
    Some(Summary {
        median: median.estimate,
        mean,
        p95: p95.estimate,
        min: crashed()
            .map(Observation::time)
            .fold(f64::INFINITY, f64::min),
        max: crashed().map(Observation::time).fold(0.0, f64::max),
        ci95: Interval {
            low: fit.low,
            high: fit.high,
        },
        median_ci95: interval(median),
        p95_ci95: interval(p95),
    })
}
