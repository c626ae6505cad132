//! The judge of a comparison: what the candidate has, what it needs, and the
//! conclusion that follows.

use super::times::{Times, rate};
use super::{Question, number, reason};
use crate::model::{Conclusion, NearMissRecord, Outcome, Trial};
use crate::stats::{StatsError, check_level, clean_trials_p, needed_clean_trials};
use crate::verdict::format::{p_value, percent, seconds};
use crate::verdict::near_misses;
use crate::verdict::trials::{Clock, Event, counts, observations};
use crate::verdict::visits::Visits;

/// Share of broken trials on one side from which nothing is concluded: what
/// broke them may be what the race is about.
const MANY_BROKEN: f64 = 0.2;

/// What a clean candidate has, and what it needs.
#[derive(Clone, Copy, Debug)]
pub(in crate::verdict) struct Gap {
    /// Clean trials that are long enough.
    pub(in crate::verdict) trials: u32,
    /// Such trials that are needed; None when no number would do.
    pub(in crate::verdict) needed_trials: Option<u32>,
    /// How long one has to be, seconds.
    pub(in crate::verdict) long_s: f64,
    /// How long one has to be, cycles.
    pub(in crate::verdict) long_cycles: f64,
    /// Exposure that is missing, seconds.
    pub(in crate::verdict) missing_s: f64,
    /// Exposure that is missing, cycles.
    pub(in crate::verdict) missing_cycles: f64,
}

impl Gap {
    /// Whether nothing is missing.
    pub(in crate::verdict) fn is_closed(&self) -> bool {
        self.needed_trials
            .is_some_and(|needed| self.trials >= needed)
            && self.missing_s <= 0.0
            && self.missing_cycles <= 0.0
    }
}

pub(in crate::verdict) struct Judge<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) alpha: f64,
    pub(super) visits: Visits,
    pub(super) seconds: Times,
    pub(super) cycles: Times,
}

impl<'a> Judge<'a> {
    pub(in crate::verdict) fn new(question: &'a Question<'a>) -> Result<Self, StatsError> {
        let alpha = 1.0 - check_level(question.confidence)?;
        let visits = Visits::of(question.settings, question.candidate);
        let credited = || {
            let counted = question.candidate.iter().filter(|trial| counts(trial));
            counted.filter(|trial| visits.counts(trial))
        };
        let of = |clock| {
            Ok(Times {
                baseline: observations(question.baseline, clock, Event::TargetCrash)?,
                candidate: observations(credited(), clock, Event::TargetCrash)?,
            })
        };
        Ok(Self {
            question,
            alpha,
            visits,
            seconds: of(Clock::Seconds)?,
            cycles: of(Clock::Cycles)?,
        })
    }

    /// Whether any time passed on the clock of cycles. Where they could not be
    /// counted, they are no evidence.
    pub(super) fn cycles_counted(&self) -> bool {
        self.cycles.baseline.iter().any(|o| o.time() > 0.0)
    }

    fn clocks(&self) -> impl Iterator<Item = (&Times, Clock)> {
        let cycles = Some((&self.cycles, Clock::Cycles)).filter(|_| self.cycles_counted());
        std::iter::once((&self.seconds, Clock::Seconds)).chain(cycles)
    }

    pub(super) fn extrapolated(&self) -> bool {
        !self.clocks().any(|(times, _)| times.rejected())
    }

    /// Crashed trials of the baseline and all its trials, as whole trials count.
    pub(super) fn baseline_trials(&self) -> (u32, u32) {
        let base = rate(&self.seconds.baseline);
        (base.crashes, number(self.seconds.baseline.len()))
    }

    /// The candidate's trials that crashed, and those that were clean for as
    /// long, on both clocks, as the baseline's slowest crash took.
    pub(super) fn candidate_trials(&self) -> (u32, u32) {
        let (long_s, long_c) = (self.seconds.slowest(), self.cycles.slowest());
        let trials = self.seconds.candidate.iter().zip(&self.cycles.candidate);
        let (mut crashed, mut clean) = (0, 0);
        for (s, c) in trials {
            if s.is_event() {
                crashed += 1;
            } else if s.time() >= long_s && c.time() >= long_c {
                clean += 1;
            }
        }
        (crashed, clean)
    }

    /// What a candidate without a crash has and needs. The exponential is only
    /// tested where whole trials are enough: it takes longest.
    pub(in crate::verdict) fn gap(&self) -> Result<Gap, StatsError> {
        let (crashed, of) = self.baseline_trials();
        let (_, trials) = self.candidate_trials();
        let needed_trials = needed_clean_trials(self.alpha, crashed, of)?;
        let mut gap = Gap {
            trials,
            needed_trials,
            long_s: self.seconds.slowest(),
            long_cycles: self.cycles.slowest(),
            missing_s: 0.0,
            missing_cycles: 0.0,
        };
        if crashed == 0 {
            return Ok(gap);
        }
        gap.missing_s = self.seconds.missing(self.alpha)?;
        if self.cycles_counted() {
            gap.missing_cycles = self.cycles.missing(self.alpha)?;
        }
        let open = gap.missing_s > 0.0 || gap.missing_cycles > 0.0;
        if open && !self.extrapolated() {
            (gap.missing_s, gap.missing_cycles) = (0.0, 0.0);
        }
        Ok(gap)
    }

    pub(super) fn conclude(
        &self,
        near_misses: Option<&NearMissRecord>,
    ) -> Result<(Conclusion, String), StatsError> {
        use Conclusion::{CandidateCrashed, FixConfirmed, Inconclusive};
        let (base, cand) = self.seconds.rates();
        let baseline = format!(
            "the baseline crashed {} in {}",
            reason::times(base.crashes),
            seconds(base.exposure)
        );
        if cand.crashes > 0 {
            let first = match base.crashes {
                0 => "the baseline never did",
                _ => &baseline,
            };
            let reason = format!(
                "the candidate crashed in the same race {} in {}; {first}",
                reason::times(cand.crashes),
                seconds(cand.exposure),
            );
            return Ok((CandidateCrashed, reason));
        }
        if let Some(trial) = self.unclean() {
            return Ok((Inconclusive, reason::unclean(trial)));
        }
        if let Some(reason) = self.many_broken() {
            return Ok((Inconclusive, reason));
        }
        if let Some(found) = near_misses.filter(|_| base.crashes == 0) {
            return Ok(near_misses::conclude(found, self.question.confidence));
        }
        if base.crashes == 0 {
            let reason = format!(
                "no positive control: the baseline did not crash in {}",
                seconds(base.exposure)
            );
            return Ok((Inconclusive, reason));
        }
        let gap = self.gap()?;
        let clean = format!(
            "no crash in {} of {} long enough",
            seconds(cand.exposure),
            reason::counted(gap.trials, "trial")
        );
        if gap.is_closed() {
            let p = p_value(self.weakest_p(&gap)?);
            return Ok((FixConfirmed, format!("{clean}, where {baseline}: {p}")));
        }
        let reason = format!(
            "{clean}, where {baseline}; {} needs {} more",
            percent(self.question.confidence),
            reason::missing(&gap).join(" and "),
        );
        Ok((Inconclusive, reason))
    }

    /// The conclusion without the records, for whoever asks after each trial.
    pub(in crate::verdict) fn is_confirmed(&self) -> Result<bool, StatsError> {
        if self.unclean().is_some() || self.many_broken().is_some() {
            return Ok(false);
        }
        if rate(&self.seconds.baseline).crashes > 0 {
            let crashed = rate(&self.seconds.candidate).crashes > 0;
            return Ok(!crashed && self.gap()?.is_closed());
        }
        let conclusion = self.conclude(self.near_misses()?.as_ref())?.0;
        Ok(conclusion == Conclusion::FixConfirmed)
    }

    /// A trial of the candidate that ended badly in a way that says nothing
    /// about the race.
    pub(super) fn unclean(&self) -> Option<&Trial> {
        let bad = |trial: &&Trial| {
            let outcome = trial.outcome;
            matches!(outcome, Outcome::Crashed | Outcome::Hung | Outcome::Died)
        };
        self.question.candidate.iter().find(bad)
    }

    fn many_broken(&self) -> Option<String> {
        let sides = [
            ("baseline", self.question.baseline),
            ("candidate", self.question.candidate),
        ];
        sides.into_iter().find_map(|(name, trials)| {
            let broken = trials.iter().filter(|t| t.outcome == Outcome::Broken);
            let broken = broken.count();
            (broken as f64 > MANY_BROKEN * trials.len() as f64).then(|| {
                format!(
                    "{broken} of {} of the {name} broke: too many to compare the rest",
                    reason::counted(number(trials.len()), "trial")
                )
            })
        })
    }

    fn weakest_p(&self, gap: &Gap) -> Result<f64, StatsError> {
        let (crashed, of) = self.baseline_trials();
        let mut weakest = clean_trials_p(crashed, of, gap.trials);
        if self.extrapolated() {
            for (times, _) in self.clocks() {
                weakest = weakest.max(times.clean_p()?);
            }
        }
        Ok(weakest)
    }
}
