//! From the trials of a run to what they add up to. Decides which trials
//! count; knows nothing of how they are reported.
//!
//! - A trial that **crashed** is an event at its time to crash.
//! - One that **survived** is censored at its exposure.
//! - One that **hung** is an event of another kind. For the time to crash it
//!   is censored at its exposure (a cause-specific hazard: Kalbfleisch &
//!   Prentice 2002, ch. 8). Its time was raced without a crash, so it counts as
//!   exposure; it is no clean trial, and who judges must look at `hangs`.
//! - One that **broke** says nothing of the kernel, but the time that it raced
//!   before that was raced without a crash: it is censored there. It is no clean
//!   trial. One that broke before its race counts for nothing.
//! - **Unsupported** trials never count.
//!
//! In a comparison, only cycles in which a reader could see count as exposure
//! without a crash, and the time in proportion.

use super::starts::start_stats;
use crate::model::{self, Crash, CrashClass, Interval, Outcome, RunStats, Summary, Trial};
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

/// Whether a trial's time is exposure: it counts, or it was cut short while it raced. A
/// crash before the race is no event of the race, and nothing was raced.
pub(super) fn raced(trial: &Trial) -> bool {
    let cut_short =
        matches!(trial.outcome, Outcome::Broken | Outcome::Died) && trial.exposure_s > 0.0;
    (counts(trial) || cut_short) && !trial.phase.is_before_race()
}

/// Whether a trial crashed in the race that modrace provokes.
pub fn is_target(trial: &Trial) -> bool {
    let target = |crash: &Crash| crash.class == CrashClass::Target;
    trial.outcome == Outcome::Crashed
        && !trial.phase.is_before_race()
        && trial.crash.as_ref().is_some_and(target)
}

/// The observed times of the trials that raced, in their order.
pub fn observations<'a>(
    trials: impl IntoIterator<Item = &'a Trial>,
    clock: Clock,
    event: Event,
) -> Result<Vec<Observation>, StatsError> {
    let raced: Vec<&Trial> = trials.into_iter().filter(|trial| raced(trial)).collect();
    let fastest = fastest(&raced);
    let observe = |trial: &&Trial| {
        let is_event = match event {
            Event::Crash => trial.outcome == Outcome::Crashed,
            Event::TargetCrash => is_target(trial),
        };
        // A time known only within bounds counts in a comparison by the upper
        // one: a slower baseline asks more of the candidate.
        let time = match (event, clock, is_event) {
            (Event::TargetCrash, Clock::Seconds, true) => latest_s(trial),
            (Event::TargetCrash, Clock::Cycles, true) => latest_cycles(trial, fastest),
            (Event::TargetCrash, _, false) => exposure(trial, clock),
            _ => time(trial, clock),
        };
        Observation::new(0.0, time, is_event)
    };
    raced.iter().map(observe).collect()
}

/// The latest moment at which a trial may have crashed, seconds raced.
fn latest_s(trial: &Trial) -> f64 {
    let time = time(trial, Clock::Seconds);
    let high = trial.time_to_crash_bounds_s.and_then(|bounds| bounds.high);
    high.unwrap_or(time).max(time)
}

/// The same in cycles. Where neither the cycle nor bounds of it are known, the
/// count is that of the last heartbeat, and cycles went on from there at
/// `fastest`, the highest rate known, until the latest moment.
fn latest_cycles(trial: &Trial, fastest: f64) -> f64 {
    if let Some(cycles) = trial.cycles_to_crash {
        return cycles as f64;
    }
    let known = trial.cycles as f64 + 1.0;
    if let Some(high) = trial.cycles_to_crash_bounds.and_then(|bounds| bounds.high) {
        return high.max(known);
    }
    let untold_s = trial
        .time_to_crash_bounds_s
        .map_or(0.0, |bounds| (latest_s(trial) - bounds.low).max(0.0));
    known + (untold_s * fastest).ceil()
}

/// Cycles a second of the fastest trial, by what is known of each.
fn fastest(trials: &[&Trial]) -> f64 {
    let rate = |trial: &&Trial| {
        let seconds = trial
            .time_to_crash_bounds_s
            .map_or(trial.exposure_s, |bounds| bounds.low);
        (seconds > 0.0).then(|| trial.cycles as f64 / seconds)
    };
    trials.iter().filter_map(rate).fold(0.0, f64::max)
}

/// Exposure of a trial without a crash, as a comparison counts it: a cycle that
/// no reader could have lost shows nothing.
pub(super) fn exposure(trial: &Trial, clock: Clock) -> f64 {
    let share = match trial.cycles {
        0 => 1.0,
        cycles => watched_cycles(trial) as f64 / cycles as f64,
    };
    time(trial, clock) * share
}

/// The trial's cycles in which a reader could see; all where that was not noted.
pub(super) fn watched_cycles(trial: &Trial) -> u64 {
    // The cycle under way at the end may have been watched, too.
    let watched = trial.counters.watched_cycles;
    watched.map_or(trial.cycles, |watched| watched.min(trial.cycles))
}

fn time(trial: &Trial, clock: Clock) -> f64 {
    let crashed = trial.outcome == Outcome::Crashed;
    match clock {
        Clock::Seconds => trial
            .time_to_crash_s
            .filter(|_| crashed)
            .unwrap_or(trial.exposure_s),
        Clock::Cycles if crashed => cycles_to_crash(trial),
        Clock::Cycles => trial.cycles as f64,
    }
}

/// The cycle in which a trial crashed, or the first in which it can have.
fn cycles_to_crash(trial: &Trial) -> f64 {
    let least = || (trial.cycles_to_crash_bounds).map_or(trial.cycles as f64, |bounds| bounds.low);
    trial
        .cycles_to_crash
        .map_or_else(least, |cycles| cycles as f64)
}

/// A sum of counts that stops at the largest number instead of beginning anew.
pub(super) fn total<'a>(
    trials: impl IntoIterator<Item = &'a Trial>,
    count: impl Fn(&Trial) -> u64,
) -> u64 {
    trials
        .into_iter()
        .fold(0, |sum: u64, trial| sum.saturating_add(count(trial)))
}

/// What the trials of a run add up to.
///
/// A time that is NaN or negative makes the summary None; whoever reads a file
/// refuses such a report before it gets here.
pub fn run_stats(trials: &[Trial]) -> RunStats {
    let counted = || trials.iter().filter(|trial| raced(trial));
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
        cycles: total(counted(), |trial| trial.cycles),
        reads: total(counted(), |trial| trial.reads),
        near_misses: total(counted(), |trial| trial.counters.lines.near_misses),
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
        starts: start_stats(trials),
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

/// The boot that a trial goes back to: that of its template, or its own. What
/// happens in one boot comes together.
pub(super) fn boot_of(trial: &Trial) -> (Option<&str>, bool, u32) {
    let run = trial.origin.as_ref().map(|origin| origin.run_id.as_str());
    let template = trial.start.as_ref().and_then(|start| start.template);
    (run, template.is_some(), template.unwrap_or(trial.index))
}
