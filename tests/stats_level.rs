//! The level: a candidate that is no better than its baseline is called fixed no
//! more often than the confidence says, whatever the distribution of the times
//! and whatever part of the rule says it. The program's own stop rule and verdict
//! are run on simulated trials, with fixed seeds.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says which levels it found"
)]

mod common;

use common::settings;
use modrace::model::{Conclusion, Crash, CrashClass, Oracle, Outcome, Settings, Trial};
use modrace::verdict::{Kernel, Next, Plan, Question, Seen, Start, UnderWay, compare};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// The level of most simulations: at 0.1 % nothing would be seen in them.
const ALPHA: f64 = 0.05;
/// Time that a trial takes besides its race, seconds.
const START_S: f64 = 0.1;

/// How the times to crash of a kernel are distributed; means are near 10 s, so
/// that the candidate's short first trial seldom shows anything.
#[derive(Clone, Copy, Debug)]
enum Times {
    Exponential,
    /// Early crashes or very late ones.
    WeibullHalf,
    /// Crashes around one time.
    WeibullTwo,
    /// So many of a hundred boots never crash.
    NeverMixed(u64),
    /// A third crash at once, the others ten times as late.
    TwoRates,
}

const ALL: [Times; 6] = [
    Times::Exponential,
    Times::WeibullHalf,
    Times::WeibullTwo,
    Times::NeverMixed(30),
    Times::NeverMixed(80),
    Times::TwoRates,
];

struct Random(Xoshiro256PlusPlus);

impl Random {
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (-53_f64).exp2()
    }

    fn exponential(&mut self) -> f64 {
        -(-self.uniform()).ln_1p()
    }

    fn percent(&mut self) -> u64 {
        self.0.next_u64() % 100
    }

    fn time(&mut self, times: Times) -> f64 {
        10.0 * match times {
            Times::WeibullHalf => self.exponential().powi(2) / 2.0,
            Times::WeibullTwo => self.exponential().sqrt(),
            Times::NeverMixed(share) if self.percent() < share => f64::INFINITY,
            Times::TwoRates if self.percent() < 33 => self.exponential() / 10.0,
            Times::Exponential | Times::NeverMixed(_) | Times::TwoRates => self.exponential(),
        }
    }

    /// A trial of a kernel that crashes, at 100 cycles a second.
    fn trial(&mut self, times: Times, index: u32, limit_s: f64) -> Trial {
        let time = self.time(times);
        let (outcome, seconds) = if time < limit_s {
            (Outcome::Crashed, time)
        } else {
            (Outcome::Survived, limit_s)
        };
        trial(index, outcome, seconds)
    }

    /// A boot in which near misses come in clusters: some are in step with the
    /// race for all their time, the others never.
    fn near_miss_trial(&mut self, in_step: u64, index: u32, limit_s: f64) -> Trial {
        let mut made = trial(index, Outcome::Survived, limit_s);
        if self.percent() < in_step {
            made.counters.lines.near_misses = made.cycles / 3;
        }
        made
    }
}

/// A trial with no more than a verdict looks at: they are made by the million.
fn trial(index: u32, outcome: Outcome, seconds: f64) -> Trial {
    let crashed = outcome == Outcome::Crashed;
    let cycles = common::cycles(seconds);
    let mut made = Trial::new(index, 0, outcome, "");
    (made.exposure_s, made.wall_s) = (seconds, seconds);
    (made.cycles, made.reads) = (cycles, cycles);
    made.counters.sightings.unloading = cycles;
    made.time_to_crash_s = crashed.then_some(seconds);
    made.cycles_to_crash = crashed.then_some(cycles + 1);
    made.crash = crashed.then(|| Crash {
        class: CrashClass::Target,
        ..Crash::default()
    });
    made
}

/// Runs the plan on two kernels of one kind; true if it confirms a fix.
fn confirmed(
    plan: &Plan,
    oracle: Oracle,
    seed: u64,
    jobs: u32,
    perform: impl Fn(&mut Random, u32, f64) -> Trial,
) -> bool {
    let mut random = Random(Xoshiro256PlusPlus::seed_from_u64(seed));
    let mut settings = settings(0, plan.longest_trial_s);
    settings.oracle = oracle;
    let (mut baseline, mut candidate) = (Vec::new(), Vec::new());
    // Trials under way: they end in the order of their time.
    let mut open: Vec<(f64, Kernel, Trial)> = Vec::new();
    let (mut started, mut elapsed_s) = ([0, 0], 0.0);
    loop {
        let count = |kernel| open.iter().filter(|(_, of, _)| *of == kernel).count();
        let number = |count: usize| u32::try_from(count).unwrap();
        let under_way = UnderWay {
            baseline: number(count(Kernel::Baseline)),
            candidate: number(count(Kernel::Candidate)),
        };
        let seen = Seen {
            settings: &settings,
            baseline: &baseline,
            candidate: &candidate,
            under_way,
            elapsed_s,
        };
        let next = if number(open.len()) < jobs {
            plan.next(&seen).unwrap()
        } else {
            Next::Wait
        };
        match next {
            Next::Start(Start { kernel, duration_s }) => {
                let index = &mut started[kernel as usize];
                let made = perform(&mut random, *index, duration_s);
                *index += 1;
                open.push((elapsed_s + made.exposure_s + START_S, kernel, made));
            }
            Next::Wait => {
                open.sort_by(|a, b| b.0.total_cmp(&a.0));
                let (end_s, kernel, made) = open.pop().expect("never a wait for nothing");
                elapsed_s = end_s;
                match kernel {
                    Kernel::Baseline => baseline.push(made),
                    Kernel::Candidate => candidate.push(made),
                }
            }
            Next::Stop(_) => break,
        }
    }
    conclusion(&settings, &baseline, &candidate, plan.confidence) == Conclusion::FixConfirmed
}

fn conclusion(
    settings: &Settings,
    baseline: &[Trial],
    candidate: &[Trial],
    confidence: f64,
) -> Conclusion {
    let question = Question {
        settings,
        baseline,
        candidate,
        confidence,
        log_rank_seed: None,
    };
    compare(&question).unwrap().conclusion
}

/// The share of runs that confirm a fix, and what it may be: the level and three
/// standard errors of the simulation.
fn share(runs: u64, alpha: f64, confirms: impl Fn(u64) -> bool + Sync) -> (f64, f64) {
    let wrong = (0..runs)
        .into_par_iter()
        .filter(|run| confirms(*run))
        .count();
    let slack = 3.0 * (alpha * (1.0 - alpha) / runs as f64).sqrt();
    (wrong as f64 / runs as f64, alpha + slack)
}

fn plan(crashes: u32, alpha: f64, longest_trial_s: f64) -> Plan {
    Plan {
        crashes,
        confidence: 1.0 - alpha,
        longest_trial_s,
        max_exposure_s: 9000.0,
        budget_s: None,
    }
}

#[test]
fn the_plan_holds_its_level_for_every_distribution_and_number_of_crashes() {
    let mut most: f64 = 0.0;
    for crashes in [1, 3, 10] {
        for times in ALL {
            let plan = plan(crashes, ALPHA, 100.0);
            let (wrong, most_allowed) = share(1000, ALPHA, |run| {
                confirmed(&plan, Oracle::Crash, run, 1, |random, index, limit_s| {
                    random.trial(times, index, limit_s)
                })
            });
            eprintln!("{crashes} crashes, {times:?}: {wrong:.4} at {ALPHA}");
            assert!(
                wrong <= most_allowed,
                "{crashes} crashes, {times:?}: {wrong}"
            );
            most = most.max(wrong);
        }
    }
    // A plan that never confirms would hold any level.
    assert!(most > 0.005, "{most}");
}

/// At the level that is the default, where a single case is too many.
#[test]
fn the_plan_holds_a_level_of_one_in_a_thousand() {
    for crashes in [3, 10] {
        for times in [Times::WeibullHalf, Times::NeverMixed(50), Times::TwoRates] {
            let plan = plan(crashes, 0.001, 100.0);
            let (wrong, most_allowed) = share(3000, 0.001, |run| {
                confirmed(&plan, Oracle::Crash, run, 1, |random, index, limit_s| {
                    random.trial(times, index, limit_s)
                })
            });
            eprintln!("{crashes} crashes, {times:?}: {wrong:.5} at 0.001");
            assert!(
                wrong <= most_allowed,
                "{crashes} crashes, {times:?}: {wrong}"
            );
        }
    }
}

/// Several trials at once, of which later ones may end first; a budget that goes
/// on after the confirmation; trials that are ended early.
#[test]
fn the_plan_holds_its_level_with_jobs_and_a_budget_and_short_trials() {
    let budgeted = Plan {
        budget_s: Some(900.0),
        ..plan(3, ALPHA, 100.0)
    };
    for (name, plan, jobs) in [
        ("three jobs", plan(3, ALPHA, 100.0), 3),
        ("a budget", budgeted, 1),
        ("short trials", plan(3, ALPHA, 10.0), 1),
        (
            "little exposure",
            Plan {
                max_exposure_s: 3.0,
                ..plan(3, ALPHA, 1.0)
            },
            2,
        ),
    ] {
        for times in [
            Times::Exponential,
            Times::WeibullHalf,
            Times::NeverMixed(50),
        ] {
            let (wrong, most_allowed) = share(600, ALPHA, |run| {
                confirmed(&plan, Oracle::Crash, run, jobs, |random, index, limit_s| {
                    random.trial(times, index, limit_s)
                })
            });
            eprintln!("{name}, {times:?}: {wrong:.4} at {ALPHA}");
            assert!(wrong <= most_allowed, "{name}, {times:?}: {wrong}");
        }
    }
}

#[test]
fn near_misses_hold_the_level_however_they_cluster() {
    for crashes in [1, 3, 10] {
        for in_step in [10, 50, 95] {
            let plan = plan(crashes, ALPHA, 4.0);
            let (wrong, most_allowed) = share(500, ALPHA, |run| {
                confirmed(&plan, Oracle::NearMiss, run, 1, |random, index, limit_s| {
                    random.near_miss_trial(in_step, index, limit_s)
                })
            });
            eprintln!("near misses, {crashes} boots, {in_step} % in step: {wrong:.4}");
            assert!(wrong <= most_allowed, "{crashes}, {in_step} %: {wrong}");
        }
    }
}

/// Two saved runs with trials of a fixed number and length, as `report compare`
/// and `--control` set them against each other.
#[test]
fn runs_of_fixed_size_hold_the_level() {
    for (baseline, candidate) in [(1, 60), (3, 20), (10, 10), (20, 20)] {
        for times in ALL {
            let (wrong, most_allowed) = share(2000, ALPHA, |run| {
                let mut random = Random(Xoshiro256PlusPlus::seed_from_u64(run));
                let mut make = |count| -> Vec<Trial> {
                    (0..count).map(|i| random.trial(times, i, 60.0)).collect()
                };
                let (base, cand) = (make(baseline), make(candidate));
                conclusion(&settings(0, 60.0), &base, &cand, 1.0 - ALPHA)
                    == Conclusion::FixConfirmed
            });
            assert!(
                wrong <= most_allowed,
                "{baseline}, {candidate}, {times:?}: {wrong}"
            );
        }
    }
}

/// Trials of the baseline that break while they race, instead of crashing: the
/// time that they raced is not lost.
#[test]
fn a_baseline_that_breaks_holds_the_level() {
    let plan = plan(3, ALPHA, 100.0);
    let (wrong, most_allowed) = share(2000, ALPHA, |run| {
        confirmed(&plan, Oracle::Crash, run, 1, |random, index, limit_s| {
            let mut made = random.trial(Times::Exponential, index, limit_s);
            // Late crashes break the guest before their report is out.
            if made.outcome == Outcome::Crashed && made.exposure_s > 10.0 && random.percent() < 40 {
                made = trial(index, Outcome::Broken, made.exposure_s);
            }
            made
        })
    });
    eprintln!("broken trials: {wrong:.4} at {ALPHA}");
    assert!(wrong <= most_allowed, "{wrong}");
}
