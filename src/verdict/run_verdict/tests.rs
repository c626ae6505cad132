//! Verdicts on runs made by hand.

use super::*;
use crate::model::{Counters, Held, StateSource, Warning};
use crate::verdict::{Question, compare};

fn trial(outcome: Outcome, exposure_s: f64) -> Trial {
    let mut counters = Counters::default();
    counters.sightings.unloading = 80;
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

/// A run with all that its verdict hangs on.
struct Made {
    settings: Settings,
    terms: Terms,
    environment: Environment,
    module: ModuleRecord,
    states: Vec<StateCheck>,
    trials: Vec<Trial>,
    complete: bool,
    baseline: Option<Run>,
}

impl Made {
    /// As a report from before there were oracles and targets says.
    fn of(trials: &[Trial]) -> Self {
        let settings = serde_json::json!({
            "trials": trials.len(), "duration_s": 10.0, "jobs": 1, "smp": 2, "mem_mib": 256,
            "accel": "tcg", "loaders": 1, "readers": 1, "strategy": "head",
            "chaos": "auto", "background_modules": 0, "append": ""
        });
        Self {
            settings: serde_json::from_value(settings).unwrap(),
            terms: Terms::default(),
            environment: Environment::default(),
            module: ModuleRecord {
                taints: "O".to_owned(),
                ..ModuleRecord::default()
            },
            states: Vec::new(),
            trials: trials.to_vec(),
            complete: true,
            baseline: None,
        }
    }

    /// Beside a baseline of which ten trials crashed at once.
    fn beside_a_crashing_baseline(mut self) -> Self {
        let mut crashed = trial(Outcome::Crashed, 0.1);
        crashed.cycles_to_crash = Some(1);
        crashed.crash = Some(crate::model::Crash {
            class: crate::model::CrashClass::Target,
            ..crate::model::Crash::default()
        });
        self.baseline = Some(Run {
            source: None,
            environment: self.environment.clone(),
            module: Some(self.module.clone()),
            settings: self.settings.clone(),
            stats: crate::model::RunStats::default(),
            trials: vec![crashed; 10],
        });
        self
    }

    fn decided(&self) -> Decision {
        let comparison = self.baseline.as_ref().map(|run| {
            let question = Question {
                settings: &self.settings,
                baseline: &run.trials,
                candidate: &self.trials,
                confidence: 0.999,
                log_rank_seed: None,
            };
            compare(&question).unwrap()
        });
        decide(&Case {
            settings: &self.settings,
            terms: &self.terms,
            environment: &self.environment,
            module: Some(&self.module),
            states: &self.states,
            trials: &self.trials,
            complete: self.complete,
            baseline: self.baseline.as_ref(),
            comparison: comparison.as_ref(),
            refused: None,
        })
    }

    fn verdict(&self) -> (Verdict, String) {
        let decided = self.decided();
        (decided.verdict, decided.reason)
    }
}

fn clean(count: usize) -> Vec<Trial> {
    vec![trial(Outcome::Survived, 10.0); count]
}

fn alone(trials: &[Trial]) -> (Verdict, String) {
    Made::of(trials).verdict()
}

#[test]
fn only_a_whole_clean_run_passes() {
    assert_eq!(alone(&clean(3)).0, Verdict::Pass);
    assert_eq!(alone(&[]).0, Verdict::Inconclusive);
    let mut made = Made::of(&clean(3));
    made.settings.trials = 4;
    assert_eq!(made.verdict().0, Verdict::Inconclusive);
    let mut made = Made::of(&clean(3));
    made.complete = false;
    assert_eq!(made.verdict().0, Verdict::Inconclusive);
    assert!(made.verdict().1.starts_with("cut short: "));
}

#[test]
fn a_crash_before_the_race_fails_the_kernel_and_is_no_event_of_the_race() {
    let mut early = Trial {
        phase: crate::model::TrialPhase::Setup,
        crash: Some(crate::model::Crash {
            class: crate::model::CrashClass::Target,
            ..crate::model::Crash::default()
        }),
        ..trial(Outcome::Crashed, 0.0)
    };
    (early.time_to_crash_s, early.cycles_to_crash) = (None, None);
    let trials = [trial(Outcome::Survived, 10.0), early];
    let (verdict, reason) = alone(&trials);
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
        let mut trials = clean(3);
        trials.push(trial(outcome, 1.0));
        assert_eq!(alone(&trials).0, verdict, "{outcome:?}");
    }
}

/// A comparison raises a run that is clean by itself, and no other.
#[test]
fn a_comparison_mends_nothing() {
    let confirmed = || Made::of(&clean(20)).beside_a_crashing_baseline();
    let decided = confirmed().decided();
    assert_eq!(decided.verdict, Verdict::Pass, "{}", decided.reason);
    assert_eq!(decided.assurance, Assurance::Compared);

    let mut unsupported = confirmed();
    unsupported.trials.push(trial(Outcome::Unsupported, 0.0));
    let mut cut_short = confirmed();
    cut_short.complete = false;
    let mut fewer = confirmed();
    fewer.settings.trials = 21;
    let mut no_cycles = confirmed();
    let mut no_reads = confirmed();
    for trial in &mut no_cycles.trials {
        trial.cycles = 0;
    }
    for trial in &mut no_reads.trials {
        trial.reads = 0;
    }
    let mut untainted = confirmed();
    untainted.module.taints.clear();
    untainted.baseline.as_mut().unwrap().module = Some(untainted.module.clone());
    let mut cases = [
        ("unsupported", unsupported),
        ("cut short", cut_short),
        ("fewer than asked for", fewer),
        ("no cycles", no_cycles),
        ("no reads", no_reads),
        ("untainted module", untainted),
    ];
    for (name, made) in &mut cases {
        let decided = made.decided();
        assert_eq!(decided.verdict, Verdict::Inconclusive, "{name}");
        assert_eq!(decided.assurance, Assurance::None, "{name}");
    }
    // Nobody is asked to read in a race of loaders alone.
    let (_, no_reads) = &mut cases[4];
    no_reads.settings.readers = 0;
    assert_eq!(no_reads.decided().verdict, Verdict::Pass);
    for (outcome, verdict) in [
        (Outcome::Broken, Verdict::Broken),
        (Outcome::Hung, Verdict::Fail),
    ] {
        let mut made = confirmed();
        made.trials.push(trial(outcome, 1.0));
        made.settings.trials += 1;
        assert_eq!(made.verdict().0, verdict);
    }
}

#[test]
fn a_pass_says_what_stands_behind_it_and_may_be_asked_for_a_control() {
    let mut made = Made::of(&clean(20));
    assert_eq!(made.decided().assurance, Assurance::None);
    made.terms.require_control = true;
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.ends_with("a positive control is required"),
        "{reason}"
    );
    let mut made = made.beside_a_crashing_baseline();
    assert_eq!(made.decided().assurance, Assurance::Compared);
    made.baseline.as_mut().unwrap().source = Some(crate::model::Source {
        started: String::new(),
        command: Vec::new(),
        seed: 1,
        run_id: String::new(),
        sha256: String::new(),
    });
    assert_eq!(made.decided().assurance, Assurance::Control);
}

#[test]
fn who_differs_in_what_matters_is_not_confirmed() {
    let confirmed = || Made::of(&clean(20)).beside_a_crashing_baseline();
    let mut preempted = confirmed();
    preempted.environment.preemption = Some("full".to_owned());
    let (verdict, reason) = preempted.verdict();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.contains("environment.preemption is unknown on the baseline, full on"),
        "{reason}"
    );
    let mut chaos = confirmed();
    chaos.trials[3].chaos = vec!["offline".to_owned()];
    assert!(chaos.verdict().1.contains("trials[].chaos"));
    let mut same = confirmed();
    same.environment.kernel.image_sha256 = Some("a7".to_owned());
    same.baseline.as_mut().unwrap().environment = same.environment.clone();
    let (verdict, reason) = same.verdict();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("one and the same kernel image"), "{reason}");
}

fn warning(title: &str) -> Warning {
    Warning {
        title: title.to_owned(),
        count: 2,
        first_line: "WARNING: CPU: 1 PID: 87 at kernel/module/main.c:99 m_show+0x1/0x2".to_owned(),
    }
}

#[test]
fn a_warning_that_the_baseline_does_not_show_fails_the_kernel() {
    let mut made = Made::of(&clean(20));
    made.trials[0].warnings = vec![warning("WARNING in m_show")];
    made.trials[7].warnings = made.trials[0].warnings.clone();
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(
        reason,
        "the kernel warned: `WARNING in m_show`, 4 times in 2 trials"
    );

    let mut made = made.beside_a_crashing_baseline();
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        reason.starts_with("the candidate warned, and the baseline did not"),
        "{reason}"
    );

    // Allowed, or shown by the baseline as well: a pass that tells of it.
    made.terms.allow_warnings = true;
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Pass);
    assert!(
        reason.contains("; with warnings: `WARNING in m_show`"),
        "{reason}"
    );
    made.terms.allow_warnings = false;
    made.baseline.as_mut().unwrap().trials[2].warnings = vec![warning("WARNING in m_show")];
    assert_eq!(made.verdict().0, Verdict::Pass);
    made.trials[1].warnings = vec![warning("possible deadlock in m_show")];
    assert_eq!(made.verdict().0, Verdict::Fail);
}

#[test]
fn a_kernel_that_could_not_be_raced_is_given_up_and_stays_so() {
    let mut made = Made::of(&clean(20)).beside_a_crashing_baseline();
    let why = "baseline: 3 trials in a row broke: the guest never spoke";
    made.terms.given_up = Some(why.to_owned());
    assert_eq!(made.verdict(), (Verdict::Broken, why.to_owned()));
    let baseline = &mut made.baseline.as_mut().unwrap().trials;
    baseline.push(trial(Outcome::Unsupported, 0.0));
    assert_eq!(made.verdict(), (Verdict::Inconclusive, why.to_owned()));
    made.trials.push(trial(Outcome::Hung, 1.0));
    assert_eq!(made.verdict().0, Verdict::Fail);
}

#[test]
fn a_near_miss_or_a_line_that_cannot_be_takes_the_pass_away() {
    let mut trials = clean(2);
    trials[1].counters.lines.near_misses = 3;
    let (verdict, reason) = alone(&trials);
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        reason.starts_with("3 near misses in 200 cycles"),
        "{reason}"
    );
    trials[1].counters.lines.near_misses = 0;
    trials[1].counters.lines.torn = 1;
    assert_eq!(alone(&trials).0, Verdict::Fail);
}

#[test]
fn a_run_that_never_saw_the_module_going_is_no_pass() {
    let mut trials = clean(3);
    for trial in &mut trials {
        trial.counters.sightings.live = 1000;
        trial.counters.sightings.unloading = 0;
    }
    let (verdict, reason) = alone(&trials);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.starts_with("no reader ever saw the module going, in 3000 reads"),
        "{reason}"
    );
    // What ends badly ends badly wherever readers were.
    trials[0].outcome = Outcome::Hung;
    assert_eq!(alone(&trials).0, Verdict::Fail);
}

#[test]
fn one_trial_that_saw_the_module_going_does_not_stand_for_the_others() {
    let mut trials = clean(40);
    for trial in &mut trials[1..] {
        trial.counters.sightings.unloading = 0;
    }
    let (verdict, reason) = alone(&trials);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.starts_with("39 of 40 trials saw the module going too seldom"),
        "{reason}"
    );
    let made = Made::of(&trials).beside_a_crashing_baseline();
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.starts_with("no crash in 10.0 s of 1 trial"),
        "{reason}"
    );
    // In proportion to its cycles: one sighting is not enough where others have
    // one in each.
    let mut trials = clean(40);
    trials[3].counters.sightings.unloading = 1;
    let (verdict, reason) = alone(&trials);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.starts_with("1 of 40 trials"), "{reason}");
}

#[test]
fn a_near_miss_oracles_silence_is_no_pass_and_a_wrong_state_is_a_fail() {
    let mut made = Made::of(&clean(2));
    assert_eq!(made.verdict().0, Verdict::Pass);
    made.states = vec![StateCheck {
        held: Held::Init,
        source: StateSource::ProcModules,
        what: "flag".to_owned(),
        expected: "+".to_owned(),
        seen: "-".to_owned(),
        line: None,
        ok: false,
    }];
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        reason.contains("in init flag: expected `+`, seen `-`"),
        "{reason}"
    );
    made.states.clear();
    made.settings.oracle = Oracle::NearMiss;
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.starts_with("no near miss in 200 cycles"), "{reason}");
}

#[test]
fn states_that_are_right_are_no_pass() {
    let mut made = Made::of(&[]);
    made.states = vec![StateCheck {
        held: Held::Live,
        source: StateSource::ProcModules,
        what: "state".to_owned(),
        expected: "Live".to_owned(),
        seen: "Live".to_owned(),
        line: None,
        ok: true,
    }];
    let (verdict, reason) = made.verdict();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert_eq!(
        reason,
        "all 1 checks of the module's states are as expected; nothing was raced"
    );
    made.terms.states_incomplete = true;
    assert!(made.verdict().1.contains("others could not be made"));
}

#[test]
fn who_never_called_m_show_passes_nothing_and_says_what_was_read() {
    let of = |trials: &[Trial]| {
        let mut made = Made::of(trials);
        made.settings.target = "/proc/kallsyms".to_owned();
        made
    };
    let (verdict, reason) = of(&clean(2)).verdict();
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(
        reason.starts_with("readers of /proc/kallsyms: survived, no positive control")
            && reason.contains("nothing is shown of the race of m_show()"),
        "{reason}"
    );
    // Another function's crash is what such a run looks for: "not in the
    // race under test" would be wrong.
    let (verdict, reason) = of(&[trial(Outcome::Crashed, 1.0)]).verdict();
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(
        reason,
        "readers of /proc/kallsyms: 1 of 1 trial crashed, but not in the race of m_show() \
         and module_flags(): as it was"
    );
    let mut beside = of(&clean(2)).beside_a_crashing_baseline();
    beside.baseline.as_mut().unwrap().trials = clean(2);
    let (_, reason) = beside.verdict();
    assert!(
        reason.starts_with("readers of /proc/kallsyms: "),
        "{reason}"
    );
}

#[test]
fn a_clean_run_says_that_it_had_no_control_and_a_crash_which_race_it_was() {
    assert!(
        alone(&clean(1))
            .1
            .starts_with("survived, no positive control")
    );
    let crashed = [trial(Outcome::Crashed, 1.0)];
    assert!(alone(&crashed).1.contains("not in the race under test"));
}
