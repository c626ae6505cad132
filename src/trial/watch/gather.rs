//! What was seen of a guest, as the evidence that is judged.

use super::{GivenUp, SILENT_HEARTBEAT_S, Watch};
use crate::judge::evidence::{DeathSign, Evidence, Taint};
use crate::model::TrialPhase;
use crate::recorder::{Phase, Snapshot};
use crate::vm::Shutdown;

impl Watch {
    pub(super) fn evidence(&mut self, last: &Snapshot, complaint: &str) -> Evidence {
        let last = if last.present {
            last.clone()
        } else {
            self.counts_without_recorder(last)
        };
        let raced = self.stall.has_raced() || last.race_start_ns > 0;
        let finished = self.finished.take().map(|(finished, _)| finished);
        let deaths = self.deaths(finished.is_some());
        Evidence {
            reports: self.log.finish(raced),
            deaths,
            taint: finished.as_ref().map(|finished| Taint {
                before: finished.taint_before,
                after: finished.taint_after,
            }),
            went_on: self.fatal_at.is_some_and(|at| {
                self.asked_at - self.stall.silent_s(self.asked_at) - at > SILENT_HEARTBEAT_S
            }),
            phase: self.phase(raced, &last),
            powered_off: self.shutdown == Some(Shutdown::GuestPowerOff),
            trouble: self.trouble(complaint),
            finished,
            ..Evidence::new("console", self.budgets.accel, self.budgets.duration_s, last)
        }
    }

    /// Without a page, the guest's own result has the counts.
    fn counts_without_recorder(&self, empty: &Snapshot) -> Snapshot {
        let mut seen = self.last_seen().unwrap_or(empty).clone();
        if let Some((finished, _)) = &self.finished {
            seen.cycles = finished.cycles;
            seen.reads = finished.reads;
            seen.counters = finished.counters.clone();
            seen.phase = Phase::Done;
        }
        seen
    }

    fn phase(&self, raced: bool, last: &Snapshot) -> TrialPhase {
        match last.phase {
            Phase::Settle | Phase::Done if raced => TrialPhase::Settle,
            _ if raced => TrialPhase::Race,
            _ if self.stall.has_spoken() || last.phase >= Phase::Setup => TrialPhase::Setup,
            _ => TrialPhase::Boot,
        }
    }

    /// What says that the kernel is dead, apart from its log.
    fn deaths(&self, finished: bool) -> Vec<DeathSign> {
        let mut deaths = Vec::new();
        if self.panicked_at.is_some() {
            deaths.push(DeathSign::Pvpanic);
        }
        match self.shutdown {
            Some(Shutdown::GuestReset) => deaths.push(DeathSign::Reset),
            Some(Shutdown::GuestPanic) => deaths.push(DeathSign::GuestPanic),
            Some(Shutdown::GuestPowerOff | Shutdown::Host) | None => {}
        }
        match &self.given_up {
            Some(GivenUp::Stalled(why)) => deaths.push(DeathSign::Stalled(why.clone())),
            _ if !self.log.blocked().is_empty() => {
                let blocked = format!("blocked: {}", self.log.blocked().join("; "));
                deaths.push(DeathSign::Stalled(blocked));
            }
            _ => {}
        }
        let silent = self.stall.silent_s(self.asked_at) > SILENT_HEARTBEAT_S;
        let running = !finished && self.exit.is_none() && self.heartbeat_is_watched();
        if self.fatal_at.is_some() && running && silent {
            deaths.push(DeathSign::HeartbeatStopped);
        }
        deaths
    }

    /// What ended the trial besides the kernel.
    fn trouble(&self, complaint: &str) -> Option<String> {
        if let Some(GivenUp::Trouble(why)) = &self.given_up {
            return Some(why.clone());
        }
        if self.shutdown == Some(Shutdown::GuestPowerOff) {
            return None;
        }
        let status = self.exit.as_deref().unwrap_or("gone");
        let complaint = complaint.lines().last().unwrap_or("it said nothing");
        Some(format!("QEMU ended in mid-trial ({status}): {complaint}"))
    }
}
