//! The judge of one trial. It is fed everything that comes out of a machine,
//! with the host's time, and decides when to end it and what it meant. It
//! touches nothing itself, so that every case can be told to it in a test.
//!
//! A crash needs two independent signals that agree: a report on the console,
//! and one of: pvpanic, the machine's reset, a heart that stopped, the kernel's
//! own taint. Surviving needs the guest's word, its clean end, a silent console
//! and counts that agree. What disagrees is broken.

pub(super) mod judge;
mod stall;
#[cfg(test)]
mod tests;

use super::race_clock::RaceClock;
use crate::crash::{ScanEvent, Scanner, Sign};
use crate::model::{Crash, Environment, Outcome};
use crate::recorder::{Phase, Snapshot};
use crate::vm::protocol::{Finished, GuestMessage, MessageReader, Racing};
use crate::vm::{QmpEvent, RunState, Shutdown};

/// How long a machine may take, on the host's clock, seconds.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// From power-on to the guest's first word.
    pub boot_s: f64,
    /// From there to the start of the race.
    pub setup_s: f64,
    /// The race.
    pub duration_s: f64,
    /// Without a heartbeat, or without a load or an unload that came back.
    pub stall_s: f64,
    /// From the end of the race to the guest's last word.
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

/// What a trial came to.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub reason: String,
    /// The crash that ended it.
    pub crash: Option<Crash>,
    /// Time raced, seconds.
    pub exposure_s: f64,
    /// For a crash: time from the start of the race, seconds.
    pub time_to_crash_s: Option<f64>,
    /// Chaos techniques at work.
    pub chaos: Vec<String>,
    /// The signals that the outcome rests on.
    pub signals: Vec<String>,
    /// Things worth knowing.
    pub notes: Vec<String>,
}

/// Why the watch called the machine off.
#[derive(Clone, Debug, PartialEq)]
enum CalledOff {
    /// It never spoke, or the set-up took too long.
    Silent(String),
    /// No progress while the CPUs ran.
    Stalled(String),
    /// QEMU itself does not answer, or stopped the CPUs.
    NoAnswer(String),
}

/// A suspicion of a stall, until QEMU has answered.
#[derive(Clone, Debug)]
struct Suspicion {
    why: String,
    asked_at: f64,
}

/// The judge.
#[derive(Debug)]
pub struct Watch {
    budgets: Budgets,
    scanner: Scanner,
    agent: MessageReader,
    agent_on_console: MessageReader,
    clock: RaceClock,
    console_bytes: u64,
    console_closed: bool,
    signs: Vec<(Sign, f64)>,
    crashes: Vec<Crash>,
    panicked: bool,
    shutdown: Option<Shutdown>,
    exit: Option<String>,
    environment: Option<Environment>,
    recorder_in_guest: bool,
    taints: Option<String>,
    racing: Option<Racing>,
    finished: Option<(Finished, f64)>,
    hello_at: Option<f64>,
    race_at: Option<f64>,
    last_beat: (u64, f64),
    last_cycle: (u64, f64),
    last_seen: Option<Snapshot>,
    suspicion: Option<Suspicion>,
    called_off: Option<CalledOff>,
    /// When `next` was last asked.
    asked_at: f64,
}

impl Watch {
    /// A judge for one trial.
    pub fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            scanner: Scanner::new(),
            agent: MessageReader::default(),
            agent_on_console: MessageReader::default(),
            clock: RaceClock::default(),
            console_bytes: 0,
            console_closed: false,
            signs: Vec::new(),
            crashes: Vec::new(),
            panicked: false,
            shutdown: None,
            exit: None,
            environment: None,
            recorder_in_guest: false,
            taints: None,
            racing: None,
            finished: None,
            hello_at: None,
            race_at: None,
            last_beat: (0, 0.0),
            last_cycle: (0, 0.0),
            last_seen: None,
            suspicion: None,
            called_off: None,
            asked_at: 0.0,
        }
    }

    /// What the guest said of the machine it runs on.
    pub fn environment(&self) -> Option<&Environment> {
        self.environment.as_ref()
    }

    /// Taint letters of the loaded module.
    pub fn taints(&self) -> Option<&str> {
        self.taints.as_deref()
    }

    /// What was at work when the gate opened.
    pub fn racing(&self) -> Option<&Racing> {
        self.racing.as_ref()
    }

    /// What the guest said at the end.
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref().map(|(finished, _)| finished)
    }

    /// The last counts seen: the page's, or the guest's own where it has none.
    pub fn last_seen(&self) -> Option<&Snapshot> {
        self.last_seen.as_ref()
    }

    /// Bytes of the serial console.
    pub fn on_console(&mut self, bytes: &[u8], now: f64) {
        self.console_bytes += bytes.len() as u64;
        self.clock.feed(bytes);
        for event in self.scanner.feed(bytes) {
            self.on_scan(event, now);
        }
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
            QmpEvent::GuestPanicked => self.panicked = true,
            QmpEvent::Shutdown(reason) => self.shutdown = Some(*reason),
            QmpEvent::Status(state) => {
                if let Some(suspicion) = self.suspicion.take() {
                    self.called_off = Some(match state {
                        RunState::Running => CalledOff::Stalled(suspicion.why),
                        RunState::Stopped => CalledOff::NoAnswer(format!(
                            "{}, and QEMU says that it has stopped the CPUs",
                            suspicion.why
                        )),
                    });
                }
            }
            QmpEvent::Greeting(_) | QmpEvent::CpuThreads(_) | QmpEvent::Other => {}
        }
    }

    /// QEMU ended, with this status.
    pub fn on_exit(&mut self, status: String) {
        self.exit.get_or_insert(status);
    }

    /// What the flight recorder says.
    pub fn on_snapshot(&mut self, seen: Snapshot, now: f64) {
        if !seen.present {
            return;
        }
        if seen.phase >= Phase::Race {
            self.race_at.get_or_insert(now);
        }
        self.progress(seen.heartbeat, seen.cycles, now);
        self.last_seen = Some(seen);
    }

    fn on_scan(&mut self, event: ScanEvent, now: f64) {
        match event {
            ScanEvent::Sign(sign) => self.signs.push((sign, now)),
            ScanEvent::Crash(crash) => self.crashes.push(*crash),
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
                self.hello_at.get_or_insert(now);
                self.last_beat.1 = now;
            }
            GuestMessage::Module { taints } => self.taints = Some(taints),
            GuestMessage::Racing(racing) => {
                self.racing = Some(racing);
                // The flight recorder knows when the gate opened.
                if !self.recorder_in_guest {
                    self.race_at.get_or_insert(now);
                }
            }
            GuestMessage::Tick(tick) => {
                if tick.race_start_ns > 0 {
                    self.race_at.get_or_insert(now);
                }
                self.progress(tick.now_ns, tick.cycles, now);
                self.last_seen = Some(Snapshot {
                    aims: Vec::new(),
                    present: false,
                    phase: if tick.race_start_ns > 0 {
                        Phase::Race
                    } else {
                        Phase::Setup
                    },
                    heartbeat: tick.now_ns,
                    heartbeat_ns: tick.now_ns,
                    race_start_ns: tick.race_start_ns,
                    race_end_ns: 0,
                    cycles: tick.cycles,
                    reads: tick.reads,
                    counters: tick.counters,
                    stages: Vec::new(),
                });
            }
            // Not of a race.
            GuestMessage::State(_) | GuestMessage::Held | GuestMessage::StatesEnded { .. } => {}
            GuestMessage::Finished(finished) => self.finished = Some((*finished, now)),
        }
    }

    fn progress(&mut self, heartbeat: u64, cycles: u64, now: f64) {
        if heartbeat != self.last_beat.0 {
            self.last_beat = (heartbeat, now);
        }
        if cycles != self.last_cycle.0 {
            self.last_cycle = (cycles, now);
        }
    }
}
