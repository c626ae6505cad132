//! When things last moved in a trial, and when standing still is a hang. The same
//! for guests and for the machine itself. Pure: who watches brings the time, on
//! its own clock.

use crate::recorder::{Phase, Snapshot};

/// From the last line on blocked tasks to the end: their stacks still come.
const LINGER_S: f64 = 1.5;

/// How long things may take, seconds.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "the unit is part of a name")]
pub(crate) struct StallLimits {
    /// From the first message to the start of the race.
    pub(crate) setup_s: f64,
    /// Without a heartbeat, or without a load/unload cycle.
    pub(crate) still_s: f64,
    /// The race.
    pub(crate) duration_s: f64,
    /// From the end of the race to the result.
    pub(crate) settle_s: f64,
}

/// Something that does not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// The kernel does not let tasks go on, or schedules nobody.
    Kernel(String),
    /// The set-up takes too long; that may be the host's doing.
    Setup(String),
}

/// When things last moved.
#[derive(Debug)]
pub(crate) struct StallDetector {
    limits: StallLimits,
    spoke_at: Option<f64>,
    race_at: Option<f64>,
    beat: (u64, f64),
    cycle: (u64, f64),
    blocked: Option<(String, f64)>,
    seen: Option<Snapshot>,
}

impl StallDetector {
    pub(crate) fn new(limits: StallLimits) -> Self {
        Self {
            limits,
            spoke_at: None,
            race_at: None,
            beat: (0, 0.0),
            cycle: (0, 0.0),
            blocked: None,
            seen: None,
        }
    }

    /// Who races has sent its first message: from now on progress is expected.
    pub(crate) fn spoke(&mut self, now: f64) {
        self.spoke_at.get_or_insert(now);
        self.beat.1 = now;
    }

    /// The race has begun.
    pub(crate) fn race_began(&mut self, now: f64) {
        self.race_at.get_or_insert(now);
    }

    /// What the recorder says.
    pub(crate) fn see(&mut self, seen: Snapshot, now: f64) {
        if seen.phase >= Phase::Race || seen.race_start_ns > 0 {
            self.race_began(now);
        }
        if seen.heartbeat != self.beat.0 {
            self.beat = (seen.heartbeat, now);
        }
        if seen.cycles != self.cycle.0 {
            self.cycle = (seen.cycles, now);
        }
        self.seen = Some(seen);
    }

    /// The kernel's log says which tasks are blocked.
    pub(crate) fn see_blocked(&mut self, blocked: &[String], now: f64) {
        let text = blocked.join("; ");
        if !text.is_empty()
            && self
                .blocked
                .as_ref()
                .is_none_or(|(known, _)| *known != text)
        {
            self.blocked = Some((text, now));
        }
    }

    /// The last counts seen.
    pub(crate) fn last_seen(&self) -> Option<&Snapshot> {
        self.seen.as_ref()
    }

    /// Whether the first message has come.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoke_at.is_some()
    }

    /// Whether the race is known to have begun.
    pub(crate) fn has_raced(&self) -> bool {
        self.race_at.is_some()
    }

    /// Time since a heartbeat, seconds.
    pub(crate) fn silent_s(&self, now: f64) -> f64 {
        now - self.beat.1
    }

    /// Time since a load/unload cycle, or since the race's start, seconds.
    pub(crate) fn idle_s(&self, now: f64) -> f64 {
        now - self.cycle.1.max(self.race_at.unwrap_or(0.0))
    }

    /// What does not get on, if something does not. `heartbeat`: whether a
    /// heartbeat is to be expected.
    pub(crate) fn stall(&self, now: f64, heartbeat: bool) -> Option<Stall> {
        let limits = self.limits;
        let spoke_at = self.spoke_at?;
        if let Some((blocked, at)) = &self.blocked
            && now - at > LINGER_S
        {
            return Some(Stall::Kernel(format!(
                "blocked: {blocked}{}",
                self.workers()
            )));
        }
        let silent = if heartbeat { self.silent_s(now) } else { 0.0 };
        let no_heartbeat = || Some(Stall::Kernel(format!("no heartbeat for {silent:.0} s")));
        if silent > limits.still_s {
            return no_heartbeat();
        }
        let Some(race_at) = self.race_at else {
            let taken = now - spoke_at;
            let why = || format!("the module could not be made ready in {taken:.0} s");
            return (taken > limits.setup_s).then(|| Stall::Setup(why()));
        };
        let racing = (self.seen.as_ref()).is_none_or(|seen| seen.phase == Phase::Race);
        let idle = self.idle_s(now);
        if racing && idle > limits.still_s {
            // A heartbeat that stopped a moment after the last cycle is the cause.
            if silent > limits.still_s / 2.0 {
                return no_heartbeat();
            }
            return Some(Stall::Kernel(format!(
                "no load/unload cycle came back for {idle:.0} s{}",
                self.workers()
            )));
        }
        let over = now - race_at - limits.duration_s;
        (over > limits.settle_s).then(|| {
            Stall::Kernel(format!(
                "the race did not end {over:.0} s after its time{}",
                self.workers()
            ))
        })
    }

    /// What the workers are doing, for a hang's reason.
    fn workers(&self) -> String {
        let stages = self.seen.iter().flat_map(|seen| &seen.stages);
        let doing: Vec<&str> = stages.map(|stage| stage.as_str()).collect();
        if doing.is_empty() {
            String::new()
        } else {
            format!(" (workers: {})", doing.join(", "))
        }
    }
}
