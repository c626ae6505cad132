//! What a kernel's trials have come to, as the stop rule counts it.

use crate::model::{Oracle, Outcome, Trial};
use crate::stats::{Observation, StatsError};
use crate::verdict::trials::{self, Clock, Event, counts, is_target, observations};

/// What a kernel's trials have come to.
pub(super) struct Progress {
    /// Crashes in the race, or boots with a near miss.
    pub(super) events: u32,
    /// Whether any of them crashed.
    pub(super) crashed: bool,
    /// The slowest event, or without one the longest trial, seconds.
    pub(super) slowest_s: f64,
    pub(super) exposure_s: f64,
    pub(super) cycles: f64,
    pub(super) clean: u32,
    /// The most cycles of one clean trial.
    pub(super) longest_cycles: f64,
    /// The longest clean trial, seconds.
    pub(super) longest_s: f64,
    /// Whether a trial ended badly or had a near miss.
    pub(super) unclean: bool,
}

impl Progress {
    pub(super) fn of(all: &[Trial], oracle: Oracle) -> Result<Self, StatsError> {
        let missed = |trial: &&Trial| trial.counters.lines.near_misses > 0;
        let counted = || all.iter().filter(|trial| counts(trial));
        let event = |trial: &&Trial| {
            is_target(trial) || (oracle == Oracle::NearMiss && counts(trial) && missed(trial))
        };
        let observed = observations(all, Clock::Seconds, Event::TargetCrash)?;
        let longest = |of: &dyn Fn(&Observation, &Trial) -> bool| {
            let raced = all.iter().filter(|trial| trials::raced(trial));
            let times = observed.iter().zip(raced).filter(|(o, trial)| of(o, trial));
            times.map(|(o, _)| o.time()).fold(0.0, f64::max)
        };
        let events = all.iter().filter(event).count();
        let slowest_s = if events > 0 {
            longest(&|_, trial| event(&trial))
        } else {
            longest(&|_, _| true)
        };
        let bad = |trial: &Trial| trial.outcome != Outcome::Survived;
        let clean = || counted().filter(|trial| !bad(trial) && !missed(trial));
        let cycles = |trial: &Trial| trials::exposure(trial, Clock::Cycles);
        let most = |of: fn(&Trial) -> f64| clean().map(of).fold(0.0, f64::max);
        Ok(Self {
            events: u32::try_from(events).unwrap_or(u32::MAX),
            crashed: all.iter().any(is_target),
            slowest_s,
            exposure_s: observed.iter().map(Observation::exposure).sum(),
            cycles: counted().map(cycles).sum(),
            clean: u32::try_from(clean().count()).unwrap_or(u32::MAX),
            longest_cycles: most(cycles),
            longest_s: most(|trial| trials::exposure(trial, Clock::Seconds)),
            unclean: counted().any(|trial| bad(trial) || missed(&trial)),
        })
    }
}
