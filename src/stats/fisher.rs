//! Fisher's exact test: crash counts of two kernels, no model of the times.

use super::special::ln_choose;

/// Probabilities that differ by less than this share are ties, as in R.
const TIE: f64 = 1e-7;

/// The exact test of a table of crashed and clean trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fisher {
    /// p value of "the first group crashes no more often than the second".
    pub p_more: f64,
    /// p value of "both crash equally often": all tables that are no likelier.
    pub p_two_sided: f64,
}

/// Tests `crashed` of `trials` in two groups (Fisher 1935; the two-sided p sums
/// the tables that are no likelier than the one seen, as R and scipy do).
/// Trials without any give p = 1.
pub fn fisher(first: (u32, u32), second: (u32, u32)) -> Fisher {
    let ((a, n), (c, m)) = (first, second);
    debug_assert!(a <= n && c <= m, "more crashes than trials");
    let (n, m) = (u64::from(n), u64::from(m));
    let crashed = u64::from(a) + u64::from(c);
    let seen = u64::from(a);
    // Hypergeometric: x of all that crashed fall into the first group.
    let lowest = crashed.saturating_sub(m);
    let highest = crashed.min(n);
    let ln_total = ln_choose((n + m) as f64, crashed as f64);
    let probability = |x: u64| {
        let ln = ln_choose(n as f64, x as f64) + ln_choose(m as f64, (crashed - x) as f64);
        (ln - ln_total).exp()
    };
    let limit = probability(seen) * (1.0 + TIE);
    let tables = lowest..=highest;
    let more: f64 = tables.clone().filter(|&x| x >= seen).map(probability).sum();
    let extreme: f64 = tables.map(probability).filter(|&p| p <= limit).sum();
    Fisher {
        p_more: more.min(1.0),
        p_two_sided: extreme.min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lady_tasting_tea() {
        let tea = fisher((3, 4), (1, 4));
        assert!((tea.p_more - 17.0 / 70.0).abs() < 1e-12);
        assert!((tea.p_two_sided - 34.0 / 70.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_seen_shows_nothing() {
        for empty in [
            fisher((0, 0), (0, 0)),
            fisher((5, 5), (0, 0)),
            fisher((0, 9), (0, 9)),
        ] {
            assert!((empty.p_more - 1.0).abs() < 1e-12);
            assert!((empty.p_two_sided - 1.0).abs() < 1e-12);
        }
    }
}
