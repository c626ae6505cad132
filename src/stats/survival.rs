//! The Kaplan–Meier estimator: survival without a model of the times.

use super::observation::{Observation, StatsError, check_level};
use super::special::normal_quantile;

/// Two survival probabilities closer than this are the same: products of
/// fractions miss 1/2 by a few units in the last place.
const SAME: f64 = 1e-9;

/// A drop of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub time: f64,
    /// How many were being watched just before.
    pub at_risk: usize,
    /// How many crashed.
    pub events: usize,
    /// Probability of surviving beyond this time.
    pub survival: f64,
    /// Its confidence limits, lower and upper. None once all have crashed:
    /// Greenwood's variance says nothing there.
    pub limits: Option<(f64, f64)>,
}

/// A quantile of the time to crash. None where the curve, or its limit, does
/// not come down far enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// The estimate.
    pub estimate: Option<f64>,
    /// Lower confidence limit.
    pub low: Option<f64>,
    /// Upper confidence limit.
    pub high: Option<f64>,
}

/// The product-limit curve.
#[derive(Clone, Debug, PartialEq)]
pub struct KaplanMeier {
    steps: Vec<Step>,
    end: f64,
}

impl KaplanMeier {
    /// The curve with pointwise limits of the given confidence (0.95).
    ///
    /// Kaplan & Meier 1958; left truncation by its risk sets (Klein &
    /// Moeschberger, *Survival Analysis*, 2nd ed., §4.6). Limits: Greenwood's
    /// variance on the log–log scale (Kalbfleisch & Prentice 1980), S^exp(±zσ),
    /// which stay within 0 and 1.
    pub fn new(observations: &[Observation], confidence: f64) -> Result<Self, StatsError> {
        let z = normal_quantile(f64::midpoint(1.0, check_level(confidence)?));
        let mut times: Vec<f64> = observations
            .iter()
            .filter(|o| o.is_event())
            .map(Observation::time)
            .collect();
        times.sort_by(f64::total_cmp);
        times.dedup();
        let mut steps: Vec<Step> = Vec::with_capacity(times.len());
        let (mut survival, mut greenwood) = (1.0, 0.0);
        for time in times {
            let at_risk = observations.iter().filter(|o| o.at_risk(time)).count();
            let events = observations
                .iter()
                .filter(|o| o.is_event() && o.time().total_cmp(&time).is_eq())
                .count();
            let (n, d) = (at_risk as f64, events as f64);
            survival *= (n - d) / n;
            greenwood += d / (n * (n - d));
            let limits = (survival > 0.0).then(|| {
                let width = (z * f64::sqrt(greenwood) / f64::ln(survival)).abs();
                (survival.powf(width.exp()), survival.powf((-width).exp()))
            });
            steps.push(Step {
                time,
                at_risk,
                events,
                survival,
                limits,
            });
        }
        let end = observations
            .iter()
            .map(Observation::time)
            .fold(0.0, f64::max);
        Ok(Self { steps, end })
    }

    /// The drops, earliest first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The last time at which anyone was watched.
    pub fn end(&self) -> f64 {
        self.end
    }

    /// Probability of surviving beyond `time`.
    pub fn survival_at(&self, time: f64) -> f64 {
        self.steps
            .iter()
            .take_while(|step| step.time <= time)
            .last()
            .map_or(1.0, |step| step.survival)
    }

    /// The time by which a share `p` has crashed, with the limits of
    /// Brookmeyer & Crowley 1982: where the curve's limits cross 1−p. A
    /// stretch between two drops that is level at exactly 1−p gives its middle, as
    /// in R's `survival`, so that the median of complete data is the sample's.
    /// Behind the last drop it gives the drop: R's middle would depend on how
    /// long was watched.
    pub fn quantile(&self, p: f64) -> Quantile {
        let level = 1.0 - p;
        Quantile {
            estimate: self.crossing(level, |step| Some(step.survival)),
            low: self.crossing(level, |step| Some(step.limits?.0)),
            high: self.crossing(level, |step| Some(step.limits?.1)),
        }
    }

    fn crossing(&self, level: f64, curve: impl Fn(&Step) -> Option<f64>) -> Option<f64> {
        let reached = |step: &Step| curve(step).filter(|&value| value <= level + SAME);
        let at = self.steps.iter().position(|step| reached(step).is_some())?;
        let step = &self.steps[at];
        if curve(step)? < level - SAME {
            return Some(step.time);
        }
        let next = self.steps.get(at + 1);
        Some(next.map_or(step.time, |next| f64::midpoint(step.time, next.time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(times: &[(f64, bool)]) -> KaplanMeier {
        let observations: Vec<_> = times
            .iter()
            .map(|&(time, event)| Observation::new(0.0, time, event).unwrap())
            .collect();
        KaplanMeier::new(&observations, 0.95).unwrap()
    }

    #[test]
    fn median_of_complete_data_is_the_samples() {
        let even = curve(&[(4.0, true), (1.0, true), (3.0, true), (2.0, true)]);
        assert_eq!(even.quantile(0.5).estimate, Some(2.5));
        let odd = curve(&[(9.0, true), (1.0, true), (3.0, true)]);
        assert_eq!(odd.quantile(0.5).estimate, Some(3.0));
    }

    #[test]
    fn what_is_not_reached_is_not_made_up() {
        let few = curve(&[(1.0, true), (5.0, false), (5.0, false), (5.0, false)]);
        assert_eq!(few.quantile(0.5).estimate, None);
        assert_eq!(few.quantile(0.95).high, None);
        assert_eq!(curve(&[(5.0, false)]).quantile(0.5).estimate, None);
        assert!((few.survival_at(2.0) - 0.75).abs() < 1e-15);
        assert!((few.survival_at(0.5) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_tie_of_crash_and_censoring_counts_both_at_risk() {
        let tied = curve(&[(2.0, true), (2.0, false)]);
        assert_eq!(tied.steps()[0].at_risk, 2);
    }

    #[test]
    fn who_comes_late_is_not_at_risk_before() {
        let observations = [
            Observation::event(1.0).unwrap(),
            Observation::new(1.5, 3.0, true).unwrap(),
            Observation::censored(4.0).unwrap(),
        ];
        let late = KaplanMeier::new(&observations, 0.95).unwrap();
        let at_risk: Vec<_> = late.steps().iter().map(|step| step.at_risk).collect();
        assert_eq!(at_risk, [2, 2]);
    }
}
