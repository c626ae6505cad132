//! When a watched machine is ended: it is done, its crash has been reported, or
//! it stands still and QEMU has been asked whether its CPUs run. What that means
//! is for `judge`.

use super::{CalledOff, Step, Suspicion, Watch};
use crate::crash::Sign;
use crate::model::Severity;
use crate::recorder::Phase;

impl Watch {
    /// What to do now.
    pub fn next(&mut self, now: f64) -> Step {
        self.asked_at = now;
        if self.exit.is_some() && self.console_closed || self.called_off.is_some() {
            return Step::End;
        }
        if self
            .signs
            .iter()
            .any(|(sign, at)| is_fatal(sign) && now - at > self.budgets.linger_s)
        {
            return Step::End;
        }
        if let Some((_, at)) = &self.finished {
            // QEMU leaves by itself once the guest has powered off.
            return if now - at > self.budgets.answer_s {
                Step::End
            } else {
                Step::Wait
            };
        }
        if let Some(suspicion) = &self.suspicion {
            if now - suspicion.asked_at > self.budgets.answer_s {
                let why = format!("{}, and QEMU does not answer", suspicion.why);
                self.called_off = Some(CalledOff::NoAnswer(why));
                return Step::End;
            }
            return Step::Wait;
        }
        // A crash is being reported: a heart that stops now is part of it.
        if self.signs.iter().any(|(sign, _)| is_fatal(sign)) {
            return Step::Wait;
        }
        match self.suspect(now) {
            Some(why) => {
                self.suspicion = Some(Suspicion { why, asked_at: now });
                Step::AskStatus
            }
            None if self.called_off.is_some() => Step::End,
            None => Step::Wait,
        }
    }

    /// Looks for a stall; calls the machine off where nothing ever came.
    fn suspect(&mut self, now: f64) -> Option<String> {
        let budgets = self.budgets;
        let Some(hello_at) = self.hello_at else {
            if now > budgets.boot_s {
                self.called_off = Some(CalledOff::Silent(self.silence(now)));
            }
            return None;
        };
        let silent = if self.heart_is_watched() {
            now - self.last_beat.1
        } else {
            0.0
        };
        let no_heartbeat = || format!("no heartbeat for {silent:.0} s");
        if silent > budgets.stall_s {
            return Some(no_heartbeat());
        }
        let Some(race_at) = self.race_at else {
            if now - hello_at > budgets.setup_s {
                let why = format!(
                    "the module could not be made ready in {:.0} s",
                    now - hello_at
                );
                return Some(why);
            }
            return None;
        };
        let racing = self
            .last_seen
            .as_ref()
            .is_none_or(|seen| seen.phase == Phase::Race);
        let since_cycle = now - self.last_cycle.1.max(race_at);
        if racing && since_cycle > budgets.stall_s {
            // A heart that stopped a moment after the last cycle is the cause.
            if silent > budgets.stall_s / 2.0 {
                return Some(no_heartbeat());
            }
            return Some(format!(
                "no load/unload cycle came back for {since_cycle:.0} s{}",
                self.stages()
            ));
        }
        let over = now - race_at - budgets.duration_s;
        if over > budgets.settle_s {
            return Some(format!(
                "the race did not end {over:.0} s after its time{}",
                self.stages()
            ));
        }
        None
    }

    pub(super) fn heart_is_watched(&self) -> bool {
        self.recorder_in_guest || self.race_at.is_some()
    }

    /// What the workers are doing, for a hang's reason.
    fn stages(&self) -> String {
        let Some(seen) = &self.last_seen else {
            return String::new();
        };
        let doing: Vec<&str> = seen.stages.iter().map(|stage| stage.as_str()).collect();
        if doing.is_empty() {
            String::new()
        } else {
            format!(" (workers: {})", doing.join(", "))
        }
    }

    fn silence(&self, now: f64) -> String {
        if self.console_bytes == 0 {
            format!(
                "the kernel printed nothing in {now:.0} s: is it a kernel for this machine, with a serial console?"
            )
        } else {
            format!(
                "the guest's init did not speak within {now:.0} s; the console tells how far it came"
            )
        }
    }
}

/// Whether the guest is not expected to go on. One that a lesser report hurt
/// goes on, and its taint at the end confirms the report.
fn is_fatal(sign: &Sign) -> bool {
    sign.ends_trial && sign.severity == Severity::Fatal
}
