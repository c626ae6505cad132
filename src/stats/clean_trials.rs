//! What clean trials show against a baseline of which some crashed, with no
//! model of the times at all.
//!
//! Of n trials of the baseline r crashed, the slowest after L; m trials of the
//! candidate went on beyond L without a crash. Were the candidate no better, all
//! n + m times would be exchangeable, and that the r shortest of them all are
//! the baseline's would have the probability C(n,r)/C(n+m,r), whatever their
//! distribution: p of Fisher's exact test. A baseline of which some trials never
//! crash is no exception.
//!
//! That holds for numbers fixed beforehand. Who adds trials until enough crashed
//! and then until enough were clean has to pay for it. With q the chance that a
//! trial crashes at all, one sequence of r crashes in n trials, followed by m
//! clean ones, has at most the probability 1/C(n+m,r) for every q. Of a baseline
//! whose q is uniform the sequence has 1/((n+1) C(n,r)). The ratio of the two
//! is a nonnegative supermartingale under "no better", so by Ville's inequality
//! it ever reaches 1/α with probability α at most, however the runs were ended:
//! p = (n+1) C(n,r)/C(n+m,r). (Ville 1939; Robbins 1970, "Statistical methods
//! related to the law of the iterated logarithm".)

use super::observation::{StatsError, check_level};
use super::special::ln_choose;

/// Levels that differ by less than this share are the same.
const TIE: f64 = 1e-9;
/// More clean trials than anyone will run.
const MOST_TRIALS: u32 = 1 << 20;

/// The p value of "the candidate crashes as often" after `clean` trials of it,
/// against `crashed` of the baseline's `trials`. Holds however the runs were
/// ended.
pub fn clean_trials_p(crashed: u32, trials: u32, clean: u32) -> f64 {
    debug_assert!(crashed <= trials, "more crashes than trials");
    let (r, n, m) = (f64::from(crashed), f64::from(trials), f64::from(clean));
    let ln_fisher = ln_choose(n, r) - ln_choose(n + m, r);
    ((n + 1.0).ln() + ln_fisher).exp().min(1.0)
}

/// Clean trials at which that p value reaches `alpha`. None when no number that
/// anyone would run does, and without a crash.
pub fn needed_clean_trials(
    alpha: f64,
    crashed: u32,
    trials: u32,
) -> Result<Option<u32>, StatsError> {
    check_level(alpha)?;
    // 1 − 0.999 is not quite 0.001.
    let alpha = alpha * (1.0 + TIE);
    if crashed == 0 || clean_trials_p(crashed, trials, MOST_TRIALS) > alpha {
        return Ok(None);
    }
    let (mut low, mut high) = (0, MOST_TRIALS);
    while low < high {
        let middle = u32::midpoint(low, high);
        if clean_trials_p(crashed, trials, middle) <= alpha {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(Some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fishers_p_times_one_more_than_the_baselines_trials() {
        for (r, n, m) in [(10, 10, 7), (3, 5, 12), (1, 1, 40)] {
            let fisher = super::super::fisher((r, n), (0, m)).p_more;
            let expected = (f64::from(n) + 1.0) * fisher;
            assert!((clean_trials_p(r, n, m) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn needed_trials_by_hand() {
        // (10+1)/C(10+m,10) <= 0.001 first at C(17,10) = 19448.
        assert_eq!(needed_clean_trials(0.001, 10, 10), Ok(Some(7)));
        // 2/(1+m) <= 0.001
        assert_eq!(needed_clean_trials(0.001, 1, 1), Ok(Some(1999)));
        assert_eq!(needed_clean_trials(0.001, 0, 9), Ok(None));
        // One crash in 3000 trials: more clean ones than anyone will run.
        assert_eq!(needed_clean_trials(0.001, 1, 3000), Ok(None));
    }

    #[test]
    fn nothing_clean_shows_nothing() {
        assert!((clean_trials_p(5, 5, 0) - 1.0).abs() < 1e-12);
        assert!((clean_trials_p(0, 5, 100) - 1.0).abs() < 1e-12);
    }
}
