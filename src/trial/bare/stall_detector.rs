//! When things last moved in a trial, and when standing still is a hang.
//! Reads the clock; judges nothing else.

use std::time::{Duration, Instant};

use crate::recorder::{Phase, Snapshot};

/// Longest time without a heartbeat, or without a cycle, before it is a hang.
const STALL: Duration = Duration::from_secs(30);
/// Longest set-up, and longest end, of a race.
const MARGIN: Duration = Duration::from_secs(90);

/// When things last moved.
#[derive(Debug)]
pub(super) struct StallDetector {
    start: Instant,
    beat: (u64, Instant),
    pub(super) cycle: (u64, Instant),
    raced_since: Option<Instant>,
    pub(super) written: Instant,
    pub(super) told: Instant,
}

impl StallDetector {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            beat: (0, start),
            cycle: (0, start),
            raced_since: None,
            written: start,
            told: start,
        }
    }

    pub(super) fn see(&mut self, seen: &Snapshot) {
        let now = Instant::now();
        if seen.heartbeat != self.beat.0 {
            self.beat = (seen.heartbeat, now);
        }
        if seen.cycles != self.cycle.0 {
            self.cycle = (seen.cycles, now);
        }
        if seen.race_start_ns > 0 && self.raced_since.is_none() {
            self.raced_since = Some(now);
            self.cycle.1 = now;
        }
    }

    /// Why this is a hang, if it is.
    pub(super) fn stall(&self, seen: &Snapshot, duration: Duration) -> Option<String> {
        let doing: Vec<&str> = seen.stages.iter().map(|stage| stage.as_str()).collect();
        let doing = doing.join(", ");
        if self.beat.1.elapsed() > STALL && seen.present {
            let silent = self.beat.1.elapsed().as_secs();
            return Some(format!("the racer was not scheduled for {silent} s"));
        }
        let Some(since) = self.raced_since else {
            return (self.start.elapsed() > MARGIN)
                .then(|| format!("no race within {} s", MARGIN.as_secs()));
        };
        if seen.phase == Phase::Race && self.cycle.1.elapsed() > STALL {
            let silent = self.cycle.1.elapsed().as_secs();
            return Some(format!(
                "no load/unload cycle came back for {silent} s (workers: {doing})"
            ));
        }
        let over = since.elapsed().saturating_sub(duration);
        (over > MARGIN).then(|| {
            format!(
                "the race did not end {} s after its time (workers: {doing})",
                over.as_secs()
            )
        })
    }
}
