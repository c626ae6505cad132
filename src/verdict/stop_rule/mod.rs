//! The stop rule of a comparison: which kernel gets the next trial, how long it
//! lasts, and when it is over. Fixed before the first trial, and told in words.
//!
//! 1. The baseline's first trial, and one short trial of the candidate: who tests
//!    a candidate that crashes learns it in the first seconds.
//! 2. The baseline until it has crashed often enough.
//! 3. The candidate, in trials as long as the slowest crash and the level ask
//!    for, until the comparison confirms it.
//! 4. The candidate in one long trial, or for the rest of the budget in longer and
//!    longer ones: each lowers the bound on what could still be there, and reaches
//!    what only an old kernel does.
//!
//! The level holds. A crash of the candidate can never confirm a fix, so no
//! order of its trials can help it, and a clean trial is never taken back. The
//! p value that confirms (`stats::clean_trials_p`) is valid for every moment at
//! which the two runs may be ended: nothing is gained by going on until it suits.

mod progress;
mod sentence;

use self::progress::Progress;
use super::comparison::{Gap, Judge, Question};
use super::near_misses::{Boots, sums};
use crate::model::{Oracle, Outcome, SILENT_BOOT, Settings, Trial};
use crate::stats::{StatsError, needed_clean_trials, needed_exposure};

/// The candidate's first trial, seconds: some twenty times what the race takes
/// where it is easy to hit.
const FIRST_TRIAL_S: f64 = 1.0;
/// Shorter trials cost more to start than they race.
const SHORTEST_TRIAL_S: f64 = 0.2;
/// A baseline that has crashed gets trials of so many times its slowest crash:
/// what has not crashed by then counts as a trial without a crash.
const BASELINE_SPAN: f64 = 20.0;
/// Trials of the candidate are that much longer than is asked of them: two runs
/// of one kernel differ in cycles a second.
const MARGIN: f64 = 1.25;
/// Clean trials of a confirmed candidate, at least.
const CLEAN_TRIALS: u32 = 10;
/// For how long, from the start of the comparison, they are waited for, seconds.
const USUAL_TIME_S: f64 = 20.0;
/// Cycles of the longest clean trial of a confirmed candidate. Every trial begins
/// with a kernel that has just booted, or a copy of one: what goes wrong after
/// thousands of unloads only shows in a trial of thousands.
const LONG_TRIAL_CYCLES: f64 = 2500.0;
/// How long that trial may be, seconds: all that a slow kernel gets.
const LONG_TRIAL_S: f64 = 20.0;
/// A trial that was this share of what it should last was long enough.
const ALMOST: f64 = 0.9;
/// Trials of one kernel in a row without a result, after which more of them
/// would show no more.
const BROKEN_IN_A_ROW: usize = 3;
/// Trials of the candidate that could not be as long as needed, after which it
/// is given up.
const TOO_SHORT: usize = 3;

/// A comparison's stop rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Crashes of the baseline that are waited for, r.
    pub crashes: u32,
    /// The confidence asked for, 1 − α.
    pub confidence: f64,
    /// The longest trial, seconds raced.
    pub longest_trial_s: f64,
    /// The most exposure that either kernel gets, seconds.
    pub max_exposure_s: f64,
    /// How long the comparison may take in all, seconds of wall time; none: as
    /// long as it needs.
    pub budget_s: Option<f64>,
}

/// Trials under way, which count once they end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Of the baseline.
    pub baseline: u32,
    /// Of the candidate.
    pub candidate: u32,
}

/// What there is to decide on.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The settings of both runs.
    pub settings: &'a Settings,
    /// The trials of the baseline that ended.
    pub baseline: &'a [Trial],
    /// The trials of the candidate that ended.
    pub candidate: &'a [Trial],
    /// The trials under way.
    pub under_way: UnderWay,
    /// Wall time since the comparison began, seconds.
    pub elapsed_s: f64,
}

/// One of the two kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Without the fix.
    Baseline,
    /// With it.
    Candidate,
}

/// A trial to be started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// Of which kernel.
    pub kernel: Kernel,
    /// How long it races at most, seconds.
    pub duration_s: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Start a trial.
    Start(Start),
    /// Start none now: what is under way may decide. Never without any.
    Wait,
    /// It is over.
    Stop(Stop),
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The fix is confirmed.
    Confirmed,
    /// The candidate crashed or hung.
    CandidateUnclean,
    /// The baseline had all its exposure and did not crash.
    NoPositiveControl,
    /// The candidate had all its exposure, and it was not enough.
    OutOfExposure,
    /// No trial can be as long as the candidate's would have to be.
    TrialsTooShort,
    /// The time allowed is over.
    OutOfBudget,
}

impl Plan {
    /// What to do next. Deterministic: the same trials at the same time give the
    /// same answer.
    pub fn next(&self, seen: &Seen<'_>) -> Result<Next, StatsError> {
        let cand = Progress::of(seen.candidate, seen.settings.oracle)?;
        if cand.unclean {
            return Ok(Next::Stop(Stop::CandidateUnclean));
        }
        let base = Progress::of(seen.baseline, seen.settings.oracle)?;
        let rule = Rule {
            plan: self,
            seen,
            base,
            cand,
        };
        rule.next()
    }
}

/// Why more trials of a kernel would show no more; None while they may.
pub fn hopeless(trials: &[Trial]) -> Option<String> {
    let of = |outcome| move |trial: &&Trial| trial.outcome == outcome;
    if let Some(trial) = trials.iter().find(of(Outcome::Unsupported)) {
        return Some(trial.reason.clone());
    }
    // Each of them is waited for as long as a slow boot may take.
    let silent = |trial: &Trial| trial.reason.starts_with(SILENT_BOOT);
    if let [first, ..] = trials
        && trials.iter().all(silent)
    {
        return Some(first.reason.clone());
    }
    let last = trials.iter().rev().take(BROKEN_IN_A_ROW);
    let broken = last.filter(of(Outcome::Broken)).count();
    (broken == BROKEN_IN_A_ROW).then(|| {
        format!(
            "{broken} trials in a row broke: {}",
            trials[trials.len() - 1].reason
        )
    })
}

/// One decision.
struct Rule<'a> {
    plan: &'a Plan,
    seen: &'a Seen<'a>,
    base: Progress,
    cand: Progress,
}

impl Rule<'_> {
    fn next(&self) -> Result<Next, StatsError> {
        if self.plan.budget_s.is_some_and(|s| self.seen.elapsed_s >= s) {
            let confirmed = self.confirmed()?;
            return Ok(self.over(if confirmed {
                Stop::Confirmed
            } else {
                Stop::OutOfBudget
            }));
        }
        let under_way = self.seen.under_way;
        if self.seen.baseline.is_empty() && under_way.baseline == 0 {
            return Ok(self.start(Kernel::Baseline, self.baseline_s()));
        }
        if self.seen.candidate.is_empty() && under_way.candidate == 0 {
            return Ok(self.start(Kernel::Candidate, FIRST_TRIAL_S));
        }
        if self.base.events < self.plan.crashes && !self.used_up(&self.base) {
            return Ok(self.start(Kernel::Baseline, self.baseline_s()));
        }
        if self.base.events == 0 {
            return Ok(if under_way.baseline > 0 {
                Next::Wait
            } else {
                self.over(Stop::NoPositiveControl)
            });
        }
        if self.confirmed()? {
            return Ok(self.lower_the_bound());
        }
        self.seek_confirmation()
    }

    /// Stops once nothing is under way: a crash of that would still count.
    fn over(&self, stop: Stop) -> Next {
        let UnderWay {
            baseline,
            candidate,
        } = self.seen.under_way;
        if baseline + candidate > 0 {
            Next::Wait
        } else {
            Next::Stop(stop)
        }
    }

    fn start(&self, kernel: Kernel, duration_s: f64) -> Next {
        let left_s = self
            .plan
            .budget_s
            .map_or(f64::INFINITY, |budget_s| budget_s - self.seen.elapsed_s);
        let duration_s = duration_s
            .min(left_s)
            .max(SHORTEST_TRIAL_S)
            .min(self.plan.longest_trial_s);
        Next::Start(Start { kernel, duration_s })
    }

    fn used_up(&self, progress: &Progress) -> bool {
        progress.exposure_s >= self.plan.max_exposure_s
    }

    /// A trial of the baseline: as long as may be until it has crashed once.
    /// Where near misses are counted nothing ends a trial before its time, so
    /// they begin short and double until there is one.
    fn baseline_s(&self) -> f64 {
        match (self.base.events, self.seen.settings.oracle) {
            (0, Oracle::Crash) => self.plan.longest_trial_s,
            (0, Oracle::NearMiss) => FIRST_TRIAL_S * doubled(self.seen.baseline.len()),
            (_, Oracle::Crash) => (BASELINE_SPAN * self.base.slowest_s).max(FIRST_TRIAL_S),
            (_, Oracle::NearMiss) => self.base.slowest_s,
        }
    }

    fn question(&self) -> Question<'_> {
        Question {
            settings: self.seen.settings,
            baseline: self.seen.baseline,
            candidate: self.seen.candidate,
            confidence: self.plan.confidence,
            log_rank_seed: None,
        }
    }

    fn confirmed(&self) -> Result<bool, StatsError> {
        Judge::new(&self.question())?.is_confirmed()
    }

    /// Cycles a second of the candidate; None as long as it is not known.
    fn cycles_per_s(&self) -> Option<f64> {
        let known = self.cand.exposure_s > 0.0 && self.cand.cycles > 0.0;
        known.then(|| self.cand.cycles / self.cand.exposure_s)
    }

    /// Cycles in seconds of the candidate; 0 as long as that is not known.
    fn in_seconds(&self, cycles: f64) -> f64 {
        self.cycles_per_s().map_or(0.0, |rate| cycles / rate)
    }

    fn seek_confirmation(&self) -> Result<Next, StatsError> {
        let gap = self.gap()?;
        let longest_s = self.plan.longest_trial_s;
        let long_s = gap.long_s.max(self.in_seconds(gap.long_cycles));
        let tried = self.seen.candidate.len() >= TOO_SHORT;
        if self.used_up(&self.cand) {
            return Ok(self.over(Stop::OutOfExposure));
        }
        if tried && gap.trials == 0 && long_s > longest_s {
            return Ok(self.over(Stop::TrialsTooShort));
        }
        let Some(needed) = gap.needed_trials else {
            // No number of clean trials would do: the baseline crashes in too few
            // of its own. More of those may change that.
            return Ok(if self.used_up(&self.base) {
                self.over(Stop::OutOfExposure)
            } else {
                self.start(Kernel::Baseline, self.baseline_s())
            });
        };
        let trials = f64::from(needed.max(CLEAN_TRIALS).saturating_sub(gap.trials).max(1));
        let missing_s = gap.missing_s.max(self.in_seconds(gap.missing_cycles));
        let duration_s = MARGIN * long_s.max(missing_s / trials);
        let under_way = f64::from(self.seen.under_way.candidate);
        let enough = f64::from(needed.saturating_sub(gap.trials)) <= under_way
            && gap.missing_s.max(self.in_seconds(gap.missing_cycles)) <= under_way * duration_s;
        // Also where only the baseline's last trial is waited for.
        if enough && self.seen.under_way != UnderWay::default() {
            return Ok(Next::Wait);
        }
        Ok(self.start(Kernel::Candidate, duration_s))
    }

    /// What the candidate needs, by crashes or by near misses.
    fn gap(&self) -> Result<Gap, StatsError> {
        let question = self.question();
        let gap = Judge::new(&question)?.gap()?;
        if self.base.crashed {
            return Ok(gap);
        }
        let boots = Boots::of(self.seen.baseline.iter(), self.seen.candidate.iter());
        let alpha = 1.0 - self.plan.confidence;
        let (hits, cycles) = sums(&self.seen.baseline.iter());
        let hits = u32::try_from(hits).unwrap_or(u32::MAX);
        let needed_cycles = needed_exposure(alpha, hits, cycles as f64)?;
        Ok(Gap {
            trials: boots.clean,
            needed_trials: needed_clean_trials(alpha, boots.hit, boots.of)?,
            long_s: self.base.slowest_s,
            long_cycles: boots.longest as f64,
            missing_s: 0.0,
            missing_cycles: (needed_cycles - self.cand.cycles).max(0.0),
        })
    }

    /// What a confirmed candidate still gets.
    fn lower_the_bound(&self) -> Next {
        let next_s = match self.plan.budget_s {
            _ if self.used_up(&self.cand) => None,
            Some(budget_s) => (self.seen.elapsed_s + SHORTEST_TRIAL_S < budget_s)
                .then_some(2.0 * self.cand.slowest_s),
            None => self.usual_s(),
        };
        match next_s {
            Some(duration_s) => self.start(Kernel::Candidate, duration_s),
            None => self.over(Stop::Confirmed),
        }
    }

    /// The next trial of a confirmed candidate without a budget, seconds; None
    /// once it has had all.
    fn usual_s(&self) -> Option<f64> {
        let few = self.cand.clean + self.seen.under_way.candidate < CLEAN_TRIALS;
        if few && self.seen.elapsed_s < USUAL_TIME_S {
            return Some(MARGIN * self.base.slowest_s);
        }
        let longest_s = self.plan.longest_trial_s.min(LONG_TRIAL_S);
        let had_it = self.cand.longest_cycles >= LONG_TRIAL_CYCLES
            || self.cand.longest_s >= ALMOST * longest_s;
        let wanted = !had_it && self.seen.under_way.candidate == 0;
        wanted.then(|| (MARGIN * self.in_seconds(LONG_TRIAL_CYCLES)).min(longest_s))
    }
}

/// 2 to the power of `count`, for as many doublings as a year has room for.
fn doubled(count: usize) -> f64 {
    f64::from(1_u32 << count.min(25))
}
