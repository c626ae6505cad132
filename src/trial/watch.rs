//! Watches one guest. It is fed everything that comes out of a machine, with the
//! host's time, decides when to end it, and gathers the evidence that `judge`
//! judges. It touches nothing itself, so that every case can be told to it in a
//! test.

mod gather;
#[cfg(test)]
mod tests;

use crate::judge::conclusion::Conclusion;
use crate::judge::kernel_log::{KernelLog, is_fatal};
use crate::judge::stall_detector::{Stall, StallDetector, StallLimits};
use crate::model::{Accel, Environment, LoadedModule, SILENT_BOOT};
use crate::recorder::Snapshot;
use crate::vm::protocol::{Finished, GuestMessage, MessageReader, Racing};
use crate::vm::{QmpEvent, RunState, Shutdown};

/// Silence of the heartbeat, seconds, that confirms a report: a third of a
/// second would be load.
const SILENT_HEARTBEAT_S: f64 = 2.0;
/// Share of the time for a crash's last words after which a console that is
/// silent since a panic has none.
const QUIET_AFTER_PANIC: f64 = 0.25;

/// How long a machine may take, on the host's clock, seconds.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// What the machine runs on.
    pub accel: Accel,
    /// From power-on to the guest's first message.
    pub boot_s: f64,
    /// From there to the start of the race.
    pub setup_s: f64,
    /// The race.
    pub duration_s: f64,
    /// Without a heartbeat, or without a load or an unload that came back.
    pub stall_s: f64,
    /// From the end of the race to the guest's result.
    pub settle_s: f64,
    /// From a crash's first line to the end of its report.
    pub linger_s: f64,
    /// For QEMU to answer.
    pub answer_s: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on listening.
    Wait,
    /// Ask QEMU whether the CPUs run.
    AskStatus,
    /// End the machine and conclude.
    End,
}

/// Why the machine was given up.
#[derive(Clone, Debug, PartialEq)]
enum GivenUp {
    /// The kernel does not get on while the CPUs run.
    Stalled(String),
    /// Nothing says that the kernel is at fault.
    Trouble(String),
}

/// A suspicion of a stall, until QEMU has answered.
#[derive(Clone, Debug)]
struct Suspicion {
    stall: Stall,
    asked_at: f64,
}

/// Watches one guest.
#[derive(Debug)]
pub struct Watch {
    budgets: Budgets,
    log: KernelLog,
    agent: MessageReader,
    agent_on_console: MessageReader,
    stall: StallDetector,
    console_bytes: u64,
    console_closed: bool,
    /// When the first line of the first fatal report came.
    fatal_at: Option<f64>,
    /// When pvpanic told of a panic.
    panicked_at: Option<f64>,
    /// When the console last said anything.
    heard_at: f64,
    shutdown: Option<Shutdown>,
    exit: Option<String>,
    environment: Option<Environment>,
    recorder_in_guest: bool,
    /// When the guest said that it waits for the word to go.
    at_gate: Option<f64>,
    loaded: Option<LoadedModule>,
    racing: Option<Racing>,
    finished: Option<(Finished, f64)>,
    suspicion: Option<Suspicion>,
    given_up: Option<GivenUp>,
    /// When `next` was last asked.
    asked_at: f64,
}

impl Watch {
    /// A watch for one trial.
    pub fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            log: KernelLog::default(),
            agent: MessageReader::default(),
            agent_on_console: MessageReader::default(),
            stall: StallDetector::new(StallLimits {
                setup_s: budgets.setup_s,
                still_s: budgets.stall_s,
                duration_s: budgets.duration_s,
                settle_s: budgets.settle_s,
            }),
            console_bytes: 0,
            console_closed: false,
            fatal_at: None,
            panicked_at: None,
            heard_at: 0.0,
            shutdown: None,
            exit: None,
            environment: None,
            recorder_in_guest: false,
            at_gate: None,
            loaded: None,
            racing: None,
            finished: None,
            suspicion: None,
            given_up: None,
            asked_at: 0.0,
        }
    }

    /// What the guest said of the machine it runs on.
    pub fn environment(&self) -> Option<&Environment> {
        self.environment.as_ref()
    }

    /// Taint letters of the loaded module.
    pub fn loaded(&self) -> Option<&LoadedModule> {
        self.loaded.as_ref()
    }

    /// What was at work when the gate opened.
    pub fn racing(&self) -> Option<&Racing> {
        self.racing.as_ref()
    }

    /// Whether the guest waits for the word to go.
    pub fn is_at_gate(&self) -> bool {
        self.at_gate.is_some()
    }

    /// Whether the guest has said that it has no flight recorder.
    pub fn lacks_recorder(&self) -> bool {
        self.environment.is_some() && !self.recorder_in_guest
    }

    /// What the guest said at the end.
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref().map(|(finished, _)| finished)
    }

    /// The last counts seen: the page's, or the guest's own where it has none.
    pub fn last_seen(&self) -> Option<&Snapshot> {
        self.stall.last_seen()
    }

    /// Bytes of the serial console.
    pub fn on_console(&mut self, bytes: &[u8], now: f64) {
        self.console_bytes += bytes.len() as u64;
        self.heard_at = now;
        let signs = self.log.feed(bytes, self.stall.has_spoken());
        if signs.iter().any(is_fatal) {
            self.fatal_at.get_or_insert(now);
        }
        self.stall.see_blocked(self.log.blocked(), now);
        for message in self.agent_on_console.feed_console(bytes) {
            self.on_message(message, now);
        }
    }

    /// The console's last byte was read.
    pub fn on_console_closed(&mut self) {
        self.console_closed = true;
    }

    /// Bytes of the agent channel.
    pub fn on_agent(&mut self, bytes: &[u8], now: f64) {
        for message in self.agent.feed(bytes) {
            self.on_message(message, now);
        }
    }

    /// A line of QMP.
    pub fn on_qmp(&mut self, event: &QmpEvent) {
        match event {
            QmpEvent::GuestPanicked => {
                self.panicked_at.get_or_insert(self.asked_at);
            }
            QmpEvent::Shutdown(reason) => self.shutdown = Some(*reason),
            QmpEvent::Status(state) => {
                if let Some(suspicion) = self.suspicion.take() {
                    self.given_up = Some(answered(&suspicion.stall, *state));
                }
            }
            _ => {}
        }
    }

    /// QEMU ended, with this status.
    pub fn on_exit(&mut self, status: String) {
        self.exit.get_or_insert(status);
    }

    /// What the flight recorder says.
    pub fn on_snapshot(&mut self, seen: Snapshot, now: f64) {
        if seen.present {
            self.stall.see(seen, now);
        }
    }

    fn on_message(&mut self, message: GuestMessage, now: f64) {
        match message {
            GuestMessage::Hello {
                environment,
                recorder,
            } => {
                self.environment = Some(*environment);
                self.recorder_in_guest = recorder;
                self.stall.spoke(now);
            }
            GuestMessage::Module(loaded) => self.loaded = Some(loaded),
            GuestMessage::Racing(racing) => {
                self.racing = Some(racing);
                // The flight recorder knows when the gate opened.
                if !self.recorder_in_guest {
                    self.stall.race_began(now);
                }
            }
            GuestMessage::AtGate => self.at_gate = Some(now),
            GuestMessage::Tick(tick) => self.stall.see(tick.into(), now),
            GuestMessage::Finished(finished) => self.finished = Some((*finished, now)),
            // Not of a race.
            _ => {}
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: f64) -> Step {
        self.asked_at = now;
        if self.exit.is_some() && self.console_closed || self.given_up.is_some() {
            return Step::End;
        }
        // The machine is off: all that it said is on its way to us.
        if self.shutdown.is_some_and(|reason| reason != Shutdown::Host) {
            return Step::End;
        }
        // A panicked kernel that does not reset the machine says what it has to
        // say, and then nothing more.
        let over = self.panicked_at.is_some_and(|at| {
            now - at.max(self.heard_at) > self.budgets.linger_s * QUIET_AFTER_PANIC
        });
        let lingers = |at| now - at > self.budgets.linger_s;
        if over || self.fatal_at.is_some_and(lingers) {
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
                let (Stall::Kernel(why) | Stall::Setup(why)) = &suspicion.stall;
                let why = format!("{why}, and QEMU does not answer");
                self.given_up = Some(GivenUp::Trouble(why));
                return Step::End;
            }
            return Step::Wait;
        }
        // A crash is being reported: a heartbeat that stops now is part of it.
        if self.fatal_at.is_some() {
            return Step::Wait;
        }
        if !self.stall.has_spoken() && now > self.budgets.boot_s {
            self.given_up = Some(GivenUp::Trouble(self.silence(now)));
            return Step::End;
        }
        match self.stall.stall(now, self.heartbeat_is_watched()) {
            Some(stall) => {
                self.suspicion = Some(Suspicion {
                    stall,
                    asked_at: now,
                });
                Step::AskStatus
            }
            None => Step::Wait,
        }
    }

    fn heartbeat_is_watched(&self) -> bool {
        self.recorder_in_guest || self.stall.has_raced()
    }

    fn silence(&self, now: f64) -> String {
        if self.console_bytes == 0 {
            format!(
                "{SILENT_BOOT} within {now:.0} s, and the kernel printed nothing: is it a kernel \
                 for this machine, with a serial console? What often helps: --append \
                 earlyprintk=serial to hear more, --smp 1, --mem-mib 512"
            )
        } else {
            format!(
                "{SILENT_BOOT} within {now:.0} s; the console's last line: `{}`. What often \
                 helps: --append with what this kernel needs, --smp 1, --mem-mib 512",
                self.log.last_line()
            )
        }
    }

    /// The outcome. `last` is the flight recorder after the machine's end;
    /// `complaint` is what QEMU itself complained of.
    pub fn conclude(mut self, last: &Snapshot, complaint: &str) -> Conclusion {
        let evidence = self.evidence(last, complaint);
        Conclusion::of(&evidence, &self.log.clock, self.racing.as_ref())
    }
}

/// What a stall means, now that QEMU has said whether the CPUs run.
fn answered(stall: &Stall, state: RunState) -> GivenUp {
    let (Stall::Kernel(why) | Stall::Setup(why)) = stall;
    match (state, stall) {
        (RunState::Stopped, _) => {
            GivenUp::Trouble(format!("{why}, and QEMU says that it has stopped the CPUs"))
        }
        (RunState::Running, Stall::Kernel(why)) => GivenUp::Stalled(why.clone()),
        // A slow host takes as long.
        (RunState::Running, Stall::Setup(why)) => GivenUp::Trouble(why.clone()),
    }
}
