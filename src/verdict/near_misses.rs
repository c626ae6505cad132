//! Near misses of two runs, compared as two Poisson rates over load/unload
//! cycles. One boot gives many where a crash gives one; but they come in
//! clusters when a machine is in step with the race, so they are evidence
//! beside crashes and decide only where nothing could crash.

use super::format::{p_value, percent, significant};
use super::trials::counts;
use crate::model::{Conclusion, Interval, NearMissRecord, Trial};
use crate::stats::StatsError;
use crate::stats::needed_exposure;
use crate::stats::{Rate, compare_rates};

/// Compares the near misses of two runs; none if neither had one and nobody
/// looked for them.
pub(super) fn near_misses(
    baseline: &[Trial],
    candidate: &[Trial],
    alpha: f64,
) -> Result<Option<NearMissRecord>, StatsError> {
    let (hits, cycles) = total(baseline);
    let (candidate_hits, candidate_cycles) = total(candidate);
    if hits + candidate_hits == 0 {
        return Ok(None);
    }
    let rate = |hits: u64, cycles: u64| Rate {
        crashes: u32::try_from(hits).unwrap_or(u32::MAX),
        exposure: cycles as f64,
    };
    let (first, second) = (rate(hits, cycles), rate(candidate_hits, candidate_cycles));
    let compared = (cycles > 0 && candidate_cycles > 0)
        .then(|| compare_rates(first, second, 0.95))
        .transpose()?;
    Ok(Some(NearMissRecord {
        baseline: hits,
        baseline_cycles: cycles,
        candidate: candidate_hits,
        candidate_cycles,
        needed_cycles: (hits > 0 && cycles > 0)
            .then(|| needed_exposure(alpha, first.crashes, first.exposure))
            .transpose()?,
        p_value: compared.map(|compared| compared.p_more),
        rate_ratio: compared.and_then(|compared| compared.ratio),
        rate_ratio_ci95: compared.map(|compared| Interval {
            low: compared.low,
            high: compared.high,
        }),
    }))
}

/// Near misses and cycles of the trials that count.
pub(super) fn total(trials: &[Trial]) -> (u64, u64) {
    let counted = || trials.iter().filter(|trial| counts(trial));
    (
        counted()
            .map(|trial| trial.counters.lines.near_misses)
            .sum(),
        counted().map(|trial| trial.cycles).sum(),
    )
}

/// What near misses alone say of a candidate.
pub(super) fn conclude(found: &NearMissRecord, confidence: f64) -> (Conclusion, String) {
    let of = |hits: u64, cycles: u64| format!("{hits} in {cycles} cycles");
    let baseline = of(found.baseline, found.baseline_cycles);
    if found.candidate > 0 {
        let candidate = of(found.candidate, found.candidate_cycles);
        let reason = format!(
            "the candidate has near misses of the race: {candidate}; the baseline: {baseline}"
        );
        return (Conclusion::CandidateCrashed, reason);
    }
    let cycles = found.candidate_cycles;
    match found.needed_cycles {
        Some(needed) if cycles as f64 >= needed => {
            let p = p_value(found.p_value.unwrap_or(1.0));
            let reason =
                format!("no near miss in {cycles} cycles; the baseline had {baseline}: {p}");
            (Conclusion::FixConfirmed, reason)
        }
        Some(needed) => {
            let missing = significant((needed - cycles as f64).ceil(), 3);
            let sure = percent(confidence);
            let reason = format!(
                "no near miss in {cycles} cycles; the baseline had {baseline}; {sure} needs {missing} \
                 cycles more"
            );
            (Conclusion::Inconclusive, reason)
        }
        None => {
            let reason = "no positive control: the baseline had no near miss".to_owned();
            (Conclusion::Inconclusive, reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counters, Outcome};

    fn run(near_misses: u64, cycles: u64) -> Vec<Trial> {
        let mut counters = Counters::default();
        counters.lines.near_misses = near_misses;
        vec![Trial {
            exposure_s: 10.0,
            cycles,
            reads: 1000,
            counters,
            wall_s: 10.0,
            ..Trial::new(0, 1, Outcome::Survived, "")
        }]
    }

    fn conclusion(baseline: &[Trial], candidate: &[Trial]) -> (Conclusion, NearMissRecord) {
        let found = near_misses(baseline, candidate, 0.001).unwrap().unwrap();
        (conclude(&found, 0.999).0, found)
    }

    #[test]
    fn a_clean_candidate_needs_the_cycles_of_the_formula() {
        // 10 in 1000: S(α^(−1/r) − 1) = 1000 (0.001^(−0.1) − 1) = 995.26
        let (short, found) = conclusion(&run(10, 1000), &run(0, 995));
        assert!((found.needed_cycles.unwrap() - 995.262_314_968_879_5).abs() < 1e-6);
        assert_eq!(short, Conclusion::Inconclusive);
        let (enough, found) = conclusion(&run(10, 1000), &run(0, 996));
        assert_eq!(enough, Conclusion::FixConfirmed);
        assert!(found.p_value.unwrap() <= 0.001);
    }

    #[test]
    fn a_near_miss_of_the_candidate_is_the_race() {
        let (conclusion, found) = conclusion(&run(10, 1000), &run(1, 100_000));
        assert_eq!(conclusion, Conclusion::CandidateCrashed);
        assert!((found.rate_ratio.unwrap() - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn without_any_there_is_nothing_to_compare() {
        assert_eq!(near_misses(&run(0, 1000), &run(0, 1000), 0.001), Ok(None));
    }
}
