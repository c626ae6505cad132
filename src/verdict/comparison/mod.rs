//! Baseline against candidate: all the tests, and the one rule by which they
//! become a conclusion.
//!
//! The rule. A crash of the candidate in the same race ends it. Any other crash
//! or hang of the candidate leaves it open, and so do many broken trials on
//! either side. A clean candidate is confirmed when two things hold:
//!
//! - **Whole trials.** So many of its trials were clean for as long, in seconds
//!   and in cycles, as the baseline's slowest crash took, that the level is
//!   reached whatever the distribution of the times (`stats::clean_trials_p`).
//!   This is what holds the level.
//! - **Exposure.** Its time reaches S(α^(−1/r) − 1) in seconds and in cycles; in
//!   cycles too, because a kernel on which loading is slow races little in a
//!   long time. Where the baseline's times do not fit an exponential on either
//!   clock, exposure says nothing of that kind, and whole trials alone decide.

mod judge;
mod reason;
mod times;

use super::near_misses;
use crate::model::{
    Comparison, Detectable, FisherRecord, LogRankRecord, NearMissRecord, Settings, Trial,
};
use crate::stats::{
    StatsError, clean_trials_p, fisher, log_rank, needed_clean_trials, times_rarer,
};
pub(super) use judge::{Gap, Judge};
use times::evidence;

/// Probabilities for which the rarest bug that would have been found is told.
const DETECTED_WITH: [f64; 3] = [0.5, 0.9, 0.99];

/// Two runs to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The settings that both share.
    pub settings: &'a Settings,
    /// The trials of the kernel without the fix.
    pub baseline: &'a [Trial],
    /// The trials of the kernel with it.
    pub candidate: &'a [Trial],
    /// How sure to be (0.999).
    pub confidence: f64,
    /// Seed for the relabelling of the log-rank test; None leaves the test out.
    /// No conclusion needs it, and it takes its time.
    pub log_rank_seed: Option<u64>,
}

/// Compares a candidate's trials with a baseline's.
pub fn compare(question: &Question<'_>) -> Result<Comparison, StatsError> {
    let judge = Judge::new(question)?;
    let seconds = evidence(&judge.seconds, judge.alpha)?;
    let cycles = judge
        .cycles_counted()
        .then(|| evidence(&judge.cycles, judge.alpha))
        .transpose()?;
    let near_misses = judge.near_misses()?;
    let (conclusion, reason) = judge.conclude(near_misses.as_ref())?;
    Ok(Comparison {
        conclusion,
        reason,
        confidence: question.confidence,
        extrapolated: judge.extrapolated(),
        seconds,
        cycles,
        fisher: judge.fisher()?,
        near_misses,
        log_rank: judge.log_rank()?,
        detectable: judge.detectable()?,
    })
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The records that a report keeps.
impl Judge<'_> {
    fn fisher(&self) -> Result<FisherRecord, StatsError> {
        let base = self.baseline_trials();
        let (crashed, clean) = self.candidate_trials();
        let is_clean = crashed == 0 && base.0 > 0;
        Ok(FisherRecord {
            baseline_crashed: base.0,
            baseline_trials: base.1,
            candidate_crashed: crashed,
            candidate_trials: crashed + clean,
            p_value: fisher(base, (crashed, crashed + clean)).p_more,
            sequential_p: is_clean.then(|| clean_trials_p(base.0, base.1, clean)),
            needed_trials: needed_clean_trials(self.alpha, base.0, base.1)?,
        })
    }

    fn near_misses(&self) -> Result<Option<NearMissRecord>, StatsError> {
        let candidate = self.question.candidate.iter();
        near_misses::near_misses(
            self.question.baseline.iter(),
            candidate.filter(|trial| self.visits.counts(trial)),
            self.alpha,
        )
    }

    fn log_rank(&self) -> Result<Option<LogRankRecord>, StatsError> {
        let (base, cand) = (&self.seconds.baseline, &self.seconds.candidate);
        let Some(seed) = self.question.log_rank_seed else {
            return Ok(None);
        };
        if base.is_empty() || cand.is_empty() {
            return Ok(None);
        }
        let test = log_rank(base, cand, seed)?;
        Ok(Some(LogRankRecord {
            chi2: test.chi2,
            p_value: test.p_value,
            permutation_p: test.permutation_p,
            permutations: test.permutations,
            exhaustive: test.exhaustive,
            seed,
        }))
    }

    /// Of a bug that is the baseline's once in N unloads, and harmless otherwise,
    /// the rate is the baseline's over N: it stays hidden with the p value of a
    /// candidate whose exposure is N times shorter.
    fn detectable(&self) -> Result<Vec<Detectable>, StatsError> {
        let (base, cand) = self.cycles.rates();
        if base.crashes == 0 || cand.crashes > 0 || cand.exposure <= 0.0 || self.unclean().is_some()
        {
            return Ok(Vec::new());
        }
        DETECTED_WITH
            .into_iter()
            .map(|probability| {
                let missed = 1.0 - probability;
                let once_in = times_rarer(missed, cand.exposure, base.crashes, base.exposure)?;
                Ok(Detectable {
                    probability,
                    once_in,
                })
            })
            .collect()
    }
}
