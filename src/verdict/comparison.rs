//! Baseline against candidate: all the tests, and the one rule by which they
//! become a conclusion.
//!
//! The rule. A crash of the candidate in the same race ends it. Any other crash
//! or hang of the candidate leaves it open. A clean candidate is confirmed when
//! its exposure reaches the needed one in seconds and in cycles; in cycles too,
//! because a kernel on which loading is slow races little in a long time. When
//! the baseline's times do not fit an exponential on either clock, exposure
//! says nothing of that kind, and Fisher's test on whole trials decides.

use super::format::{p_value, percent, seconds, significant};
use super::near_misses;
use super::trials::{Clock, Event, counts, observations};
use crate::model::{
    Comparison, Conclusion, Evidence, ExponentialityRecord, FisherRecord, Interval, LogRankRecord,
    NearMissRecord, Outcome, Trial,
};
use crate::stats::exponentiality;
use crate::stats::fisher;
use crate::stats::log_rank;
use crate::stats::{Observation, StatsError, check_level};
use crate::stats::{Rate, compare_rates};
use crate::stats::{needed_exposure, p_value_clean, times_rarer};

/// Level at which the exponential is rejected. A false alarm costs some trials
/// more; a missed misfit would cost a wrong verdict.
const REJECTS_BELOW: f64 = 0.05;
/// More clean trials than anyone will run.
const MOST_TRIALS: u32 = 1 << 20;

/// Compares a candidate's trials with a baseline's at a confidence (0.999). The
/// seed is for the relabelling of the log-rank test.
pub fn compare(
    baseline: &[Trial],
    candidate: &[Trial],
    confidence: f64,
    seed: u64,
) -> Result<Comparison, StatsError> {
    let judge = Judge::new(baseline, candidate, confidence)?;
    let (conclusion, reason) = judge.conclude();
    let base = observations(baseline, Clock::Seconds, Event::TargetCrash)?;
    let cand = observations(candidate, Clock::Seconds, Event::TargetCrash)?;
    let log_rank = (!base.is_empty() && !cand.is_empty())
        .then(|| log_rank(&base, &cand, seed))
        .transpose()?
        .map(|test| LogRankRecord {
            chi2: test.chi2,
            p_value: test.p_value,
            permutation_p: test.permutation_p,
            permutations: test.permutations,
            exhaustive: test.exhaustive,
            seed,
        });
    Ok(Comparison {
        conclusion,
        reason,
        confidence,
        extrapolated: judge.extrapolated,
        seconds: judge.seconds,
        cycles: judge.cycles,
        fisher: judge.fisher,
        near_misses: judge.near_misses,
        log_rank,
    })
}

/// The conclusion alone, without the relabelling that no conclusion needs.
pub(super) fn conclusion(
    baseline: &[Trial],
    candidate: &[Trial],
    confidence: f64,
) -> Result<Conclusion, StatsError> {
    Ok(Judge::new(baseline, candidate, confidence)?.conclude().0)
}

/// Whether any time passed on this clock. Cycles do not where they could not be
/// counted, and then they are no evidence.
fn counted(baseline: &[Observation]) -> bool {
    baseline.iter().any(|o| o.time() > 0.0)
}

fn evidence(
    baseline: &[Observation],
    candidate: &[Observation],
    alpha: f64,
) -> Result<Evidence, StatsError> {
    let (base, cand) = (rate(baseline), rate(candidate));
    let (r, s, t) = (base.crashes, base.exposure, cand.exposure);
    let clean = r > 0 && cand.crashes == 0;
    let needed = (r > 0).then(|| needed_exposure(alpha, r, s)).transpose()?;
    let rates = (r > 0 && t > 0.0)
        .then(|| compare_rates(base, cand, 0.95))
        .transpose()?;
    let clean_p = clean.then(|| p_value_clean(t, r, s)).transpose()?;
    Ok(Evidence {
        baseline_crashes: r,
        baseline_exposure: s,
        candidate_crashes: cand.crashes,
        candidate_exposure: t,
        needed,
        missing: needed.map(|needed| (needed - t).max(0.0)),
        p_value: clean_p.or(rates.map(|rates| rates.p_more)),
        times_rarer: clean.then(|| times_rarer(alpha, t, r, s)).transpose()?,
        rate_ratio: rates.and_then(|rates| rates.ratio),
        rate_ratio_ci95: rates.map(|rates| Interval {
            low: rates.low,
            high: rates.high,
        }),
        exponentiality: exponentiality(baseline).map(|fit| ExponentialityRecord {
            shape: fit.shape,
            p_value: fit.p_value,
            rejected: fit.p_value < REJECTS_BELOW,
        }),
    })
}

fn rate(observations: &[Observation]) -> Rate {
    Rate {
        crashes: number(observations.iter().filter(|o| o.is_event()).count()),
        exposure: observations.iter().map(Observation::exposure).sum(),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A candidate's trial is clean only if it could have crashed: it ran as long,
/// in seconds and in cycles, as the baseline's slowest crash took.
fn fisher_record(
    (base_s, cand_s): (&[Observation], &[Observation]),
    (base_c, cand_c): (&[Observation], &[Observation]),
    alpha: f64,
) -> FisherRecord {
    let slowest = |observed: &[Observation]| {
        let crashed = observed.iter().filter(|o| o.is_event());
        crashed.map(Observation::time).fold(0.0, f64::max)
    };
    let (long_s, long_c) = (slowest(base_s), slowest(base_c));
    let trials = cand_s.iter().zip(cand_c);
    let (crashed, clean): (Vec<_>, Vec<_>) = trials.partition(|(s, _)| s.is_event());
    let clean = clean
        .iter()
        .filter(|(s, c)| s.time() >= long_s && c.time() >= long_c)
        .count();
    let base = (rate(base_s).crashes, number(base_s.len()));
    let cand = (number(crashed.len()), number(crashed.len() + clean));
    let p_with = |clean: u32| fisher(base, (0, clean)).p_more;
    let needed_trials = (base.0 > 0 && p_with(MOST_TRIALS) <= alpha).then(|| {
        let (mut low, mut high) = (0, MOST_TRIALS);
        while low < high {
            let middle = u32::midpoint(low, high);
            if p_with(middle) <= alpha {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    });
    FisherRecord {
        baseline_crashed: base.0,
        baseline_trials: base.1,
        candidate_crashed: cand.0,
        candidate_trials: cand.1,
        p_value: fisher(base, cand).p_more,
        needed_trials,
    }
}

struct Judge<'a> {
    candidate: &'a [Trial],
    confidence: f64,
    extrapolated: bool,
    seconds: Evidence,
    cycles: Option<Evidence>,
    fisher: FisherRecord,
    near_misses: Option<NearMissRecord>,
}

impl<'a> Judge<'a> {
    fn new(
        baseline: &[Trial],
        candidate: &'a [Trial],
        confidence: f64,
    ) -> Result<Self, StatsError> {
        let alpha = 1.0 - check_level(confidence)?;
        let of = |trials, clock| observations(trials, clock, Event::TargetCrash);
        let (base_s, cand_s) = (
            of(baseline, Clock::Seconds)?,
            of(candidate, Clock::Seconds)?,
        );
        let (base_c, cand_c) = (of(baseline, Clock::Cycles)?, of(candidate, Clock::Cycles)?);
        let seconds = evidence(&base_s, &cand_s, alpha)?;
        let cycles = counted(&base_c)
            .then(|| evidence(&base_c, &cand_c, alpha))
            .transpose()?;
        let rejected =
            |evidence: &Evidence| evidence.exponentiality.is_some_and(|fit| fit.rejected);
        Ok(Self {
            candidate,
            confidence,
            extrapolated: !rejected(&seconds) && !cycles.as_ref().is_some_and(rejected),
            fisher: fisher_record((&base_s, &cand_s), (&base_c, &cand_c), alpha),
            near_misses: near_misses::near_misses(baseline, candidate, alpha)?,
            seconds,
            cycles,
        })
    }

    fn conclude(&self) -> (Conclusion, String) {
        use Conclusion::{CandidateCrashed, FixConfirmed, Inconclusive};
        let of = &self.seconds;
        if of.candidate_crashes > 0 {
            let first = match of.baseline_crashes {
                0 => "the baseline never did".to_owned(),
                r => format!(
                    "the baseline {} in {}",
                    times(r),
                    seconds(of.baseline_exposure)
                ),
            };
            let reason = format!(
                "the candidate crashed in the same race {} in {}; {first}",
                times(of.candidate_crashes),
                seconds(of.candidate_exposure),
            );
            return (CandidateCrashed, reason);
        }
        if let Some(trial) = self.unclean() {
            return (Inconclusive, unclean_reason(trial));
        }
        if let Some(found) = self.near_misses.filter(|_| of.baseline_crashes == 0) {
            return near_misses::conclude(&found, self.confidence);
        }
        if of.baseline_crashes == 0 {
            let reason = format!(
                "no positive control: the baseline did not crash in {}",
                seconds(of.baseline_exposure)
            );
            return (Inconclusive, reason);
        }
        let missing = self.missing();
        let baseline = format!(
            "where the baseline crashed {} in {}",
            times(of.baseline_crashes),
            seconds(of.baseline_exposure)
        );
        if missing.is_empty() {
            let reason = format!(
                "no crash in {} ({}) {baseline}: {}",
                seconds(of.candidate_exposure),
                self.sufficient(),
                p_value(self.weakest_p()),
            );
            return (FixConfirmed, reason);
        }
        let reason = format!(
            "no crash in {} {baseline}; {} needs {} more",
            seconds(of.candidate_exposure),
            percent(self.confidence),
            missing.join(" and "),
        );
        (Inconclusive, reason)
    }

    /// A trial of the candidate that ended badly in a way that says nothing
    /// about the race.
    fn unclean(&self) -> Option<&Trial> {
        let bad = |trial: &&Trial| matches!(trial.outcome, Outcome::Crashed | Outcome::Hung);
        self.candidate.iter().filter(|t| counts(t)).find(bad)
    }

    fn clocks(&self) -> impl Iterator<Item = (&Evidence, Clock)> {
        let cycles = self.cycles.iter().map(|evidence| (evidence, Clock::Cycles));
        std::iter::once((&self.seconds, Clock::Seconds)).chain(cycles)
    }

    /// What the candidate still needs; empty when nothing.
    fn missing(&self) -> Vec<String> {
        if !self.extrapolated {
            let Some(needed) = self.fisher.needed_trials else {
                return vec!["a baseline that crashes in more of its trials, no".to_owned()];
            };
            let missing = needed.saturating_sub(self.fisher.candidate_trials);
            let text = format!(
                "{missing} clean {} (the times do not fit an exponential)",
                if missing == 1 { "trial" } else { "trials" }
            );
            return (missing > 0).then_some(text).into_iter().collect();
        }
        self.clocks()
            .filter_map(|(evidence, clock)| {
                let missing = evidence.missing.filter(|&missing| missing > 0.0)?;
                Some(match clock {
                    Clock::Seconds => format!("{} of exposure", seconds(missing)),
                    Clock::Cycles => format!("{} cycles", significant(missing.ceil(), 3)),
                })
            })
            .collect()
    }

    fn sufficient(&self) -> String {
        match (self.extrapolated, self.seconds.needed) {
            (true, Some(needed)) => format!("{} needed", seconds(needed)),
            _ => format!("{} clean trials, Fisher", self.fisher.candidate_trials),
        }
    }

    fn weakest_p(&self) -> f64 {
        if !self.extrapolated {
            return self.fisher.p_value;
        }
        let p_values = self.clocks().filter_map(|(evidence, _)| evidence.p_value);
        p_values.fold(0.0, f64::max)
    }
}

fn unclean_reason(trial: &Trial) -> String {
    let how = match (&trial.crash, trial.outcome) {
        (Some(crash), _) => format!("crashed in another way ({})", crash.title),
        (None, Outcome::Hung) => "hung".to_owned(),
        (None, _) => "crashed without a report that names the race".to_owned(),
    };
    format!(
        "trial {} of the candidate {how}: it is not clean, and nothing is shown about the race",
        trial.index
    )
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}
