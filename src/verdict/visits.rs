//! Whether readers came to where the race is lost. A module reads `Unloading`
//! until `UNFORMED` is set: readers that never met the one show nothing about
//! the other, however often they saw the module `Live`.

use crate::model::{Outcome, Settings, Trial};

/// Share of the run's usual visits per cycle that a trial needs to be credited:
/// below it its readers were elsewhere for most of its time.
const ENOUGH: f64 = 0.1;

/// What a run's trials have to have visited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visits {
    /// Visits per cycle, at least; None where the target shows no states.
    least: Option<f64>,
}

impl Visits {
    /// By the settings and trials of a run.
    ///
    /// Other targets and races do not show states: there any sighting has to do,
    /// which each survivor has.
    pub(super) fn of(settings: &Settings, trials: &[Trial]) -> Self {
        if settings.other_target().is_some() || settings.is_other_race() {
            return Self { least: None };
        }
        let mut rates: Vec<f64> = trials.iter().filter_map(rate).collect();
        rates.sort_by(f64::total_cmp);
        let usual = rates.get(rates.len() / 2).copied().unwrap_or(0.0);
        Self {
            least: Some(ENOUGH * usual),
        }
    }

    /// Whether a survivor counts as clean: it has visits of its own, in
    /// proportion to its cycles.
    pub(super) fn credited(self, trial: &Trial) -> bool {
        let seen = trial.counters.sightings.unloading;
        self.least
            .is_none_or(|least| seen > 0 && rate(trial).is_some_and(|rate| rate >= least))
    }

    /// Whether a trial may stand in a comparison: all but survivors without
    /// visits, which show nothing.
    pub(super) fn counts(self, trial: &Trial) -> bool {
        trial.outcome != Outcome::Survived || self.credited(trial)
    }
}

/// Visits per cycle of a survivor.
fn rate(trial: &Trial) -> Option<f64> {
    let raced = trial.outcome == Outcome::Survived && trial.cycles > 0;
    raced.then(|| trial.counters.sightings.unloading as f64 / trial.cycles as f64)
}
