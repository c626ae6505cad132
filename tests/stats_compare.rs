//! When a comparison concludes, and above all when it must not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{SEED, TIMES, clean, crash, crashes, trial};
use modrace::model::{Comparison, Conclusion, CrashClass, Interval, Outcome, Trial};
use modrace::verdict::{Next, Plan, Stop, UnderWay, compare};

fn at_999(baseline: &[Trial], candidate: &[Trial]) -> Comparison {
    compare(baseline, candidate, 0.999, SEED).unwrap()
}

#[test]
fn enough_clean_exposure_confirms_and_a_little_less_does_not() {
    let baseline = crashes(&TIMES);
    let needed = at_999(&baseline, &clean(1, 1.0)).seconds.needed.unwrap();
    // Cycles are counted to the crash's own, so they need a bit more.
    let enough = at_999(&baseline, &clean(10, needed / 10.0 * 1.05));
    assert_eq!(
        enough.conclusion,
        Conclusion::FixConfirmed,
        "{}",
        enough.reason
    );
    assert!(enough.seconds.p_value.unwrap() < 0.001);
    assert!(enough.seconds.times_rarer.unwrap() > 1.0);
    let short = at_999(&baseline, &clean(10, needed / 10.0 * 0.99));
    assert_eq!(short.conclusion, Conclusion::Inconclusive);
    assert!(short.reason.contains("99.9 % needs"), "{}", short.reason);
    assert!(short.reason.contains("of exposure"), "{}", short.reason);
}

#[test]
fn seconds_without_cycles_confirm_nothing() {
    let baseline = crashes(&TIMES);
    let mut slow = clean(10, 60.0);
    for trial in &mut slow {
        trial.cycles = 3;
    }
    let compared = at_999(&baseline, &slow);
    assert!(compared.seconds.missing.unwrap() <= 0.0);
    assert_eq!(compared.conclusion, Conclusion::Inconclusive);
    assert!(
        compared.reason.contains("cycles more"),
        "{}",
        compared.reason
    );
}

#[test]
fn a_baseline_that_never_crashed_is_no_control() {
    let compared = at_999(&clean(20, 60.0), &clean(20, 60.0));
    assert_eq!(compared.conclusion, Conclusion::Inconclusive);
    assert!(compared.reason.contains("no positive control"));
    assert_eq!(compared.seconds.needed, None);
}

#[test]
fn one_crash_of_the_candidate_ends_it() {
    let mut candidate = clean(50, 60.0);
    candidate.push(trial(50, Outcome::Crashed, 1.0, 100));
    let compared = at_999(&crashes(&TIMES), &candidate);
    assert_eq!(compared.conclusion, Conclusion::CandidateCrashed);
}

#[test]
fn a_hang_or_another_crash_of_the_candidate_is_not_clean() {
    let mut other = trial(50, Outcome::Crashed, 1.0, 100);
    other.crash = Some(crash(CrashClass::Unrelated));
    for bad in [other, trial(50, Outcome::Hung, 1.0, 100)] {
        let mut candidate = clean(50, 60.0);
        candidate.push(bad);
        let compared = at_999(&crashes(&TIMES), &candidate);
        assert_eq!(compared.conclusion, Conclusion::Inconclusive);
        assert!(compared.reason.contains("not clean"), "{}", compared.reason);
    }
}

#[test]
fn crashes_elsewhere_are_no_positive_control() {
    let mut baseline = crashes(&TIMES);
    for trial in &mut baseline {
        trial.crash = Some(crash(CrashClass::Unrelated));
    }
    let compared = at_999(&baseline, &clean(20, 60.0));
    assert_eq!(compared.conclusion, Conclusion::Inconclusive);
}

#[test]
fn broken_trials_are_no_exposure() {
    let broken: Vec<_> = (0..20)
        .map(|i| trial(i, Outcome::Broken, 60.0, 6000))
        .collect();
    let compared = at_999(&crashes(&TIMES), &broken);
    assert_eq!(compared.conclusion, Conclusion::Inconclusive);
    assert!(compared.seconds.candidate_exposure.abs() < f64::EPSILON);
}

#[test]
fn a_time_within_bounds_asks_as_much_as_the_slowest_it_may_be() {
    let exact = at_999(&crashes(&TIMES), &clean(1, 1.0));
    let mut bounded = crashes(&TIMES);
    bounded[0].time_to_crash_bounds_s = Some(Interval {
        low: 0.0,
        high: Some(1.026),
    });
    let bounded = at_999(&bounded, &clean(1, 1.0));
    let (exact, bounded) = (exact.seconds, bounded.seconds);
    assert!((bounded.baseline_exposure - exact.baseline_exposure - 1.0).abs() < 1e-9);
    assert!(bounded.needed > exact.needed);
}

/// Half of the trials crash at once and half late: nothing like an exponential.
fn not_exponential() -> Vec<Trial> {
    crashes(&[0.01, 0.01, 0.011, 0.012, 0.013, 0.02, 7.5, 8.0, 9.0, 9.5])
}

#[test]
fn times_that_fit_no_exponential_are_left_to_fisher() {
    let baseline = not_exponential();
    // As much exposure as anyone could want, in trials too short to crash in.
    let short = at_999(&baseline, &clean(1000, 1.0));
    assert!(!short.extrapolated);
    assert_eq!(
        short.conclusion,
        Conclusion::Inconclusive,
        "{}",
        short.reason
    );
    assert_eq!(short.fisher.needed_trials, Some(4));
    assert!(short.reason.contains("4 clean trials"), "{}", short.reason);
    let long = at_999(&baseline, &clean(4, 10.0));
    assert_eq!(long.conclusion, Conclusion::FixConfirmed, "{}", long.reason);
    assert!((long.fisher.p_value - 1.0 / 1001.0).abs() < 1e-12);
}

const PLAN: Plan = Plan {
    crashes: 10,
    confidence: 0.999,
    max_exposure_s: 120.0,
    seed: SEED,
};

fn next(baseline: &[Trial], candidate: &[Trial], under_way: UnderWay) -> Next {
    PLAN.next(baseline, candidate, under_way).unwrap()
}

#[test]
fn pairs_first_then_the_candidate_alone() {
    let idle = UnderWay::default();
    let (mut baseline, mut candidate) = (Vec::new(), Vec::new());
    let mut first_of_pair = Vec::new();
    let stop = loop {
        assert!(candidate.len() < 100);
        match next(&baseline, &candidate, idle) {
            Next::Baseline => {
                if baseline.len() == candidate.len() {
                    first_of_pair.push(true);
                }
                let index = u32::try_from(baseline.len()).unwrap();
                let seconds = TIMES[baseline.len()];
                baseline.push(trial(
                    index,
                    Outcome::Crashed,
                    seconds,
                    common::cycles(seconds),
                ));
            }
            Next::Candidate => {
                if baseline.len() == candidate.len() && baseline.len() < 10 {
                    first_of_pair.push(false);
                }
                let index = u32::try_from(candidate.len()).unwrap();
                candidate.push(trial(index, Outcome::Survived, 0.2, 20));
            }
            Next::Wait => panic!("nothing is under way"),
            Next::Stop(stop) => break stop,
        }
    };
    assert_eq!(stop, Stop::Confirmed);
    assert_eq!(baseline.len(), 10);
    // 4.8 s are needed, and a little more in cycles; trials are of 0.2 s.
    assert!((24..=28).contains(&candidate.len()), "{}", candidate.len());
    assert!(first_of_pair.contains(&true) && first_of_pair.contains(&false));
    assert!(
        at_999(&baseline, &candidate)
            .reason
            .starts_with("no crash in")
    );
}

#[test]
fn the_plan_stops_for_what_cannot_get_better() {
    let idle = UnderWay::default();
    let mut hung = clean(3, 2.0);
    hung.push(trial(3, Outcome::Hung, 1.0, 9));
    assert_eq!(
        next(&crashes(&TIMES), &hung, idle),
        Next::Stop(Stop::CandidateUnclean)
    );
    assert_eq!(
        next(&clean(12, 10.0), &clean(12, 10.0), idle),
        Next::Stop(Stop::NoPositiveControl)
    );
    let slow = crashes(&TIMES.map(|time| time * 100.0));
    assert_eq!(
        next(&slow, &clean(12, 10.0), idle),
        Next::Stop(Stop::OutOfExposure)
    );
}

#[test]
fn what_is_under_way_is_waited_for() {
    let enough = clean(40, 2.0);
    let one = UnderWay {
        baseline: 1,
        candidate: 0,
    };
    assert_eq!(next(&crashes(&TIMES), &enough, one), Next::Wait);
    let other = UnderWay {
        baseline: 0,
        candidate: 1,
    };
    assert_eq!(next(&crashes(&TIMES), &enough, other), Next::Wait);
    let idle = UnderWay::default();
    assert_eq!(
        next(&crashes(&TIMES), &enough, idle),
        Next::Stop(Stop::Confirmed)
    );
}

#[test]
fn the_rule_is_one_ascii_sentence() {
    let sentence = PLAN.sentence();
    assert!(sentence.is_ascii(), "{sentence}");
    for part in ["10 times", "99.9 %", "120 s"] {
        assert!(sentence.contains(part), "{sentence}");
    }
}
