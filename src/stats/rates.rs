//! Two crash rates compared by the exact conditional test.

use super::observation::{StatsError, check_level};
use super::special::{beta_lower, beta_quantile, ln_choose, normal_quantile, normal_upper};

/// Events above which the exact distribution gives way to its normal limit: the
/// relative error is below 1 % there, and the exact sums take their time.
const MANY: u32 = 10_000;

/// Probabilities that differ by less than this share are ties, as in R.
const TIE: f64 = 1e-7;

/// A crash rate's data: how many, in which exposure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Crashes.
    pub crashes: u32,
    /// Total exposure; both rates in one unit.
    pub exposure: f64,
}

/// The comparison of two rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateComparison {
    /// First rate over second. None when the second has no crash.
    pub ratio: Option<f64>,
    /// Lower limit of the ratio.
    pub low: f64,
    /// Upper limit. None when unbounded.
    pub high: Option<f64>,
    /// p value of "the first rate is not above the second". With no crash in
    /// the second it is (1 + T/S)^−r.
    pub p_more: f64,
    /// p value of "the rates are equal".
    pub p_two_sided: f64,
}

/// Compares two rates: given all crashes, those of the first are binomial with
/// the share of its exposure (Przyborowski & Wilenski 1940), with
/// Clopper–Pearson limits for the ratio. R's `poisson.test`.
pub fn compare_rates(
    first: Rate,
    second: Rate,
    confidence: f64,
) -> Result<RateComparison, StatsError> {
    let tail = (1.0 - check_level(confidence)?) / 2.0;
    for exposure in [first.exposure, second.exposure] {
        if !exposure.is_finite() || exposure < 0.0 {
            return Err(StatsError::BadTime(exposure));
        }
        if exposure <= 0.0 {
            return Err(StatsError::NoExposure);
        }
    }
    let (r, s) = (f64::from(first.crashes), f64::from(second.crashes));
    let n = r + s;
    if first.crashes > 0 && second.crashes > 0 && n > f64::from(MANY) {
        return Ok(of_many(first, second, tail));
    }
    let share = first.exposure / (first.exposure + second.exposure);
    // Odds of a crash to fall into the first → ratio of the rates.
    let to_ratio = |p: f64| p / (1.0 - p) * second.exposure / first.exposure;
    let p_more = if first.crashes == 0 {
        1.0
    } else {
        beta_lower(share, r, s + 1.0)
    };
    let two_sided = two_sided(r, n, share);
    Ok(RateComparison {
        ratio: (second.crashes > 0).then(|| (r / first.exposure) / (s / second.exposure)),
        low: if first.crashes == 0 {
            0.0
        } else {
            to_ratio(beta_quantile(tail, r, s + 1.0))
        },
        high: (second.crashes > 0).then(|| to_ratio(beta_quantile(1.0 - tail, r + 1.0, s))),
        p_more,
        p_two_sided: two_sided.min(1.0),
    })
}

/// All counts of the first that are no likelier than `r` of `n`.
fn two_sided(r: f64, n: f64, share: f64) -> f64 {
    let probability =
        |k: f64| (ln_choose(n, k) + k * share.ln() + (n - k) * (-share).ln_1p()).exp();
    let limit = probability(r) * (1.0 + TIE);
    // Unimodal: from both ends inwards until one is likelier. What is too small
    // to be told from 0 adds nothing.
    let tail = |from_end: &dyn Fn(f64) -> f64| {
        let mut sum = 0.0;
        let mut i = 0.0;
        while i <= n && probability(from_end(i)) <= limit {
            sum += probability(from_end(i));
            i += 1.0;
        }
        sum
    };
    if n > f64::from(MANY) {
        // One count is 0 here: the other end of the distribution is all there is.
        return probability(r).min(1.0);
    }
    tail(&|i| i) + tail(&|i| n - i)
}

/// ln of the ratio is normal with the variance 1/r + 1/s.
fn of_many(first: Rate, second: Rate, tail: f64) -> RateComparison {
    let (r, s) = (f64::from(first.crashes), f64::from(second.crashes));
    let ratio = (r / first.exposure) / (s / second.exposure);
    let sigma = (1.0 / r + 1.0 / s).sqrt();
    let z = ratio.ln() / sigma;
    let width = sigma * normal_quantile(1.0 - tail);
    RateComparison {
        ratio: Some(ratio),
        low: ratio * (-width).exp(),
        high: Some(ratio * width.exp()),
        p_more: normal_upper(z),
        p_two_sided: (2.0 * normal_upper(z.abs())).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::clean::p_value_clean;
    use super::*;

    #[test]
    fn a_clean_second_rate_is_the_clean_exposure_test() {
        for (r, exposure, clean) in [(1, 2.0, 3.0), (10, 4.5, 44.0), (60, 3.0, 1.0)] {
            let compared = compare_rates(
                Rate {
                    crashes: r,
                    exposure,
                },
                Rate {
                    crashes: 0,
                    exposure: clean,
                },
                0.95,
            )
            .unwrap();
            let expected = p_value_clean(clean, r, exposure).unwrap();
            assert!((compared.p_more / expected - 1.0).abs() < 1e-11);
            assert_eq!((compared.ratio, compared.high), (None, None));
        }
    }

    #[test]
    fn a_thousand_million_events_are_compared_without_a_sum_over_them() {
        let rate = |crashes, exposure| Rate { crashes, exposure };
        let clean = compare_rates(rate(1_000_000_000, 4e9), rate(0, 8.0), 0.95).unwrap();
        assert!((clean.p_more.ln() + 1e9 * (8.0 / 4e9_f64).ln_1p()).abs() < 1e-3);
        let both = compare_rates(rate(1_000_000_000, 4e9), rate(2, 8.0), 0.95).unwrap();
        assert!((both.ratio.unwrap() - 1.0).abs() < 1e-12 && both.p_more > 0.4);
    }

    #[test]
    fn the_normal_limit_meets_the_exact_test() {
        let rate = |crashes, exposure| Rate { crashes, exposure };
        let (first, second) = (rate(5030, 10.0), rate(4960, 10.0));
        let exact = compare_rates(first, second, 0.95).unwrap();
        let many = of_many(first, second, 0.025);
        assert!(
            (exact.p_more / many.p_more - 1.0).abs() < 0.02,
            "{exact:?} {many:?}"
        );
        assert!((exact.low / many.low - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_rate_without_exposure_is_no_rate() {
        let rate = |exposure| Rate {
            crashes: 1,
            exposure,
        };
        assert!(compare_rates(rate(0.0), rate(1.0), 0.95).is_err());
        assert!(compare_rates(rate(1.0), rate(f64::NAN), 0.95).is_err());
    }
}
