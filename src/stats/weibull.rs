//! Does a constant crash rate fit? A Weibull is fitted beside the exponential
//! and its shape tested against 1. Extrapolating needs the answer yes.

use super::observation::Observation;
use super::special::{chi2_upper, last_below};

/// ln of the smallest and largest shape looked at. A fit at an end means that
/// the times are degenerate, and the test rejects there.
const LN_SHAPES: (f64, f64) = (-5.0, 5.0);

/// The likelihood-ratio test of shape 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponentiality {
    /// Events that it rests on.
    pub events: u32,
    /// Maximum likelihood shape. Below 1 the rate falls with time, above 1 it
    /// rises.
    pub shape: f64,
    /// Twice the gain in log-likelihood over shape 1.
    pub likelihood_ratio: f64,
    /// From χ² with one degree of freedom. With few events it rejects a little
    /// too often: the safe side here.
    pub p_value: f64,
}

/// Tests the times; None with fewer than two events above 0, which fit any
/// shape. Right censoring and left truncation enter by the likelihood
///
/// ℓ(k) = r ln k − r ln(Σ(tᵏ − eᵏ)/r) + (k−1) Σ ln t − r,
///
/// the scale profiled out (Lawless, *Statistical Models and Methods for
/// Lifetime Data*, 2nd ed., §5.2).
pub fn exponentiality(observations: &[Observation]) -> Option<Exponentiality> {
    let longest = observations
        .iter()
        .map(Observation::time)
        .fold(0.0, f64::max);
    let profile = Profile::new(observations, longest)?;
    // The score falls with k: one root.
    let ln_shape = last_below(LN_SHAPES.0, LN_SHAPES.1, |ln_k| {
        profile.score(ln_k.exp()) > 0.0
    });
    let shape = ln_shape.exp();
    let gain = 2.0 * (profile.log_likelihood(shape) - profile.log_likelihood(1.0));
    let likelihood_ratio = gain.max(0.0);
    Some(Exponentiality {
        events: profile.events,
        shape,
        likelihood_ratio,
        p_value: chi2_upper(likelihood_ratio, 1.0),
    })
}

/// Times in units of the longest, so that no power overflows.
struct Profile {
    spans: Vec<(f64, f64)>,
    events: u32,
    sum_ln: f64,
}

impl Profile {
    fn new(observations: &[Observation], longest: f64) -> Option<Self> {
        let logs: Vec<f64> = observations
            .iter()
            // ln 0 would decide everything; an event at 0 is a coarse clock's.
            .filter(|o| o.is_event() && o.time() > 0.0)
            .map(|o| (o.time() / longest).ln())
            .collect();
        (logs.len() >= 2).then(|| Self {
            spans: observations
                .iter()
                .map(|o| (o.entry() / longest, o.time() / longest))
                .collect(),
            events: u32::try_from(logs.len()).unwrap_or(u32::MAX),
            sum_ln: logs.iter().sum(),
        })
    }

    fn log_likelihood(&self, k: f64) -> f64 {
        let r = f64::from(self.events);
        let power: f64 = self
            .spans
            .iter()
            .map(|(entry, time)| time.powf(k) - entry.powf(k))
            .sum();
        r * k.ln() - r * (power / r).ln() + (k - 1.0) * self.sum_ln - r
    }

    fn score(&self, k: f64) -> f64 {
        let r = f64::from(self.events);
        let (mut power, mut weighted) = (0.0, 0.0);
        for &(entry, time) in &self.spans {
            for (value, sign) in [(entry, -1.0), (time, 1.0)] {
                if value > 0.0 {
                    let term = sign * value.powf(k);
                    power += term;
                    weighted += term * value.ln();
                }
            }
        }
        r / k + self.sum_ln - r * weighted / power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(times: impl IntoIterator<Item = f64>) -> Vec<Observation> {
        times
            .into_iter()
            .map(|time| Observation::event(time).unwrap())
            .collect()
    }

    #[test]
    fn equal_times_are_not_exponential() {
        let test = exponentiality(&events([2.0; 8])).unwrap();
        assert!(test.shape > 100.0 && test.p_value < 1e-6, "{test:?}");
    }

    #[test]
    fn exponential_quantiles_are_exponential() {
        let n = 40;
        let times = (0..n).map(|i| -((f64::from(i) + 0.5) / f64::from(n)).ln());
        let test = exponentiality(&events(times)).unwrap();
        assert!((test.shape - 1.0).abs() < 0.1 && test.p_value > 0.5);
    }

    #[test]
    fn one_event_fits_any_shape() {
        assert_eq!(exponentiality(&events([3.0])), None);
        assert_eq!(exponentiality(&[]), None);
    }

    #[test]
    fn the_unit_of_time_does_not_matter() {
        let seconds = exponentiality(&events([0.1, 0.5, 0.7, 2.0])).unwrap();
        let nanoseconds = exponentiality(&events([1e8, 5e8, 7e8, 2e9])).unwrap();
        assert!((seconds.shape - nanoseconds.shape).abs() < 1e-9);
        assert!((seconds.p_value - nanoseconds.p_value).abs() < 1e-9);
    }
}
