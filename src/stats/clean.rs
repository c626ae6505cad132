//! What a clean exposure shows against a baseline that crashed.
//!
//! Baseline: r crashes in the exposure S. Candidate: none in T. Were the
//! candidate no better, 2S/θ would be χ² with 2r degrees of freedom and the
//! chance of a clean T would be E[exp(−T/θ)] = (1 + T/S)^−r. The same number
//! is the conditional binomial p value for two Poisson rates (Przyborowski &
//! Wilenski 1940) with 0 crashes of r in the candidate, so it holds for
//! baselines ended by time as well.

use super::observation::{StatsError, check_level};

/// The clean exposure T = S(α^(−1/r) − 1) at which the level α is reached, in
/// the unit of `exposure`.
///
/// ```
/// let t = modrace::stats::needed_exposure(0.001, 10, 10.0)?;
/// assert!((t - 9.95).abs() < 0.005);
/// # Ok::<(), modrace::stats::StatsError>(())
/// ```
pub fn needed_exposure(alpha: f64, crashes: u32, exposure: f64) -> Result<f64, StatsError> {
    let alpha = check_level(alpha)?;
    check_baseline(crashes, exposure)?;
    // exp_m1 keeps the digits when r is large and α^(−1/r) close to 1.
    Ok(exposure * (-alpha.ln() / f64::from(crashes)).exp_m1())
}

/// The p value (1 + T/S)^−r of a candidate that was clean for `clean`.
pub fn p_value_clean(clean: f64, crashes: u32, exposure: f64) -> Result<f64, StatsError> {
    check_baseline(crashes, exposure)?;
    check_time(clean)?;
    Ok((-f64::from(crashes) * (clean / exposure).ln_1p()).exp())
}

/// How many times rarer than in the baseline the crash is at least, at level
/// 1−α: (T/S)/(α^(−1/r) − 1). Below 1 the candidate may even crash more often.
pub fn times_rarer(alpha: f64, clean: f64, crashes: u32, exposure: f64) -> Result<f64, StatsError> {
    check_time(clean)?;
    Ok(clean / needed_exposure(alpha, crashes, exposure)?)
}

fn check_time(time: f64) -> Result<(), StatsError> {
    if time.is_finite() && time >= 0.0 {
        Ok(())
    } else {
        Err(StatsError::BadTime(time))
    }
}

/// Without crashes there is no control. Crashes in no time at all would call
/// every candidate fixed after no time at all.
fn check_baseline(crashes: u32, exposure: f64) -> Result<(), StatsError> {
    check_time(exposure)?;
    if crashes == 0 {
        return Err(StatsError::NoEvents);
    }
    if exposure <= 0.0 {
        return Err(StatsError::NoExposure);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the design: exposure needed in units of θ̂ at 99.9 %.
    #[test]
    fn needed_exposure_in_units_of_the_mean() {
        for (r, expected) in [(5, 14.9), (10, 9.95), (20, 8.25), (50, 7.41)] {
            let needed = needed_exposure(0.001, r, f64::from(r)).unwrap();
            assert!((needed - expected).abs() < 0.05, "r = {r}: {needed}");
        }
    }

    #[test]
    fn the_needed_exposure_has_the_level_as_its_p_value() {
        for r in [1, 2, 10, 1000] {
            let needed = needed_exposure(0.001, r, 7.5).unwrap();
            let p = p_value_clean(needed, r, 7.5).unwrap();
            assert!((p - 0.001).abs() < 1e-14, "r = {r}: {p}");
            let rarer = times_rarer(0.001, 3.0 * needed, r, 7.5).unwrap();
            assert!((rarer - 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn nothing_is_needed_of_a_baseline_that_shows_nothing() {
        assert_eq!(needed_exposure(0.001, 0, 5.0), Err(StatsError::NoEvents));
        assert_eq!(needed_exposure(0.001, 3, 0.0), Err(StatsError::NoExposure));
        assert!(p_value_clean(f64::NAN, 3, 1.0).is_err());
        assert!(needed_exposure(1.0, 3, 1.0).is_err());
    }
}
