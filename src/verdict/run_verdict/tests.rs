//! Verdicts on runs made by hand.

use super::*;
use crate::model::Counters;

fn trial(outcome: Outcome, exposure_s: f64) -> Trial {
    let mut counters = Counters::default();
    counters.sightings.unloading = 1;
    Trial {
        exposure_s,
        cycles: 100,
        reads: 1000,
        time_to_crash_s: (outcome == Outcome::Crashed).then_some(exposure_s),
        cycles_to_crash: (outcome == Outcome::Crashed).then_some(101),
        counters,
        wall_s: exposure_s,
        ..Trial::new(0, 1, outcome, "as it was")
    }
}

/// As a report from before there were oracles and targets says.
fn settings(trials: u32) -> Settings {
    serde_json::from_value(serde_json::json!({
        "trials": trials, "duration_s": 10.0, "jobs": 1, "smp": 2, "mem_mib": 256,
        "accel": "tcg", "loaders": 1, "readers": 1, "strategy": "head",
        "chaos": "auto", "background_modules": 0, "append": ""
    }))
    .unwrap()
}

fn alone(trials: &[Trial], asked: u32, finished: bool) -> (Verdict, String) {
    verdict_of_run(&settings(asked), trials, &[], finished, None)
}

#[test]
fn only_a_whole_clean_run_passes() {
    let clean = vec![trial(Outcome::Survived, 10.0); 3];
    assert_eq!(alone(&clean, 3, true).0, Verdict::Pass);
    assert_eq!(alone(&clean, 4, true).0, Verdict::Inconclusive);
    assert_eq!(alone(&clean, 3, false).0, Verdict::Inconclusive);
    assert_eq!(alone(&[], 0, true).0, Verdict::Inconclusive);
}

#[test]
fn a_crash_before_the_race_fails_the_kernel_and_is_no_event_of_the_race() {
    let mut early = Trial {
        phase: crate::model::TrialPhase::Setup,
        crash: Some(crate::model::Crash {
            class: CrashClass::Target,
            ..crate::model::Crash::default()
        }),
        ..trial(Outcome::Crashed, 0.0)
    };
    (early.time_to_crash_s, early.cycles_to_crash) = (None, None);
    let trials = [trial(Outcome::Survived, 10.0), early];
    let (verdict, reason) = alone(&trials, 2, true);
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        reason.contains("but not in the race under test"),
        "{reason}"
    );
    let stats = run_stats(&trials);
    assert_eq!((stats.crashes, stats.time_to_crash_s), (1, None));
}

#[test]
fn one_trial_of_another_outcome_takes_the_pass_away() {
    for (outcome, verdict) in [
        (Outcome::Crashed, Verdict::Fail),
        (Outcome::Hung, Verdict::Fail),
        (Outcome::Broken, Verdict::Broken),
        (Outcome::Unsupported, Verdict::Inconclusive),
    ] {
        let mut trials = vec![trial(Outcome::Survived, 10.0); 3];
        trials.push(trial(outcome, 1.0));
        assert_eq!(alone(&trials, 4, true).0, verdict, "{outcome:?}");
    }
}

#[test]
fn a_near_miss_or_a_line_that_cannot_be_takes_the_pass_away() {
    let mut trials = vec![trial(Outcome::Survived, 10.0); 2];
    trials[1].counters.lines.near_misses = 3;
    let (verdict, reason) = alone(&trials, 2, true);
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        reason.starts_with("3 near misses in 200 cycles"),
        "{reason}"
    );
    trials[1].counters.lines.near_misses = 0;
    trials[1].counters.lines.torn = 1;
    assert_eq!(alone(&trials, 2, true).0, Verdict::Fail);
}

#[test]
fn a_run_that_never_saw_the_module_going_is_no_pass() {
    let mut trials = vec![trial(Outcome::Survived, 10.0); 3];
    for trial in &mut trials {
        trial.counters.sightings.live = 1000;
        trial.counters.sightings.unloading = 0;
    }
    let (verdict, reason) = alone(&trials, 3, true);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.starts_with("no reader ever saw the module going, in 3000 reads"),
        "{reason}"
    );
    // What ends badly ends badly wherever readers were.
    trials[0].outcome = Outcome::Hung;
    assert_eq!(alone(&trials, 3, true).0, Verdict::Fail);
    // One trial that saw it stands for those that did not.
    trials[0].outcome = Outcome::Survived;
    trials[2].counters.sightings.unloading = 1;
    assert_eq!(alone(&trials, 3, true).0, Verdict::Pass);
}

#[test]
fn a_near_miss_oracles_silence_is_no_pass_and_a_wrong_state_is_a_fail() {
    let clean = vec![trial(Outcome::Survived, 10.0); 2];
    let mut settings = settings(2);
    assert_eq!(
        verdict_of_run(&settings, &clean, &[], true, None).0,
        Verdict::Pass
    );
    let wrong = StateCheck {
        held: crate::model::Held::Init,
        source: crate::model::StateSource::ProcModules,
        what: "flag".to_owned(),
        expected: "+".to_owned(),
        seen: "-".to_owned(),
        line: None,
        ok: false,
    };
    let (verdict, reason) = verdict_of_run(&settings, &clean, &[wrong], true, None);
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        reason.contains("in init flag: expected `+`, seen `-`"),
        "{reason}"
    );
    settings.oracle = Oracle::NearMiss;
    let (verdict, reason) = verdict_of_run(&settings, &clean, &[], true, None);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.starts_with("no near miss in 200 cycles"), "{reason}");
}

#[test]
fn who_never_called_m_show_passes_nothing_and_says_what_was_read() {
    let mut settings = settings(2);
    settings.target = "/proc/kallsyms".to_owned();
    let of = |trials: &[Trial]| verdict_of_run(&settings, trials, &[], true, None);
    let (verdict, reason) = of(&vec![trial(Outcome::Survived, 10.0); 2]);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.starts_with("readers of /proc/kallsyms: survived, no positive control")
            && reason.contains("nothing is shown of the race of m_show()"),
        "{reason}"
    );
    // Another function's crash is what such a run looks for: "not in the
    // race under test" would be wrong.
    let (verdict, reason) = of(&[trial(Outcome::Crashed, 1.0)]);
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(
        reason,
        "readers of /proc/kallsyms: 1 of 1 trial crashed, but not in the race of m_show() \
         and module_flags(): as it was"
    );
    let clean = vec![trial(Outcome::Survived, 10.0); 2];
    let comparison = super::super::compare(&clean, &clean, 0.999, 1).unwrap();
    let (_, reason) = verdict_of_run(&settings, &clean, &[], true, Some(&comparison));
    assert!(
        reason.starts_with("readers of /proc/kallsyms: "),
        "{reason}"
    );
}

#[test]
fn a_clean_run_says_that_it_had_no_control_and_a_crash_which_race_it_was() {
    let clean = [trial(Outcome::Survived, 10.0)];
    assert!(
        alone(&clean, 1, true)
            .1
            .starts_with("survived, no positive control")
    );
    let crashed = [trial(Outcome::Crashed, 1.0)];
    assert!(
        alone(&crashed, 1, true)
            .1
            .contains("not in the race under test")
    );
}
