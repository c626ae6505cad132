//! The stop rule of a comparison: which kernel gets the next trial, and when it
//! is over. Fixed before the first trial, and told in one sentence.
//!
//! Two phases. First both kernels run in pairs, in random order, until the
//! baseline has crashed often enough. Then the baseline is left as it is: r and
//! S no longer change, so the needed exposure T is a fixed number, and the
//! candidate runs until it has it. Nothing is looked at repeatedly in the hope
//! of a good moment: the only thing that ends the second phase early is a crash
//! of the candidate, and that can never confirm a fix. So the level holds.

use super::comparison::conclusion;
use super::format::{percent, seconds};
use super::near_misses;
use super::trials::{Clock, Event, counts, observations};
use crate::model::{Conclusion, Outcome, Trial};
use crate::stats::{StatsError, check_level};

/// A comparison's stop rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Crashes of the baseline that are waited for, r.
    pub crashes: u32,
    /// The confidence asked for, 1 − α.
    pub confidence: f64,
    /// The most exposure that either kernel gets, seconds.
    pub max_exposure_s: f64,
    /// The run's seed: orders the pairs.
    pub seed: u64,
}

/// Trials under way, which count once they end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Of the baseline.
    pub baseline: u32,
    /// Of the candidate.
    pub candidate: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start a trial of the baseline.
    Baseline,
    /// Start a trial of the candidate.
    Candidate,
    /// Start none now: what is under way may decide.
    Wait,
    /// It is over.
    Stop(Stop),
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The candidate has the exposure that the confidence needs.
    Confirmed,
    /// The candidate crashed or hung.
    CandidateUnclean,
    /// The baseline had all its exposure and did not crash.
    NoPositiveControl,
    /// The candidate had all its exposure, and it was not enough.
    OutOfExposure,
}

impl Plan {
    /// The rule in words, to be printed before the first trial.
    pub fn sentence(&self) -> String {
        format!(
            "fixed beforehand: pairs of trials in random order until the baseline \
             has crashed {} times (exposure S, crashes r), then the candidate alone until its \
             clean exposure reaches S((1-c)^(-1/r) - 1) at c = {}, in seconds and in cycles, \
             or until it crashes; at most {} for each kernel",
            self.crashes,
            percent(self.confidence),
            seconds(self.max_exposure_s),
        )
    }

    /// What to do next, given the trials that ended. Deterministic: the same
    /// trials and seed give the same answer.
    pub fn next(
        &self,
        baseline: &[Trial],
        candidate: &[Trial],
        under_way: UnderWay,
    ) -> Result<Next, StatsError> {
        check_level(self.confidence)?;
        let base = Progress::of(baseline)?;
        let cand = Progress::of(candidate)?;
        if cand.unclean {
            return Ok(Next::Stop(Stop::CandidateUnclean));
        }
        let used_up = |progress: &Progress| progress.exposure_s >= self.max_exposure_s;
        if base.crashes < self.crashes && !used_up(&base) {
            // A candidate that had all it may get waits for the baseline.
            if used_up(&cand) {
                return Ok(Next::Baseline);
            }
            let started = |trials: &[Trial], more: u32| trials.len() as u64 + u64::from(more);
            return Ok(self.of_a_pair(
                started(baseline, under_way.baseline),
                started(candidate, under_way.candidate),
            ));
        }
        // What is under way can still change r and S, and so T.
        if under_way.baseline > 0 {
            return Ok(Next::Wait);
        }
        if base.crashes == 0 {
            return Ok(Next::Stop(Stop::NoPositiveControl));
        }
        if conclusion(baseline, candidate, self.confidence)? == Conclusion::FixConfirmed {
            // A crash of what is under way would still count.
            return Ok(if under_way.candidate > 0 {
                Next::Wait
            } else {
                Next::Stop(Stop::Confirmed)
            });
        }
        Ok(match (used_up(&cand), under_way.candidate) {
            (false, _) => Next::Candidate,
            (true, 0) => Next::Stop(Stop::OutOfExposure),
            (true, _) => Next::Wait,
        })
    }

    /// Keeps the two even, and tosses a coin for who begins each pair.
    fn of_a_pair(&self, baseline: u64, candidate: u64) -> Next {
        let even = baseline == candidate;
        if baseline < candidate || (even && self.baseline_begins(baseline)) {
            Next::Baseline
        } else {
            Next::Candidate
        }
    }

    fn baseline_begins(&self, pair: u64) -> bool {
        // Another stream than the trials' own seeds, or the coin would be tied
        // to what happens in the trial.
        let coin = u32::try_from(pair).unwrap_or(u32::MAX);
        crate::model::trial_seed(self.seed ^ 0x006f_7264_6572, coin) & 1 == 0
    }
}

struct Progress {
    crashes: u32,
    exposure_s: f64,
    unclean: bool,
}

impl Progress {
    fn of(trials: &[Trial]) -> Result<Self, StatsError> {
        let observed = observations(trials, Clock::Seconds, Event::TargetCrash)?;
        let crashes = observed.iter().filter(|o| o.is_event()).count() as u64;
        // Where the module cannot crash the kernel, near misses are the events.
        let (near_misses, _) = near_misses::total(trials);
        let mut counted = trials.iter().filter(|trial| counts(trial));
        Ok(Self {
            crashes: u32::try_from(crashes + near_misses).unwrap_or(u32::MAX),
            exposure_s: observed
                .iter()
                .map(crate::stats::Observation::exposure)
                .sum(),
            unclean: near_misses > 0 || counted.any(|trial| trial.outcome != Outcome::Survived),
        })
    }
}
