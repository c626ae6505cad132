//! The verdict on a run, from all that it hangs on. "Nothing happened" is never
//! a pass by itself: every trial asked for must have survived, each with its own
//! proof of exposure and its own visits to the window; and a clean run says that
//! it had no positive control and how rare a crash it could have missed.
//!
//! Beside a baseline the comparison may say more. It can confirm a clean run or
//! weaken it; it cannot mend a kernel that crashed, hung or warned, a run that
//! broke or was cut short, or trials that raced nothing.

mod words;

use self::words::{bad_lines, crashed, number};
use super::format::seconds;
use super::likeness::{Machine, SAME_IMAGE, forbids};
use super::one_cpu::cannot_lose;
use super::trials::{counts, run_stats, total};
use super::visits::Visits;
use super::warnings::{new_warnings, told, warnings};
use crate::model::{
    Assurance, Comparison, Conclusion, Environment, ModuleRecord, Oracle, Outcome, Report, Run,
    Settings, StateCheck, Terms, Trial, Verdict,
};
use crate::stats::mean_above;

/// What [`crate::model::CrashClass::Target`] is called where the readers raced
/// for it.
const OUR_RACE: &str = "the race under test";
/// What it is called where they read something else.
const M_SHOW: &str = "the race of m_show() and module_flags()";

/// Everything that a verdict hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What was asked for.
    pub settings: &'a Settings,
    /// What else was.
    pub terms: &'a Terms,
    /// Where the run took place.
    pub environment: &'a Environment,
    /// What was loaded.
    pub module: Option<&'a ModuleRecord>,
    /// The module's states, checked.
    pub states: &'a [StateCheck],
    /// The trials.
    pub trials: &'a [Trial],
    /// False for a run that was cut short: that shows less than was asked for.
    pub complete: bool,
    /// The run that it is measured against.
    pub baseline: Option<&'a Run>,
    /// What the two say together.
    pub comparison: Option<&'a Comparison>,
    /// Why nothing is said of the two: no statistic can be had of their times.
    pub refused: Option<&'a str>,
}

/// A verdict with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the run says about the kernel.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// What stands behind a pass.
    pub assurance: Assurance,
}

type Judgement = (Verdict, String);

/// The verdict on a run, and why.
pub fn decide(case: &Case<'_>) -> Decision {
    let (verdict, reason) = case.cut_short(case.whole());
    let assurance = match (verdict, case.baseline) {
        (Verdict::Pass, Some(run)) if run.source.is_none() => Assurance::Compared,
        (Verdict::Pass, Some(_)) => Assurance::Control,
        _ => Assurance::None,
    };
    Decision {
        verdict,
        reason,
        assurance,
    }
}

fn inconclusive(reason: impl Into<String>) -> Judgement {
    (Verdict::Inconclusive, reason.into())
}

impl<'a> Case<'a> {
    /// What the verdict on a report hangs on.
    pub fn of(report: &'a Report) -> Self {
        Self {
            settings: &report.settings,
            terms: &report.terms,
            environment: &report.environment,
            module: report.module.as_ref(),
            states: &report.states,
            trials: &report.trials,
            complete: report.complete,
            baseline: report.baseline.as_ref(),
            comparison: report.comparison.as_ref(),
            refused: None,
        }
    }

    /// Whether nothing was to be raced, only states to be looked at.
    pub(super) fn looks_at_states_alone(&self) -> bool {
        self.settings.trials == 0
            && self.trials.is_empty()
            && self.baseline.is_none()
            && !self.states.is_empty()
    }

    /// The verdict were the run not cut short.
    fn whole(&self) -> Judgement {
        let (verdict, reason) = self.of_the_trials();
        if verdict == Verdict::Fail {
            return (verdict, self.settings.about(reason));
        }
        if let Some(failed) = self.failed_states().or_else(|| self.warned()) {
            return (Verdict::Fail, failed);
        }
        if let Some(why) = &self.terms.given_up {
            // No verdict follows from a kernel that could not be raced.
            let baseline = self.baseline.iter().flat_map(|run| &run.trials);
            let mut all = self.trials.iter().chain(baseline);
            return if all.any(|trial| trial.outcome == Outcome::Unsupported) {
                inconclusive(why)
            } else {
                (Verdict::Broken, why.clone())
            };
        }
        if self.looks_at_states_alone() {
            return self.of_the_states();
        }
        if verdict == Verdict::Broken {
            return (verdict, self.settings.about(reason));
        }
        if let Some(why) = self.refused {
            return (
                Verdict::Broken,
                format!("the runs cannot be compared: {why}"),
            );
        }
        let (verdict, reason) = match (verdict, self.comparison) {
            // Of a candidate without a trial the comparison knows as much, and
            // of the baseline more.
            (Verdict::Inconclusive, Some(made)) if self.trials.is_empty() => {
                inconclusive(made.reason.clone())
            }
            (Verdict::Pass, Some(made)) => self.compared(made),
            (Verdict::Pass, None) => self.alone(reason),
            (verdict, _) => (verdict, reason),
        };
        (verdict, self.settings.about(reason))
    }

    /// A run that was cut short is no pass.
    fn cut_short(&self, (verdict, reason): Judgement) -> Judgement {
        if self.complete {
            return (verdict, reason);
        }
        let verdict = match verdict {
            Verdict::Pass => Verdict::Inconclusive,
            other => other,
        };
        (verdict, format!("cut short: {reason}"))
    }

    /// What keeps every clean run from a pass, compared or not.
    fn shows_nothing(&self) -> Option<String> {
        let visits = Visits::of(self.settings, self.trials);
        let mut survivors = self.trials.iter().filter(|trial| counts(trial));
        if !survivors.any(|trial| visits.credited(trial)) {
            return Some(format!(
                "no reader ever saw the module going, in {} reads and {} cycles: the window was \
                 not visited",
                total(self.trials, |trial| trial.reads),
                total(self.trials, |trial| trial.cycles)
            ));
        }
        let untainted = self.module.is_some_and(|module| module.taints.is_empty());
        let crash_wanted = self.settings.oracle == Oracle::Crash;
        let calls_m_show = self.settings.other_target().is_none() && !self.settings.is_other_race();
        (untainted && crash_wanted && calls_m_show).then(|| {
            "the module was not tainted, and m_show() looks at the state of tainted modules \
             only: it could not have crashed the kernel"
                .to_owned()
        })
    }

    /// A clean run beside its baseline.
    fn compared(&self, made: &Comparison) -> Judgement {
        let verdict = made.conclusion.verdict();
        if let Some(nothing) = self.shows_nothing() {
            return inconclusive(nothing);
        }
        let pass = made.conclusion == Conclusion::FixConfirmed;
        let differs = self.baseline.filter(|_| pass).and_then(|run| {
            let ours = Machine {
                settings: self.settings,
                environment: self.environment,
                module: self.module,
                trials: self.trials,
            };
            forbids(Machine::from(run), ours)
        });
        match differs {
            None => (verdict, self.with_warnings(verdict, made.reason.clone())),
            Some(differs) if differs.field == SAME_IMAGE => inconclusive(
                "baseline and candidate are one and the same kernel image: there is nothing to \
                 compare",
            ),
            Some(differs) => inconclusive(format!(
                "not one experiment: {} is {} on the baseline, {} on the candidate",
                differs.field, differs.first, differs.second
            )),
        }
    }

    /// A clean run without a baseline.
    fn alone(&self, reason: String) -> Judgement {
        let cannot = || cannot_lose(self.settings, self.environment);
        if let Some(nothing) = self.shows_nothing().or_else(cannot) {
            return inconclusive(nothing);
        }
        let visits = Visits::of(self.settings, self.trials);
        let elsewhere = self.trials.iter().filter(|trial| !visits.credited(trial));
        let elsewhere = elsewhere.count();
        if elsewhere > 0 {
            return inconclusive(format!(
                "{elsewhere} of {} saw the module going too seldom for their cycles, and are \
                 not clean: the window was not visited there",
                number(self.trials.len(), "trial")
            ));
        }
        // An untainted module cannot crash the kernel, so its silence is no pass;
        // it counts beside a kernel that does show near misses.
        if self.settings.oracle == Oracle::NearMiss {
            let cycles = total(self.trials, |trial| trial.cycles);
            return inconclusive(format!(
                "no near miss in {cycles} cycles, and no control: count them on a kernel without \
                 the fix, with the same settings"
            ));
        }
        // Readers of another target never call m_show(): their survival is none
        // of the race that a pass is about. It counts beside a kernel that
        // crashed under the same readers.
        if self.settings.other_target().is_some() {
            return inconclusive(format!(
                "{reason}; nothing is shown of {M_SHOW}, which they never reach"
            ));
        }
        if self.terms.require_control {
            return inconclusive(format!("{reason}; a positive control is required"));
        }
        (Verdict::Pass, self.with_warnings(Verdict::Pass, reason))
    }

    /// Warnings that were allowed are told all the same.
    fn with_warnings(&self, verdict: Verdict, reason: String) -> String {
        match told(&warnings(self.trials)) {
            Some(warned) if verdict == Verdict::Pass => {
                format!("{reason}; with warnings: {warned}")
            }
            _ => reason,
        }
    }

    /// The warnings that fail the kernel.
    fn warned(&self) -> Option<String> {
        if self.terms.allow_warnings {
            return None;
        }
        let baseline = self.baseline.map(|run| run.trials.as_slice());
        let warned = told(&new_warnings(self.trials, baseline))?;
        Some(match baseline {
            None => format!("the kernel warned: {warned}"),
            Some(_) => format!("the candidate warned, and the baseline did not: {warned}"),
        })
    }

    /// Which checks of the module's states failed, in one sentence.
    fn failed_states(&self) -> Option<String> {
        let failed = self.states.iter().filter(|check| !check.ok);
        let first = failed.clone().next()?;
        Some(format!(
            "{} of {} checks of the module's states failed; the first: {} {}: expected `{}`, \
             seen `{}`",
            failed.count(),
            self.states.len(),
            first.held.as_str(),
            first.what,
            first.expected,
            first.seen
        ))
    }

    /// States that are right are no pass: nothing was raced.
    fn of_the_states(&self) -> Judgement {
        let checks = self.states.len();
        inconclusive(if self.terms.states_incomplete {
            format!("{checks} checks are as expected, others could not be made")
        } else {
            format!("all {checks} checks of the module's states are as expected; nothing was raced")
        })
    }

    fn of_the_trials(&self) -> Judgement {
        let (trials, asked) = (self.trials, self.settings.trials);
        let race = self.settings.other_target().map_or(OUR_RACE, |_| M_SHOW);
        let stats = run_stats(trials);
        if stats.crashes > 0 {
            return (Verdict::Fail, crashed(race, trials));
        }
        if let Some(reason) = bad_lines(trials) {
            return (Verdict::Fail, reason);
        }
        // A hang fails the kernel; a machine that died may have lost its power;
        // broken trials say nothing of it, and a run with one is not the run that
        // was asked for.
        let worst = [
            (Outcome::Hung, Verdict::Fail, "hung"),
            (
                Outcome::Died,
                Verdict::Inconclusive,
                "ended with the machine",
            ),
            (Outcome::Broken, Verdict::Broken, "broke"),
            (
                Outcome::Unsupported,
                Verdict::Inconclusive,
                "cannot be raced",
            ),
        ];
        for (outcome, verdict, word) in worst {
            let of: Vec<&Trial> = trials
                .iter()
                .filter(|trial| trial.outcome == outcome)
                .collect();
            if let Some(first) = of.first() {
                let trials = number(trials.len(), "trial");
                let reason = format!("{} of {trials} {word}: {}", of.len(), first.reason);
                return (verdict, reason);
            }
        }
        let survived = format!(
            "{} survived {}",
            number(trials.len(), "trial"),
            seconds(stats.exposure_s)
        );
        if stats.survived == 0 || stats.survived < asked {
            let asked = number(asked as usize, "trial");
            return inconclusive(format!("only {survived}; {asked} asked for"));
        }
        // Some races have loaders only.
        let unread = self.settings.readers > 0 && stats.reads == 0;
        if stats.exposure_s <= 0.0 || stats.cycles == 0 || unread {
            return inconclusive(format!(
                "{survived} with {} cycles and {} reads: nothing was raced",
                stats.cycles, stats.reads
            ));
        }
        let bound = mean_above(stats.exposure_s, 0.05).unwrap_or(0.0);
        let reason = format!(
            "survived, no positive control: {survived}, so a race that can be hit here at all \
             takes more than {} on average (95 %)",
            seconds(bound)
        );
        (Verdict::Pass, reason)
    }
}

#[cfg(test)]
mod tests;
