//! Near misses of two runs. One boot gives many where a crash gives one, but
//! they come in clusters when a machine is in step with the race. So boots are
//! counted, not near misses: those of the baseline that had one, against those
//! of the candidate that had none in as many cycles, by the same test as whole
//! trials that crash. The rates are compared besides, for their size.

use super::format::{p_value, percent, significant};
use super::trials::{boot_of, counts, total, watched_cycles};
use crate::model::{Conclusion, Interval, NearMissRecord, Trial};
use crate::stats::StatsError;
use crate::stats::{Rate, clean_trials_p, compare_rates, needed_clean_trials, needed_exposure};

/// The trials of one boot together.
struct Boot {
    near_misses: u64,
    cycles: u64,
}

fn boots<'a>(trials: impl Iterator<Item = &'a Trial>) -> Vec<Boot> {
    let mut boots: Vec<(_, Boot)> = Vec::new();
    for trial in trials.filter(|trial| counts(trial)) {
        let key = boot_of(trial);
        let at = boots.iter().position(|(known, _)| *known == key);
        let at = at.unwrap_or_else(|| {
            let none = Boot {
                near_misses: 0,
                cycles: 0,
            };
            boots.push((key, none));
            boots.len() - 1
        });
        let boot = &mut boots[at].1;
        boot.near_misses = boot
            .near_misses
            .saturating_add(trial.counters.lines.near_misses);
        boot.cycles = boot.cycles.saturating_add(watched_cycles(trial));
    }
    boots.into_iter().map(|(_, boot)| boot).collect()
}

/// Compares the near misses of two runs; none if neither had one and nobody
/// looked for them.
pub(super) fn near_misses<'a>(
    baseline: impl Iterator<Item = &'a Trial> + Clone,
    candidate: impl Iterator<Item = &'a Trial> + Clone,
    alpha: f64,
) -> Result<Option<NearMissRecord>, StatsError> {
    let (hits, cycles) = sums(&baseline);
    let (candidate_hits, candidate_cycles) = sums(&candidate);
    if hits == 0 && candidate_hits == 0 {
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
    let counted = Boots::of(baseline, candidate);
    let clean = candidate_hits == 0 && counted.hit > 0;
    Ok(Some(NearMissRecord {
        baseline: hits,
        baseline_cycles: cycles,
        candidate: candidate_hits,
        candidate_cycles,
        baseline_boots_hit: counted.hit,
        baseline_boots: counted.of,
        candidate_boots_clean: counted.clean,
        needed_boots: needed_clean_trials(alpha, counted.hit, counted.of)?,
        boots_p: clean.then(|| clean_trials_p(counted.hit, counted.of, counted.clean)),
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

/// Boots of both runs, counted.
pub(super) struct Boots {
    /// Of the baseline, with a near miss.
    pub(super) hit: u32,
    /// Of the baseline.
    pub(super) of: u32,
    /// Cycles of the longest of those with a near miss.
    pub(super) longest: u64,
    /// Of the candidate, without one in as many cycles.
    pub(super) clean: u32,
}

impl Boots {
    pub(super) fn of<'a>(
        baseline: impl Iterator<Item = &'a Trial>,
        candidate: impl Iterator<Item = &'a Trial>,
    ) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let base = boots(baseline);
        let hit = || base.iter().filter(|boot| boot.near_misses > 0);
        let longest = hit().map(|boot| boot.cycles).max().unwrap_or(0);
        let clean = |boot: &&Boot| boot.near_misses == 0 && boot.cycles >= longest;
        Self {
            hit: number(hit().count()),
            of: number(base.len()),
            longest,
            clean: number(boots(candidate).iter().filter(clean).count()),
        }
    }
}

/// Near misses and cycles of the trials that count.
pub(super) fn sums<'a>(trials: &(impl Iterator<Item = &'a Trial> + Clone)) -> (u64, u64) {
    let counted = || trials.clone().filter(|trial| counts(trial));
    (
        total(counted(), |trial| trial.counters.lines.near_misses),
        total(counted(), |trial| trial.cycles),
    )
}

/// What near misses alone say of a candidate.
pub(super) fn conclude(found: &NearMissRecord, confidence: f64) -> (Conclusion, String) {
    let of = |hits: u64, cycles: u64| format!("{hits} in {cycles} cycles");
    let baseline = format!(
        "the baseline had {}, in {} of {} boots",
        of(found.baseline, found.baseline_cycles),
        found.baseline_boots_hit,
        found.baseline_boots
    );
    if found.candidate > 0 {
        let candidate = of(found.candidate, found.candidate_cycles);
        let reason = format!("the candidate has near misses of the race: {candidate}; {baseline}");
        return (Conclusion::CandidateCrashed, reason);
    }
    let (cycles, clean) = (found.candidate_cycles, found.candidate_boots_clean);
    let seen = format!("no near miss in {cycles} cycles of {clean} boots");
    let missing = missing(found);
    if !missing.is_empty() {
        let sure = percent(confidence);
        let reason = format!(
            "{seen}; {baseline}; {sure} needs {} more",
            missing.join(" and ")
        );
        return (Conclusion::Inconclusive, reason);
    }
    match found.boots_p {
        None => {
            let reason = "no positive control: the baseline had no near miss".to_owned();
            (Conclusion::Inconclusive, reason)
        }
        Some(p) => {
            let p = p_value(p.max(found.p_value.unwrap_or(1.0)));
            (Conclusion::FixConfirmed, format!("{seen}; {baseline}: {p}"))
        }
    }
}

/// What a clean candidate still needs.
fn missing(found: &NearMissRecord) -> Vec<String> {
    let mut missing = Vec::new();
    if found.baseline_boots_hit == 0 {
        return missing;
    }
    match found.needed_boots {
        None => missing.push("a baseline with near misses in more of its boots, and no".to_owned()),
        Some(needed) => {
            let more = needed.saturating_sub(found.candidate_boots_clean);
            if more > 0 {
                let s = if more == 1 { "" } else { "s" };
                missing.push(format!(
                    "{more} clean boot{s} as long in cycles as the longest of the baseline"
                ));
            }
        }
    }
    let cycles = found.candidate_cycles as f64;
    if let Some(needed) = found.needed_cycles.filter(|needed| cycles < *needed) {
        let more = significant((needed - cycles).ceil(), 3);
        missing.push(format!("{more} cycles"));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counters, Outcome};

    fn run(boots: u32, near_misses: u64, cycles: u64) -> Vec<Trial> {
        let mut counters = Counters::default();
        counters.lines.near_misses = near_misses;
        (0..boots)
            .map(|index| Trial {
                exposure_s: 10.0,
                cycles,
                reads: 1000,
                counters: counters.clone(),
                wall_s: 10.0,
                ..Trial::new(index, 1, Outcome::Survived, "")
            })
            .collect()
    }

    fn conclusion(baseline: &[Trial], candidate: &[Trial]) -> (Conclusion, NearMissRecord) {
        let found = near_misses(baseline.iter(), candidate.iter(), 0.001);
        let found = found.unwrap().unwrap();
        (conclude(&found, 0.999).0, found)
    }

    /// One boot in step with the race has thousands of near misses; a boot of
    /// the candidate that is not has none, fixed or not.
    #[test]
    fn one_boot_of_the_candidate_shows_nothing_however_many_the_baseline_had() {
        let (one, found) = conclusion(&run(1, 3126, 10_835), &run(1, 0, 10_835));
        assert_eq!(one, Conclusion::Inconclusive);
        assert!(found.candidate_cycles as f64 >= found.needed_cycles.unwrap());
        assert_eq!(found.needed_boots, Some(1999));
    }

    #[test]
    fn ten_boots_against_seven_clean_ones_of_the_same_length_are_enough() {
        let baseline = run(10, 300, 1000);
        assert_eq!(
            conclusion(&baseline, &run(6, 0, 1000)).0,
            Conclusion::Inconclusive
        );
        assert_eq!(
            conclusion(&baseline, &run(70, 0, 999)).0,
            Conclusion::Inconclusive
        );
        let (enough, found) = conclusion(&baseline, &run(7, 0, 1000));
        assert_eq!(enough, Conclusion::FixConfirmed);
        assert!(found.boots_p.unwrap() <= 0.001);
    }

    #[test]
    fn rare_near_misses_need_the_cycles_of_the_formula_too() {
        // 10 in 10000: S(α^(−1/r) − 1) = 10000 (0.001^(−0.1) − 1) = 9952.6
        let (short, found) = conclusion(&run(10, 1, 1000), &run(9, 0, 1000));
        assert!((found.needed_cycles.unwrap() - 9_952.623_149_688_795).abs() < 1e-6);
        assert_eq!(short, Conclusion::Inconclusive);
        let (enough, _) = conclusion(&run(10, 1, 1000), &run(10, 0, 1000));
        assert_eq!(enough, Conclusion::FixConfirmed);
    }

    #[test]
    fn a_near_miss_of_the_candidate_is_the_race() {
        let (conclusion, found) = conclusion(&run(1, 10, 1000), &run(1, 1, 100_000));
        assert_eq!(conclusion, Conclusion::CandidateCrashed);
        assert!((found.rate_ratio.unwrap() - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn without_any_there_is_nothing_to_compare() {
        let clean = run(1, 0, 1000);
        assert_eq!(near_misses(clean.iter(), clean.iter(), 0.001), Ok(None));
    }
}
