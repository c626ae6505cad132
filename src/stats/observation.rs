//! One observed time, and what is wrong with times that cannot be one.

use thiserror::Error;

/// A time to crash, or to the end of watching without one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    entry: f64,
    time: f64,
    event: bool,
}

/// Why a statistic cannot be had.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum StatsError {
    /// A time that is NaN, infinite or negative.
    #[error("time {0} is not a finite number ≥ 0")]
    BadTime(f64),
    /// Watching ended before it began.
    #[error("entry {entry} is not before the end {time}")]
    EntryAfterEnd {
        /// Start of watching.
        entry: f64,
        /// End of watching.
        time: f64,
    },
    /// A level outside of the open interval from 0 to 1.
    #[error("level {0} is not between 0 and 1")]
    BadLevel(f64),
    /// No crash was seen: there is no positive control.
    #[error("no crash in the baseline: there is no positive control")]
    NoEvents,
    /// Crashes without exposure: any time would seem long against them.
    #[error("crashes without any exposure: their times cannot be right")]
    NoExposure,
    /// A group without observations.
    #[error("a group without trials")]
    EmptyGroup,
}

impl Observation {
    /// Watched from 0 until an event.
    pub fn event(time: f64) -> Result<Self, StatsError> {
        Self::new(0.0, time, true)
    }

    /// Watched from 0 until watching ended without an event.
    pub fn censored(time: f64) -> Result<Self, StatsError> {
        Self::new(0.0, time, false)
    }

    /// Watched from `entry` (left truncation: had the event come before it,
    /// nobody would know of this one) until `time`.
    pub fn new(entry: f64, time: f64, event: bool) -> Result<Self, StatsError> {
        for value in [entry, time] {
            if !value.is_finite() || value < 0.0 {
                return Err(StatsError::BadTime(value));
            }
        }
        // An event at 0 happens to coarse clocks; a delayed entry must leave
        // some time to be watched in, or no risk set would hold its event.
        if entry > 0.0 && entry >= time {
            return Err(StatsError::EntryAfterEnd { entry, time });
        }
        Ok(Self { entry, time, event })
    }

    /// Start of watching.
    pub fn entry(&self) -> f64 {
        self.entry
    }

    /// End of watching: the event or the censoring.
    pub fn time(&self) -> f64 {
        self.time
    }

    /// Whether it ended with an event.
    pub fn is_event(&self) -> bool {
        self.event
    }

    /// Time watched.
    pub fn exposure(&self) -> f64 {
        self.time - self.entry
    }

    /// Whether it was being watched just before `time`. Who is censored at
    /// `time` still counts: ties are read as "the event came first".
    pub(super) fn at_risk(&self, time: f64) -> bool {
        self.time >= time && (self.entry < time || self.entry == 0.0)
    }
}

/// A level is a probability strictly inside (0, 1).
pub fn check_level(level: f64) -> Result<f64, StatsError> {
    if level > 0.0 && level < 1.0 {
        Ok(level)
    } else {
        Err(StatsError::BadLevel(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_finite_and_not_negative() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(
                Observation::event(bad),
                Err(StatsError::BadTime(_))
            ));
        }
        assert!(Observation::event(0.0).is_ok());
    }

    #[test]
    fn entry_comes_before_the_end() {
        assert_eq!(
            Observation::new(2.0, 2.0, true),
            Err(StatsError::EntryAfterEnd {
                entry: 2.0,
                time: 2.0
            })
        );
        assert!(Observation::new(1.0, 2.0, true).is_ok());
    }
}
