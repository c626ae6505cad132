//! The judgement: all that was seen of a trial → one outcome and its reason.

use super::{CalledOff, Conclusion, Watch};
use crate::kernel::preflight::TAINT_DIE;
use crate::model::{Crash, Outcome};
use crate::recorder::{Phase, Snapshot};
use crate::vm::Shutdown;
use crate::vm::protocol::{Ending, Finished};

/// What a report leaves in the taint word: B (5, KASAN and bad pages), D (7),
/// W (9) or L (14), by Documentation/admin-guide/tainted-kernels.rst.
pub(in crate::trial) const TAINT_HURT: u64 = 1 << 5 | TAINT_DIE | 1 << 9 | 1 << 14;
/// Share of the time asked for that must have been raced.
const ENOUGH: f64 = 0.99;
/// Silence of the heart, seconds, that confirms a report.
const SILENT_HEART_S: f64 = 2.0;

/// An outcome with its reason.
pub(in crate::trial) type Judgement = (Outcome, String);

pub(in crate::trial) fn broken(reason: impl Into<String>) -> Judgement {
    (Outcome::Broken, reason.into())
}

/// The crash that ended a trial, if one did.
pub(in crate::trial) fn first_that_ends(crashes: &[Crash]) -> Option<Crash> {
    crashes.iter().find(|crash| crash.ends_trial).cloned()
}

/// The word of who raced, held against the kernel's own taint, the flight
/// recorder and the time asked for: it survived only if all agree.
pub(in crate::trial) fn judge_word(
    finished: &Finished,
    last: &Snapshot,
    duration_s: f64,
) -> Judgement {
    match finished.ending {
        Ending::Unsupported => return (Outcome::Unsupported, finished.reason.clone()),
        Ending::Broken => return broken(finished.reason.clone()),
        Ending::Hung => return (Outcome::Hung, finished.reason.clone()),
        Ending::Survived => {}
    }
    if finished.taint_after & TAINT_DIE != 0 {
        return broken("the kernel is tainted by a death (D), but the log shows none");
    }
    if last.present && (last.cycles, last.reads) != (finished.cycles, finished.reads) {
        return broken(format!(
            "the racer counts {} cycles and {} reads, the flight recorder {} and {}",
            finished.cycles, finished.reads, last.cycles, last.reads
        ));
    }
    if finished.cycles == 0 {
        return broken(format!(
            "not one load/unload cycle was completed ({:?})",
            finished.counters.errors
        ));
    }
    let seen = &finished.counters.sightings;
    if seen.live + seen.loading + seen.unloading == 0 {
        return broken(format!(
            "no reader ever saw the module in {} reads and {} cycles: the race was none",
            finished.reads, finished.cycles
        ));
    }
    if finished.raced_s < ENOUGH * duration_s {
        return broken(format!(
            "raced for {:.1} s only, of {duration_s:.1} s asked for",
            finished.raced_s
        ));
    }
    (
        Outcome::Survived,
        format!("no crash in {:.1} s", finished.raced_s),
    )
}

/// Whether the kernel says by its taint that something was reported since the
/// trial began.
fn newly_hurt(finished: &Finished) -> bool {
    finished.taint_after & !finished.taint_before & TAINT_HURT != 0
}

impl Watch {
    /// The outcome. `last` is the flight recorder after the machine's end;
    /// `complaint` is what QEMU itself complained of.
    pub fn conclude(mut self, last: &Snapshot, complaint: &str) -> Conclusion {
        for event in self.scanner.finish() {
            self.on_scan(event, f64::INFINITY);
        }
        let last = if last.present {
            last.clone()
        } else {
            self.counts_without_recorder(last)
        };
        let crash = first_that_ends(&self.crashes);
        let signals = self.signals(crash.as_ref());
        let (outcome, reason) = match &crash {
            Some(crash) => self.judge_crash(crash, &last, &signals),
            None => self.judge_silence(&last, complaint),
        };
        let crashed = crash.as_ref().filter(|_| outcome == Outcome::Crashed);
        let said_s = self.finished().map(|finished| finished.raced_s);
        let (exposure_s, time_to_crash_s, mut notes) = self.clock.times(crashed, &last, said_s);
        notes.extend(
            self.crashes
                .iter()
                .filter(|other| crash.as_ref() != Some(other))
                .map(|other| format!("the console also shows: {}", other.title)),
        );
        Conclusion {
            outcome,
            reason,
            crash,
            exposure_s,
            time_to_crash_s,
            chaos: self
                .racing()
                .map(|racing| racing.techniques.clone())
                .unwrap_or_default(),
            signals,
            notes,
        }
    }

    /// Without a page, the guest's own last words are the counts.
    fn counts_without_recorder(&self, empty: &Snapshot) -> Snapshot {
        let mut seen = self.last_seen.clone().unwrap_or_else(|| empty.clone());
        if let Some((finished, _)) = &self.finished {
            seen.cycles = finished.cycles;
            seen.reads = finished.reads;
            seen.counters = finished.counters.clone();
            seen.phase = Phase::Done;
        }
        seen
    }

    /// Everything that says that the kernel is dead, one line each.
    fn signals(&self, crash: Option<&Crash>) -> Vec<String> {
        let mut signals = Vec::new();
        if let Some(crash) = crash {
            signals.push(format!("console: {}", crash.title));
        }
        if self.panicked {
            signals.push("pvpanic: the guest panicked".to_owned());
        }
        match self.shutdown {
            Some(Shutdown::GuestReset) => signals.push("QMP: the guest reset".to_owned()),
            Some(Shutdown::GuestPanic) => signals.push("QMP: ended by a panic".to_owned()),
            Some(Shutdown::GuestPowerOff) => signals.push("QMP: the guest powered off".to_owned()),
            Some(Shutdown::Host) | None => {}
        }
        if let Some(CalledOff::Stalled(why)) = &self.called_off {
            signals.push(format!("flight recorder: {why}"));
        }
        if crash.is_some() && self.heart_stopped() {
            signals.push("flight recorder: the heart has stopped".to_owned());
        }
        if let Some((finished, _)) = &self.finished {
            signals.push(format!("guest: {:?}", finished.ending).to_lowercase());
            if finished.taint_after & TAINT_DIE != 0 {
                signals.push("kernel: tainted by a death (D)".to_owned());
            } else if newly_hurt(finished) {
                signals.push(format!(
                    "kernel: newly tainted ({:#x})",
                    finished.taint_after
                ));
            }
        }
        signals
    }

    /// Whether anything but the console says that the kernel died.
    fn death_is_confirmed(&self) -> bool {
        let reset = matches!(
            self.shutdown,
            Some(Shutdown::GuestReset | Shutdown::GuestPanic)
        );
        let stalled = matches!(self.called_off, Some(CalledOff::Stalled(_)));
        let hurt = self.finished().is_some_and(newly_hurt);
        self.panicked || reset || stalled || hurt || self.heart_stopped()
    }

    /// Whether the guest has gone silent behind a report: a third of a second
    /// of missing heartbeats would be load, two seconds at the end are not.
    fn heart_stopped(&self) -> bool {
        self.finished.is_none()
            && self.exit.is_none()
            && self.heart_is_watched()
            && self.asked_at - self.last_beat.1 > SILENT_HEART_S
    }

    fn judge_crash(&self, crash: &Crash, last: &Snapshot, signals: &[String]) -> Judgement {
        if self.race_at.is_none() && last.race_start_ns == 0 {
            return broken(format!(
                "the kernel crashed before the race began: {}",
                crash.title
            ));
        }
        if crash.title.contains("Attempted to kill init") {
            return broken(format!("the guest's own init died: {}", crash.title));
        }
        if !self.death_is_confirmed() {
            return broken(format!(
                "the console shows `{}`, and nothing else agrees: {}",
                crash.title,
                if signals.len() > 1 {
                    signals[1..].join("; ")
                } else {
                    "no other signal".to_owned()
                }
            ));
        }
        (Outcome::Crashed, crash.title.clone())
    }

    fn judge_silence(&self, last: &Snapshot, complaint: &str) -> Judgement {
        let raced = self.race_at.is_some() || last.race_start_ns > 0;
        if self.panicked || self.shutdown == Some(Shutdown::GuestPanic) {
            return broken("pvpanic reports a panic, but the console shows none");
        }
        if let Some(finished) = self.finished() {
            if newly_hurt(finished) && self.crashes.is_empty() {
                return broken(format!(
                    "the kernel is newly tainted ({:#x}), but the console shows no report",
                    finished.taint_after
                ));
            }
            return self.judge_word(finished, last);
        }
        if self.shutdown == Some(Shutdown::GuestReset) {
            let when = if raced {
                "in mid-race"
            } else {
                "before the race"
            };
            return broken(format!(
                "the guest reset {when} without a word on the console"
            ));
        }
        match &self.called_off {
            Some(CalledOff::Silent(why) | CalledOff::NoAnswer(why)) => return broken(why.clone()),
            Some(CalledOff::Stalled(why)) if raced => return (Outcome::Hung, why.clone()),
            Some(CalledOff::Stalled(why)) => {
                return broken(format!("before the race: {why}"));
            }
            None => {}
        }
        if self.shutdown == Some(Shutdown::GuestPowerOff) {
            return broken("the guest powered off without a result");
        }
        let status = self.exit.as_deref().unwrap_or("gone");
        let complaint = complaint.lines().last().unwrap_or("it said nothing");
        broken(format!("QEMU ended in mid-trial ({status}): {complaint}"))
    }

    /// The guest said how it ended; believe it only where all else agrees.
    fn judge_word(&self, finished: &Finished, last: &Snapshot) -> Judgement {
        if finished.ending == Ending::Survived && self.shutdown == Some(Shutdown::GuestReset) {
            return broken("the guest says that it survived, but it reset instead of powering off");
        }
        judge_word(finished, last, self.budgets.duration_s)
    }
}
