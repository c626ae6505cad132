//! The times of both runs on one clock, and the evidence on it.

use super::number;
use crate::model::{Evidence, ExponentialityRecord, Interval};
use crate::stats::{
    Observation, Rate, StatsError, compare_rates, exponentiality, needed_exposure, p_value_clean,
    times_rarer,
};

/// Level at which the exponential is rejected. A false alarm costs some trials
/// more; a missed misfit only leaves a requirement in force.
const REJECTS_BELOW: f64 = 0.05;

/// A candidate's and a baseline's times on one clock.
pub(super) struct Times {
    pub(super) baseline: Vec<Observation>,
    pub(super) candidate: Vec<Observation>,
}

impl Times {
    /// The baseline's slowest crash.
    pub(super) fn slowest(&self) -> f64 {
        let crashed = self.baseline.iter().filter(|o| o.is_event());
        crashed.map(Observation::time).fold(0.0, f64::max)
    }

    pub(super) fn rates(&self) -> (Rate, Rate) {
        (rate(&self.baseline), rate(&self.candidate))
    }

    pub(super) fn rejected(&self) -> bool {
        exponentiality(&self.baseline).is_some_and(|fit| fit.p_value < REJECTS_BELOW)
    }

    /// Exposure that a clean candidate still needs; 0 when nothing.
    pub(super) fn missing(&self, alpha: f64) -> Result<f64, StatsError> {
        let (base, cand) = self.rates();
        let needed = needed_exposure(alpha, base.crashes, base.exposure)?;
        Ok((needed - cand.exposure).max(0.0))
    }

    pub(super) fn clean_p(&self) -> Result<f64, StatsError> {
        let (base, cand) = self.rates();
        p_value_clean(cand.exposure, base.crashes, base.exposure)
    }
}

/// All that one clock says.
pub(super) fn evidence(times: &Times, alpha: f64) -> Result<Evidence, StatsError> {
    let (base, cand) = times.rates();
    let (r, s, t) = (base.crashes, base.exposure, cand.exposure);
    let clean = r > 0 && cand.crashes == 0;
    let needed = (r > 0).then(|| needed_exposure(alpha, r, s)).transpose()?;
    let rates = (r > 0 && t > 0.0)
        .then(|| compare_rates(base, cand, 0.95))
        .transpose()?;
    let clean_p = clean.then(|| p_value_clean(t, r, s)).transpose()?;
    Ok(Evidence {
        baseline_crashes: r,
        baseline_exposure: s,
        candidate_crashes: cand.crashes,
        candidate_exposure: t,
        needed,
        missing: needed.map(|needed| (needed - t).max(0.0)),
        p_value: clean_p.or(rates.map(|rates| rates.p_more)),
        times_rarer: clean.then(|| times_rarer(alpha, t, r, s)).transpose()?,
        rate_ratio: rates.and_then(|rates| rates.ratio),
        rate_ratio_ci95: rates.map(|rates| Interval {
            low: rates.low,
            high: rates.high,
        }),
        exponentiality: exponentiality(&times.baseline).map(|fit| ExponentialityRecord {
            shape: fit.shape,
            p_value: fit.p_value,
            rejected: fit.p_value < REJECTS_BELOW,
        }),
    })
}

pub(super) fn rate(observations: &[Observation]) -> Rate {
    Rate {
        crashes: number(observations.iter().filter(|o| o.is_event()).count()),
        exposure: observations.iter().map(Observation::exposure).sum(),
    }
}
