//! What the statistics promise, held to by simulation with fixed seeds: 95 %
//! intervals cover in 94 to 96 of 100 cases, and a fix that is none is confirmed
//! no more often than the level says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::trial;
use modrace::model::{Outcome, Trial};
use modrace::stats::{
    ExponentialFit, KaplanMeier, Observation, Termination, exponentiality, needed_exposure,
};
use modrace::verdict::run_stats;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

const RUNS: u32 = 20_000;

struct Times(Xoshiro256PlusPlus);

impl Times {
    fn seeded(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Exponential with mean 1.
    fn next(&mut self) -> f64 {
        let uniform = (self.0.next_u64() >> 11) as f64 * (-53_f64).exp2();
        -(-uniform).ln_1p()
    }

    /// A trial that ends after `limit` at the latest, without counted cycles:
    /// the seconds alone have to hold the level.
    fn trial(&mut self, index: u32, limit: f64) -> Trial {
        let time = self.next();
        let (outcome, seconds) = if time < limit {
            (Outcome::Crashed, time)
        } else {
            (Outcome::Survived, limit)
        };
        let mut made = trial(index, outcome, seconds, 0);
        made.cycles_to_crash = None;
        made
    }
}

/// The share of simulated runs for which `holds`.
fn share(seed: u64, mut holds: impl FnMut(&mut Times) -> bool) -> f64 {
    let mut times = Times::seeded(seed);
    let hits: u32 = (0..RUNS).map(|_| u32::from(holds(&mut times))).sum();
    f64::from(hits) / f64::from(RUNS)
}

fn covers(low: f64, high: Option<f64>, truth: f64) -> bool {
    low <= truth && high.is_none_or(|high| truth <= high)
}

#[test]
fn failure_terminated_limits_cover_94_to_96_percent() {
    for r in [1, 2, 5, 10, 50] {
        let covered = share(u64::from(r), |times| {
            let exposure = (0..r).map(|_| times.next()).sum();
            let fit = ExponentialFit::from_totals(r, exposure, 0.95, Termination::Failure).unwrap();
            covers(fit.low, fit.high, 1.0)
        });
        assert!((0.94..=0.96).contains(&covered), "r = {r}: {covered}");
    }
}

/// Counts are whole numbers, so no limits of theirs can cover exactly 95 %; the
/// exact ones cover at least that, and come down to it as crashes grow many.
#[test]
fn time_terminated_limits_cover_at_least_95_percent() {
    for (limit, most) in [
        (0.5, 1.0),
        (3.0, 0.99),
        (10.0, 0.98),
        (50.0, 0.97),
        (200.0, 0.96),
    ] {
        let covered = share(42, |times| {
            let mut crashes = 0;
            let mut at = times.next();
            while at < limit {
                crashes += 1;
                at += times.next();
            }
            let fit = ExponentialFit::from_totals(crashes, limit, 0.95, Termination::Time).unwrap();
            covers(fit.low, fit.high, 1.0)
        });
        assert!((0.947..=most).contains(&covered), "{limit}: {covered}");
    }
}

/// The design of every run: so many trials, each with a time limit.
#[test]
fn limits_of_a_run_of_limited_trials_cover() {
    for (trials, limit) in [(5, 0.5), (5, 2.0), (10, 1.0), (20, 3.0), (200, 1.0)] {
        let covered = share(7, |times| {
            let run: Vec<Trial> = (0..trials).map(|i| times.trial(i, limit)).collect();
            let stats = run_stats(&run);
            match stats.time_to_crash_s {
                Some(summary) => covers(summary.ci95.low, summary.ci95.high, 1.0),
                None => stats.mean_above_s.unwrap() <= 1.0,
            }
        });
        assert!(
            (0.94..=0.995).contains(&covered),
            "{trials} of {limit}: {covered}"
        );
    }
}

#[test]
fn limits_of_the_median_cover() {
    for (trials, limit) in [(30, 1e9), (50, 1.0), (100, 2.0)] {
        let covered = share(11, |times| {
            let observed: Vec<Observation> = (0..trials)
                .map(|_| {
                    let time = times.next();
                    Observation::new(0.0, time.min(limit), time < limit).unwrap()
                })
                .collect();
            let median = KaplanMeier::new(&observed, 0.95).unwrap().quantile(0.5);
            covers(median.low.unwrap_or(0.0), median.high, 2_f64.ln())
        });
        assert!(
            (0.94..=0.965).contains(&covered),
            "{trials} of {limit}: {covered}"
        );
    }
}

/// With few crashes the test of exponentiality rejects too often, never too
/// seldom: what it wrongly rejects is then shown without a model.
#[test]
fn exponentiality_is_rejected_at_about_its_level() {
    for (r, least, most) in [(5, 0.05, 0.11), (10, 0.05, 0.08), (50, 0.04, 0.06)] {
        let rejected = share(13, |times| {
            let observed: Vec<_> = (0..r)
                .map(|_| Observation::event(times.next()).unwrap())
                .collect();
            exponentiality(&observed).unwrap().p_value < 0.05
        });
        assert!((least..=most).contains(&rejected), "r = {r}: {rejected}");
    }
}

/// However the baseline ended, a candidate that is no better stays clean for
/// the needed exposure no more often than α.
#[test]
fn needed_exposure_holds_its_level_for_every_sort_of_baseline() {
    let alpha = 0.05;
    // Three times the standard error of the simulation.
    let slack = 3.0 * (alpha * (1.0 - alpha) / f64::from(RUNS)).sqrt();
    let clean = |times: &mut Times, r: u32, s: f64| {
        r > 0 && times.next() > needed_exposure(alpha, r, s).unwrap()
    };
    for r in [1, 3, 10] {
        let wrong = share(17, |times| {
            let s = (0..r).map(|_| times.next()).sum();
            clean(times, r, s)
        });
        assert!((wrong - alpha).abs() <= slack, "r = {r}: {wrong}");
    }
    for (trials, limit) in [(1, 1.0), (5, 0.3), (10, 1.0), (20, 3.0)] {
        let wrong = share(19, |times| {
            let (mut r, mut s) = (0, 0.0);
            for _ in 0..trials {
                let time = times.next();
                r += u32::from(time < limit);
                s += time.min(limit);
            }
            clean(times, r, s)
        });
        assert!(wrong <= alpha + slack, "{trials} of {limit}: {wrong}");
    }
}
