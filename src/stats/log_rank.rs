//! The log-rank test of two survival curves, with a permutation p value for
//! the few trials that a run has.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::observation::{Observation, StatsError};
use super::special::chi2_upper;

/// Random relabellings when there are too many to try all. The smallest p they
/// can give is 1/20000, well below the 0.1 % that a verdict asks for.
const RELABELLINGS: u32 = 19_999;
/// Up to this many, all relabellings are tried, and the p value is exact.
const EXHAUSTIVE: f64 = 20_000.0;
/// Statistics that differ by less than this share are ties.
const TIE: f64 = 1e-9;

/// The test's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogRank {
    /// Crashes seen in the first group.
    pub observed: f64,
    /// Crashes expected there were the curves equal.
    pub expected: f64,
    /// Hypergeometric variance of the difference.
    pub variance: f64,
    /// (O − E)²/V.
    pub chi2: f64,
    /// From χ² with one degree of freedom; good for many crashes.
    pub p_value: f64,
    /// From relabelling the trials; good for few.
    pub permutation_p: f64,
    /// Relabellings that it rests on.
    pub permutations: u32,
    /// Whether those were all that there are.
    pub exhaustive: bool,
}

/// Compares two groups (Mantel 1966; Peto & Peto 1972). Ties by the
/// hypergeometric variance, left truncation by the risk sets.
///
/// The permutation p is exact where censoring is alike in both groups, as with
/// equal time limits. Sampled, it is (1 + those as extreme)/(1 + all) (Phipson
/// & Smyth 2010), which is never 0; equal seeds give equal values.
pub fn log_rank(
    first: &[Observation],
    second: &[Observation],
    seed: u64,
) -> Result<LogRank, StatsError> {
    if first.is_empty() || second.is_empty() {
        return Err(StatsError::EmptyGroup);
    }
    let pooled = Pooled::new(first, second);
    let mut labels = vec![true; first.len()];
    labels.resize(pooled.len(), false);
    let actual = pooled.statistic(&labels);
    let limit = actual.chi2() * (1.0 - TIE);
    let extreme = |labels: &[bool]| pooled.statistic(labels).chi2() >= limit;
    let all = relabellings(pooled.len(), first.len());
    let (permutation_p, permutations) = if let Some(total) = all {
        let hits = each_choice(pooled.len(), first.len(), extreme);
        (f64::from(hits) / f64::from(total), total)
    } else {
        let hits = sampled(&mut labels, seed, extreme);
        let p = f64::from(1 + hits) / f64::from(1 + RELABELLINGS);
        (p, RELABELLINGS)
    };
    Ok(LogRank {
        observed: actual.observed,
        expected: actual.expected,
        variance: actual.variance,
        chi2: actual.chi2(),
        p_value: chi2_upper(actual.chi2(), 1.0),
        permutation_p,
        permutations,
        exhaustive: all.is_some(),
    })
}

struct Statistic {
    observed: f64,
    expected: f64,
    variance: f64,
}

impl Statistic {
    /// 0 when no crash could have gone to either group.
    fn chi2(&self) -> f64 {
        if self.variance > 0.0 {
            (self.observed - self.expected).powi(2) / self.variance
        } else {
            0.0
        }
    }
}

/// Both groups in order of time, so that one sweep gives every risk set.
struct Pooled {
    observations: Vec<Observation>,
    by_entry: Vec<usize>,
    by_time: Vec<usize>,
}

impl Pooled {
    fn new(first: &[Observation], second: &[Observation]) -> Self {
        let observations: Vec<Observation> = first.iter().chain(second).copied().collect();
        let sorted = |key: fn(&Observation) -> f64| {
            let mut order: Vec<usize> = (0..observations.len()).collect();
            order.sort_by(|&a, &b| key(&observations[a]).total_cmp(&key(&observations[b])));
            order
        };
        Self {
            by_entry: sorted(Observation::entry),
            by_time: sorted(Observation::time),
            observations,
        }
    }

    fn len(&self) -> usize {
        self.observations.len()
    }

    fn statistic(&self, in_first: &[bool]) -> Statistic {
        let mut sum = Statistic {
            observed: 0.0,
            expected: 0.0,
            variance: 0.0,
        };
        let (mut at_risk, mut at_risk_first) = (0.0, 0.0);
        let mut entries = self.by_entry.iter().peekable();
        let mut from = 0;
        while from < self.by_time.len() {
            let time = self.observations[self.by_time[from]].time();
            let here = self.by_time[from..]
                .iter()
                .take_while(|&&i| self.observations[i].time() <= time)
                .count();
            let entered = |i: &&usize| {
                let entry = self.observations[**i].entry();
                entry < time || entry <= 0.0
            };
            while let Some(&i) = entries.next_if(entered) {
                at_risk += 1.0;
                at_risk_first += f64::from(u8::from(in_first[i]));
            }
            let ending = &self.by_time[from..from + here];
            let crashed = ending.iter().filter(|&&i| self.observations[i].is_event());
            let (mut d, mut d_first) = (0.0, 0.0);
            for &i in crashed {
                d += 1.0;
                d_first += f64::from(u8::from(in_first[i]));
            }
            if d > 0.0 {
                let share = at_risk_first / at_risk;
                sum.observed += d_first;
                sum.expected += d * share;
                if at_risk > 1.0 {
                    sum.variance += d * share * (1.0 - share) * (at_risk - d) / (at_risk - 1.0);
                }
            }
            for &i in ending {
                at_risk -= 1.0;
                at_risk_first -= f64::from(u8::from(in_first[i]));
            }
            from += here;
        }
        sum
    }
}

/// How many ways there are to choose `k` of `n`, if few enough to try all.
fn relabellings(n: usize, k: usize) -> Option<u32> {
    let mut ways = 1.0;
    for i in 0..k.min(n - k) {
        ways = ways * (n - i) as f64 / (i + 1) as f64;
        if ways > EXHAUSTIVE {
            return None;
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number up to EXHAUSTIVE"
    )]
    Some(ways.round() as u32)
}

/// Counts the choices of `k` of `n` labels for which `extreme` holds.
fn each_choice(n: usize, k: usize, extreme: impl Fn(&[bool]) -> bool) -> u32 {
    let mut chosen: Vec<usize> = (0..k).collect();
    let mut hits = 0;
    loop {
        let mut labels = vec![false; n];
        for &i in &chosen {
            labels[i] = true;
        }
        hits += u32::from(extreme(&labels));
        // The next combination in lexicographic order.
        let Some(at) = (0..k).rev().find(|&i| chosen[i] < n - k + i) else {
            return hits;
        };
        chosen[at] += 1;
        for i in at + 1..k {
            chosen[i] = chosen[i - 1] + 1;
        }
    }
}

/// Counts the random relabellings for which `extreme` holds. Shuffled by hand
/// (Fisher–Yates): a library's shuffle may change from version to version, and
/// a report's p value must be the same when it is recomputed years later.
fn sampled(labels: &mut [bool], seed: u64, extreme: impl Fn(&[bool]) -> bool) -> u32 {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut hits = 0;
    for _ in 0..RELABELLINGS {
        for last in (1..labels.len()).rev() {
            // The bias of the remainder is below n/2^64.
            let pick = random.next_u64() % (last as u64 + 1);
            labels.swap(last, usize::try_from(pick).unwrap_or(last));
        }
        hits += u32::from(extreme(labels));
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(times: &[(f64, bool)]) -> Vec<Observation> {
        times
            .iter()
            .map(|&(time, event)| Observation::new(0.0, time, event).unwrap())
            .collect()
    }

    #[test]
    fn three_crashes_against_three_clean_trials_are_two_labellings_of_twenty() {
        let crashed = group(&[(1.0, true), (2.0, true), (3.0, true)]);
        let clean = group(&[(9.0, false); 3]);
        let test = log_rank(&crashed, &clean, 1).unwrap();
        assert!(test.exhaustive);
        assert_eq!(test.permutations, 20);
        assert!((test.permutation_p - 2.0 / 20.0).abs() < 1e-12);
    }

    #[test]
    fn equal_seeds_give_equal_p_and_equal_groups_no_difference() {
        let times: Vec<_> = (1..=20).map(|i| (f64::from(i), true)).collect();
        let one = log_rank(&group(&times), &group(&times), 5).unwrap();
        assert!(!one.exhaustive);
        assert_eq!(one, log_rank(&group(&times), &group(&times), 5).unwrap());
        assert!(one.permutation_p > 0.99 && one.p_value > 0.99);
    }

    #[test]
    fn without_a_crash_nothing_differs() {
        let clean = group(&[(9.0, false); 3]);
        let test = log_rank(&clean, &clean, 1).unwrap();
        assert!((test.permutation_p - 1.0).abs() < 1e-12);
        assert_eq!(log_rank(&[], &clean, 1), Err(StatsError::EmptyGroup));
    }
}
