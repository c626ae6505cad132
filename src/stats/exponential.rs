//! The exponential model: a constant crash rate, so r crashes in the total
//! exposure S say everything. θ is the mean time to crash.

use super::observation::{Observation, StatsError, check_level};
use super::special::chi2_quantile;

/// What ended the experiment. The lower limit of θ depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// It ended with a crash (type II censoring): 2S/θ is χ² with 2r degrees
    /// of freedom and the limits are exact.
    Failure,
    /// Time ended it, or some trials (type I or hybrid censoring): the lower
    /// limit counts one crash more, as if it had come at the very end. The
    /// limits hold at least the level asked for.
    Time,
}

/// The fitted exponential.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExponentialFit {
    /// Crashes, r.
    pub events: u32,
    /// Total exposure S, censored trials included; the unit of the times.
    pub exposure: f64,
    /// Maximum likelihood estimate of θ, S/r. None without a crash.
    pub mean: Option<f64>,
    /// Lower limit of θ. Two-sided even without a crash, or the limits together
    /// would not cover; the one-sided bound is [`mean_above`].
    pub low: f64,
    /// Upper limit of θ. None without a crash.
    pub high: Option<f64>,
    /// What the limits assume.
    pub termination: Termination,
}

impl ExponentialFit {
    /// Fits `observations` with limits of the given confidence (0.95).
    ///
    /// Epstein & Sobel 1953; Lawless, *Statistical Models and Methods for
    /// Lifetime Data*, 2nd ed., §4.1; MIL-HDBK-781A §5.9 for the time
    /// terminated limits: 2S/χ²(1−α/2; 2r+2 or 2r) and 2S/χ²(α/2; 2r).
    pub fn new(
        observations: &[Observation],
        confidence: f64,
        termination: Termination,
    ) -> Result<Self, StatsError> {
        let events = observations.iter().filter(|o| o.is_event()).count();
        let exposure = observations.iter().map(Observation::exposure).sum();
        Self::from_totals(
            u32::try_from(events).unwrap_or(u32::MAX),
            exposure,
            confidence,
            termination,
        )
    }

    /// The same from the totals, which are sufficient.
    pub fn from_totals(
        events: u32,
        exposure: f64,
        confidence: f64,
        termination: Termination,
    ) -> Result<Self, StatsError> {
        if !exposure.is_finite() || exposure < 0.0 {
            return Err(StatsError::BadTime(exposure));
        }
        let alpha = 1.0 - check_level(confidence)?;
        if events == 0 {
            return Ok(Self {
                events,
                exposure,
                mean: None,
                low: mean_above(exposure, alpha / 2.0)?,
                high: None,
                termination: Termination::Time,
            });
        }
        let r = f64::from(events);
        let low_dof = match termination {
            Termination::Failure => 2.0 * r,
            Termination::Time => 2.0 * r + 2.0,
        };
        Ok(Self {
            events,
            exposure,
            mean: Some(exposure / r),
            low: 2.0 * exposure / chi2_quantile(1.0 - alpha / 2.0, low_dof),
            high: Some(2.0 * exposure / chi2_quantile(alpha / 2.0, 2.0 * r)),
            termination,
        })
    }
}

/// The bound on θ after a clean exposure: θ > S/−ln α at level 1−α, from
/// P(no crash in S) = exp(−S/θ). At 95 % it is the rule of three.
pub fn mean_above(exposure: f64, alpha: f64) -> Result<f64, StatsError> {
    if !exposure.is_finite() || exposure < 0.0 {
        return Err(StatsError::BadTime(exposure));
    }
    Ok(exposure / -check_level(alpha)?.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_crash_gives_a_bound_and_no_estimate() {
        let fit = ExponentialFit::from_totals(0, 30.0, 0.95, Termination::Time).unwrap();
        assert_eq!((fit.mean, fit.high), (None, None));
        assert!((fit.low - 30.0 / 40.0_f64.ln()).abs() < 1e-12);
        let bound = mean_above(30.0, 0.05).unwrap();
        assert!((bound - 30.0 / 20.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn time_terminated_limits_are_wider() {
        let at = |how| ExponentialFit::from_totals(3, 12.0, 0.95, how).unwrap();
        assert!(at(Termination::Time).low < at(Termination::Failure).low);
        assert_eq!(at(Termination::Time).high, at(Termination::Failure).high);
    }

    #[test]
    fn exposure_without_any_time_is_not_hidden() {
        assert!(ExponentialFit::from_totals(1, f64::NAN, 0.95, Termination::Time).is_err());
    }
}
