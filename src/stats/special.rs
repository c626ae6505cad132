//! The few distribution functions that the rest needs, and their quantiles.
//! Forward functions come from `statrs`; quantiles are inverted here, because
//! its own stop at about 1e-5.

use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::{gamma_lr, gamma_ur, ln_gamma};

/// Upper tail of χ² with `dof` degrees of freedom.
pub(super) fn chi2_upper(x: f64, dof: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    // Not erfc for one degree: statrs' is good to 1e-10 only.
    gamma_ur(dof / 2.0, x / 2.0)
}

/// The `p` quantile of χ² with `dof` degrees of freedom.
pub(super) fn chi2_quantile(p: f64, dof: f64) -> f64 {
    let mut high = dof.max(1.0);
    while gamma_ur(dof / 2.0, high / 2.0) > 1.0 - p {
        high *= 2.0;
    }
    // The smaller tail, where fewer digits cancel.
    if p <= 0.5 {
        last_below(0.0, high, |x| gamma_lr(dof / 2.0, x / 2.0) < p)
    } else {
        last_below(0.0, high, |x| gamma_ur(dof / 2.0, x / 2.0) > 1.0 - p)
    }
}

/// The standard normal's `p` quantile.
pub(super) fn normal_quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p)
}

/// Lower tail of the beta distribution.
pub(super) fn beta_lower(x: f64, a: f64, b: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    // I_x(a, 1) = x^a: exact for any a, where the continued fraction needs more
    // terms the larger a is.
    if is_one(b) {
        return (a * x.ln()).exp();
    }
    if is_one(a) {
        return -(b * (-x).ln_1p()).exp_m1();
    }
    beta_reg(a, b, x)
}

fn is_one(value: f64) -> bool {
    value.total_cmp(&1.0).is_eq()
}

/// Upper tail of the standard normal.
pub(super) fn normal_upper(z: f64) -> f64 {
    erfc(z / std::f64::consts::SQRT_2) / 2.0
}

/// The `p` quantile of the beta distribution.
pub(super) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.5 {
        last_below(0.0, 1.0, |x| beta_lower(x, a, b) < p)
    } else {
        // I_x(a, b) = 1 − I_{1−x}(b, a); again the smaller tail.
        1.0 - last_below(0.0, 1.0, |y| beta_lower(y, b, a) < 1.0 - p)
    }
}

/// ln of the binomial coefficient `n` over `k`.
pub(super) fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

/// Bisects down to neighbouring floats: the last point at which the monotone
/// `below` holds.
pub(super) fn last_below(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return low;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_ends_between_neighbours() {
        let root = last_below(0.0, 2.0, |x| x * x < 2.0);
        assert!((root - std::f64::consts::SQRT_2).abs() < 1e-15);
    }
}
