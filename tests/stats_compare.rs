//! When a comparison concludes, and above all when it must not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{TIMES, clean, compared, crash, crashes, settings, trial};
use modrace::model::{Comparison, Conclusion, CrashClass, Interval, Oracle, Outcome, Trial};
use modrace::verdict::{Kernel, Next, Plan, Seen, Start, Stop, UnderWay};

fn at_999(baseline: &[Trial], candidate: &[Trial]) -> Comparison {
    compared(baseline, candidate, 0.999)
}

#[test]
fn enough_clean_trials_confirm_and_one_less_does_not() {
    let baseline = crashes(&TIMES);
    let enough = at_999(&baseline, &clean(7, 1.51));
    assert_eq!(
        enough.conclusion,
        Conclusion::FixConfirmed,
        "{}",
        enough.reason
    );
    assert!(enough.seconds.p_value.unwrap() < 0.001);
    assert!(enough.seconds.times_rarer.unwrap() > 1.0);
    assert!(enough.fisher.sequential_p.unwrap() < 0.001);
    let short = at_999(&baseline, &clean(6, 1.51));
    assert_eq!(short.conclusion, Conclusion::Inconclusive);
    assert!(
        short.reason.contains("99.9 % needs 1 clean trial, each"),
        "{}",
        short.reason
    );
    // As much time in trials that were over before the slowest crash.
    let brief = at_999(&baseline, &clean(100, 1.0));
    assert_eq!(brief.conclusion, Conclusion::Inconclusive);
}

#[test]
fn exposure_is_asked_for_besides_whole_trials() {
    // Two crashes in 11.5 s: 90 % takes 13 clean trials, and 24.9 s.
    let mut baseline = crashes(&[0.5, 1.0]);
    baseline.extend(clean(1, 10.0));
    let short = compared(&baseline, &clean(13, 1.1), 0.9);
    assert!(short.extrapolated && short.fisher.sequential_p.unwrap() <= 0.1);
    assert_eq!(short.conclusion, Conclusion::Inconclusive);
    assert!(
        short.reason.contains("10.6 s of exposure"),
        "{}",
        short.reason
    );
    let enough = compared(&baseline, &clean(13, 2.0), 0.9);
    assert_eq!(
        enough.conclusion,
        Conclusion::FixConfirmed,
        "{}",
        enough.reason
    );
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

/// One crash at once and one long clean trial: whatever the exponential says of
/// them, two trials show next to nothing.
#[test]
fn a_single_crash_and_a_single_clean_trial_confirm_nothing() {
    let compared = at_999(&crashes(&[0.0002]), &clean(1, 60.0));
    assert!(compared.seconds.p_value.unwrap() < 1e-5);
    assert_eq!(
        compared.conclusion,
        Conclusion::Inconclusive,
        "{}",
        compared.reason
    );
    assert_eq!(compared.fisher.needed_trials, Some(1999));
    assert!(
        compared.reason.contains("1998 clean trials"),
        "{}",
        compared.reason
    );
    // Three crashes fit any exponential as well.
    let compared = at_999(&crashes(&[0.01, 0.02, 0.05]), &clean(5, 60.0));
    assert_eq!(compared.conclusion, Conclusion::Inconclusive);
    assert_eq!(compared.fisher.needed_trials, Some(27));
}

#[test]
fn broken_trials_of_the_candidate_are_no_clean_trials() {
    let broken: Vec<_> = (0..20)
        .map(|i| trial(i, Outcome::Broken, 60.0, 6000))
        .collect();
    let compared = at_999(&crashes(&TIMES), &broken);
    assert_eq!(compared.conclusion, Conclusion::Inconclusive);
    assert!(compared.seconds.candidate_exposure.abs() < f64::EPSILON);
}

/// What a baseline raced before it broke was raced without a crash.
#[test]
fn time_raced_before_a_trial_broke_is_exposure_and_many_such_trials_forbid_to_conclude() {
    let broke = |count: u32, seconds: f64| {
        let mut baseline = crashes(&TIMES);
        baseline.extend((0..count).map(|i| trial(10 + i, Outcome::Broken, seconds, 6000)));
        baseline
    };
    let whole = at_999(&crashes(&TIMES), &clean(20, 5.0));
    let two = at_999(&broke(2, 60.0), &clean(20, 5.0));
    let more = two.seconds.baseline_exposure - whole.seconds.baseline_exposure;
    assert!((more - 120.0).abs() < 1e-9, "{more}");
    assert_eq!(two.fisher.baseline_trials, 12);
    let many = at_999(&broke(40, 60.0), &clean(200, 60.0));
    assert_eq!(many.conclusion, Conclusion::Inconclusive);
    assert!(
        many.reason
            .contains("40 of 50 trials of the baseline broke"),
        "{}",
        many.reason
    );
    // One that broke before its race is no trial of the kernel.
    let early = at_999(&broke(1, 0.0), &clean(20, 5.0));
    assert_eq!(early.fisher.baseline_trials, 10);
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

/// The count of the last heartbeat on the disk is not the cycle of the crash.
#[test]
fn cycles_that_nobody_counted_ask_as_much_as_there_may_have_been() {
    let cycles = |trials: &[Trial]| {
        let compared = at_999(trials, &clean(1, 1.0));
        compared.cycles.unwrap().baseline_exposure
    };
    let exact = cycles(&crashes(&TIMES));
    let mut heartbeat = crashes(&TIMES);
    heartbeat[9].cycles_to_crash = None;
    heartbeat[9].cycles = 100;
    heartbeat[9].time_to_crash_bounds_s = Some(Interval {
        low: 1.0,
        high: Some(2.0),
    });
    // 100 cycles in the first second, as many in the next: 201 at most, where
    // the exact count was 150.
    assert!(
        (cycles(&heartbeat) - exact - 51.0).abs() < 1.5,
        "{}",
        cycles(&heartbeat)
    );
    heartbeat[9].cycles_to_crash_bounds = Some(Interval {
        low: 100.0,
        high: Some(400.0),
    });
    assert!((cycles(&heartbeat) - exact - 250.0).abs() < 1e-9);
}

#[test]
fn what_would_have_been_found_follows_from_the_clean_cycles() {
    let baseline = crashes(&TIMES);
    let compared = at_999(&baseline, &clean(10, 20.0));
    let cycles = compared.cycles.unwrap();
    for found in &compared.detectable {
        // The chance that a bug once_in times rarer than the baseline's shows in
        // the candidate's cycles.
        let shorter = cycles.candidate_exposure / found.once_in;
        let missed = (1.0 + shorter / cycles.baseline_exposure).powi(-10);
        assert!((1.0 - missed - found.probability).abs() < 1e-9, "{found:?}");
    }
    let with: Vec<f64> = compared.detectable.iter().map(|f| f.probability).collect();
    assert_eq!(with, [0.5, 0.9, 0.99]);
    assert!(compared.detectable[0].once_in > compared.detectable[2].once_in);
    let crashed = at_999(&baseline, &baseline);
    assert!(crashed.detectable.is_empty());
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
    assert_eq!(short.fisher.needed_trials, Some(7));
    assert!(short.reason.contains("7 clean trials"), "{}", short.reason);
    let long = at_999(&baseline, &clean(7, 10.0));
    assert_eq!(long.conclusion, Conclusion::FixConfirmed, "{}", long.reason);
    // 1/C(17,10), and eleven times that.
    assert!((long.fisher.p_value - 1.0 / 19_448.0).abs() < 1e-12);
    assert!((long.fisher.sequential_p.unwrap() - 11.0 / 19_448.0).abs() < 1e-12);
}

const PLAN: Plan = Plan {
    crashes: 10,
    confidence: 0.999,
    longest_trial_s: 15.0,
    max_exposure_s: 120.0,
    budget_s: None,
};

fn next(plan: &Plan, baseline: &[Trial], candidate: &[Trial], under_way: UnderWay) -> Next {
    at(plan, baseline, candidate, under_way, 0.0)
}

fn at(
    plan: &Plan,
    baseline: &[Trial],
    candidate: &[Trial],
    under_way: UnderWay,
    elapsed_s: f64,
) -> Next {
    plan.next(&Seen {
        settings: &settings(0, 15.0),
        baseline,
        candidate,
        under_way,
        elapsed_s,
    })
    .unwrap()
}

/// Performs what a plan asks for: the baseline crashes after `times`, the
/// candidate never. The clock counts the race and an eighth of a second for each
/// start.
fn performed(plan: &Plan, times: &[f64]) -> (Vec<Trial>, Vec<Trial>, Vec<Kernel>, Stop) {
    let (mut baseline, mut candidate, mut order) = (Vec::new(), Vec::new(), Vec::new());
    let mut elapsed_s = 0.0;
    loop {
        assert!(order.len() < 200);
        let start = match at(plan, &baseline, &candidate, UnderWay::default(), elapsed_s) {
            Next::Start(start) => start,
            Next::Wait => panic!("nothing is under way"),
            Next::Stop(stop) => return (baseline, candidate, order, stop),
        };
        order.push(start.kernel);
        let (run, outcome, seconds) = match start.kernel {
            Kernel::Baseline => {
                let time = times[baseline.len() % times.len()];
                assert!(start.duration_s >= time, "{start:?}");
                (&mut baseline, Outcome::Crashed, time)
            }
            Kernel::Candidate => (&mut candidate, Outcome::Survived, start.duration_s),
        };
        let index = u32::try_from(run.len()).unwrap();
        run.push(trial(index, outcome, seconds, common::cycles(seconds)));
        elapsed_s += seconds + 0.125;
    }
}

#[test]
fn a_short_trial_of_the_candidate_first_then_the_crashes_then_the_clean_trials() {
    let (baseline, candidate, order, stop) = performed(&PLAN, &TIMES);
    assert_eq!(stop, Stop::Confirmed);
    assert_eq!(order[..2], [Kernel::Baseline, Kernel::Candidate]);
    assert_eq!(order[2..11], [Kernel::Baseline; 9]);
    assert!(
        order[11..]
            .iter()
            .all(|kernel| *kernel == Kernel::Candidate)
    );
    assert!((candidate[0].exposure_s - 1.0).abs() < 1e-9);
    assert_eq!(baseline.len(), 10);
    let made = at_999(&baseline, &candidate);
    assert_eq!(made.conclusion, Conclusion::FixConfirmed, "{}", made.reason);
    assert!(made.fisher.candidate_trials >= 7);
    // As long as the slowest crash, and no 15 s each; but for the last, in which
    // the kernel grows old.
    let (last, rest) = candidate.split_last().unwrap();
    let longest = rest.iter().map(|t| t.exposure_s).fold(0.0, f64::max);
    assert!((1.498..4.0).contains(&longest), "{longest}");
    assert!((last.exposure_s - PLAN.longest_trial_s).abs() < 1e-9);
}

/// The sizes that clones make possible: crashes of milliseconds, 450 cycles a
/// second.
#[test]
fn ten_quick_crashes_are_confirmed_within_seconds() {
    let times = [
        0.002, 0.011, 0.007, 0.005, 0.006, 0.003, 0.002, 0.009, 0.003, 0.004,
    ];
    let (baseline, candidate, order, stop) = performed(&PLAN, &times);
    assert_eq!(stop, Stop::Confirmed);
    assert_eq!(baseline.len(), 10);
    let raced: f64 = candidate.iter().map(|t| t.exposure_s).sum();
    let cycles: u64 = candidate.iter().map(|t| t.cycles).sum();
    let took_s = raced + 0.125 * order.len() as f64;
    assert!(candidate.len() >= 10 && took_s < 22.0, "{took_s}");
    // 100 cycles a second here: the longest trial ends before 2500 of them.
    assert!(cycles > 1500, "{cycles}");
}

#[test]
fn a_budget_is_used_up_in_longer_trials_and_not_exceeded() {
    let plan = Plan {
        budget_s: Some(60.0),
        ..PLAN
    };
    let (baseline, candidate, order, stop) = performed(&plan, &TIMES);
    assert_eq!(stop, Stop::Confirmed);
    let raced: f64 = baseline
        .iter()
        .chain(&candidate)
        .map(|t| t.exposure_s)
        .sum();
    let took_s = raced + 0.125 * order.len() as f64;
    assert!((55.0..61.0).contains(&took_s), "{took_s}");
    let longest = candidate.iter().map(|t| t.exposure_s).fold(0.0, f64::max);
    assert!(longest > 10.0, "{longest}");
    // Over before enough was shown: it stops all the same, and says so.
    let idle = UnderWay::default();
    let short = Plan {
        budget_s: Some(5.0),
        ..PLAN
    };
    assert_eq!(
        at(&short, &crashes(&TIMES), &clean(2, 1.0), idle, 5.1),
        Next::Stop(Stop::OutOfBudget)
    );
}

#[test]
fn the_plan_stops_for_what_cannot_get_better() {
    let idle = UnderWay::default();
    let mut hung = clean(3, 2.0);
    hung.push(trial(3, Outcome::Hung, 1.0, 9));
    assert_eq!(
        next(&PLAN, &crashes(&TIMES), &hung, idle),
        Next::Stop(Stop::CandidateUnclean)
    );
    assert_eq!(
        next(&PLAN, &clean(12, 10.0), &clean(12, 10.0), idle),
        Next::Stop(Stop::NoPositiveControl)
    );
    let slow = crashes(&TIMES.map(|time| time * 100.0));
    assert_eq!(
        next(&PLAN, &slow, &clean(12, 10.0), idle),
        Next::Stop(Stop::OutOfExposure)
    );
    assert_eq!(
        next(&PLAN, &slow, &clean(3, 15.0), idle),
        Next::Stop(Stop::TrialsTooShort)
    );
}

#[test]
fn what_is_under_way_is_waited_for() {
    let mut enough = clean(40, 2.0);
    enough.extend(clean(1, 15.0));
    let one = UnderWay {
        baseline: 1,
        candidate: 0,
    };
    assert_eq!(next(&PLAN, &crashes(&TIMES), &enough, one), Next::Wait);
    let other = UnderWay {
        baseline: 0,
        candidate: 1,
    };
    assert_eq!(next(&PLAN, &crashes(&TIMES), &enough, other), Next::Wait);
    let idle = UnderWay::default();
    assert_eq!(
        next(&PLAN, &crashes(&TIMES), &enough, idle),
        Next::Stop(Stop::Confirmed)
    );
    // A candidate that has crashed is known at once.
    assert_eq!(
        next(&PLAN, &clean(1, 1.0), &crashes(&[0.1]), one),
        Next::Stop(Stop::CandidateUnclean)
    );
}

/// Where nothing crashes a trial ends with its time: the baseline's begin short.
#[test]
fn near_misses_are_looked_for_in_trials_that_grow() {
    let mut near = settings(0, 15.0);
    near.oracle = Oracle::NearMiss;
    let ask = |baseline: &[Trial], candidate: &[Trial]| {
        PLAN.next(&Seen {
            settings: &near,
            baseline,
            candidate,
            under_way: UnderWay::default(),
            elapsed_s: 0.0,
        })
        .unwrap()
    };
    let started = |kernel, duration_s| Next::Start(Start { kernel, duration_s });
    assert_eq!(ask(&[], &[]), started(Kernel::Baseline, 1.0));
    assert_eq!(
        ask(&clean(1, 1.0), &clean(1, 1.0)),
        started(Kernel::Baseline, 2.0)
    );
    let mut hit = clean(10, 2.0);
    for trial in &mut hit {
        trial.counters.lines.near_misses = 40;
    }
    assert_eq!(
        ask(&hit[..3], &clean(1, 1.0)),
        started(Kernel::Baseline, 2.0)
    );
    // Ten boots had some: as many cycles and a margin for each clean one.
    assert_eq!(ask(&hit, &clean(1, 1.0)), started(Kernel::Candidate, 2.5));
    assert_eq!(
        ask(&hit, &clean(10, 2.5)),
        started(Kernel::Candidate, PLAN.longest_trial_s)
    );
    let mut old = clean(10, 2.5);
    old.extend(clean(1, 15.0));
    assert_eq!(ask(&hit, &old), Next::Stop(Stop::Confirmed));
}

/// A kernel whose fix works until it is old: every clone of a young one is clean.
#[test]
fn one_trial_is_long_enough_for_a_kernel_to_grow_old() {
    let quick = |count: u32, cycles: u64| -> Vec<Trial> {
        let trials = (0..count).map(|i| trial(i, Outcome::Survived, 0.5, cycles));
        trials.collect()
    };
    let times = TIMES.map(|time| time / 10.0);
    let idle = UnderWay::default();
    let mut candidate = quick(30, 250);
    let Next::Start(start) = next(&PLAN, &crashes(&times), &candidate, idle) else {
        panic!("7500 cycles, but none after the 250th of a boot");
    };
    assert_eq!(start.kernel, Kernel::Candidate);
    assert!((6.2..6.3).contains(&start.duration_s), "{start:?}");
    // Not twice at the same time.
    let one = UnderWay {
        baseline: 0,
        candidate: 1,
    };
    assert_eq!(next(&PLAN, &crashes(&times), &candidate, one), Next::Wait);
    candidate.push(trial(30, Outcome::Survived, 6.25, 2600));
    assert_eq!(
        next(&PLAN, &crashes(&times), &candidate, idle),
        Next::Stop(Stop::Confirmed)
    );
}

#[test]
fn the_rule_is_one_ascii_sentence_that_names_every_branch() {
    for budget_s in [None, Some(600.0)] {
        let sentence = Plan { budget_s, ..PLAN }.sentence();
        assert!(sentence.is_ascii(), "{sentence}");
        for part in [
            "10 times",
            "99.9 %",
            "120 s",
            "15.0 s",
            "Fisher's",
            "exponential",
            "near misses",
            "crash or hang",
            "slowest",
        ] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
    }
    let budget = Plan {
        budget_s: Some(600.0),
        ..PLAN
    };
    assert!(budget.sentence().contains("10.0 min"));
}
