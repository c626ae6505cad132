//! All that comes out of one guest of the states experiment: fed to its watch,
//! and kept for who asked.

use std::time::{Duration, Instant};

use crate::model::{Accel, Environment, Observed};
use crate::trial::{Budgets, Watch};
use crate::vm::protocol::{GuestMessage, MessageReader};
use crate::vm::{Vm, VmEvent};

/// Longest life of such a guest, on the host's clock, seconds. Generous: a loaded host
/// is no hang.
pub(super) const LIFE_S: f64 = 300.0;
/// From the kernel's crash to the end of the machine, where it does not reset.
pub(super) const LINGER: Duration = Duration::from_secs(20);
pub(super) const TURN: Duration = Duration::from_millis(20);
/// Lines of the console that an error quotes.
const QUOTED: usize = 4;

/// Cut what a guest says into messages, on either channel.
#[derive(Default)]
pub(super) struct Readers {
    agent: MessageReader,
    on_console: MessageReader,
}

/// All that came out of one guest.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) watch: Watch,
    pub(super) start: Instant,
    pub(super) console: Vec<u8>,
    pub(super) environment: Option<Environment>,
    pub(super) states: Vec<Observed>,
    pub(super) held: bool,
    pub(super) ended: bool,
    pub(super) failed: Option<String>,
    pub(super) crashed_at: Option<Instant>,
}

impl Heard {
    pub(super) fn new(accel: Accel) -> Self {
        Self {
            watch: Watch::new(budgets(accel)),
            start: Instant::now(),
            console: Vec::new(),
            environment: None,
            states: Vec::new(),
            held: false,
            ended: false,
            failed: None,
            crashed_at: None,
        }
    }

    /// Time since the guest was started, seconds.
    pub(super) fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Hears the next event, if there is one soon.
    pub(super) fn next(&mut self, vm: &Vm, readers: &mut Readers) {
        if let Some(event) = vm.next_event(TURN) {
            self.hear(event, readers);
        }
    }

    pub(super) fn hear(&mut self, event: VmEvent, readers: &mut Readers) {
        let now = self.now();
        let messages = match event {
            VmEvent::Console(bytes) => {
                self.watch.on_console(&bytes, now);
                self.console.extend_from_slice(&bytes);
                if self.crashed_at.is_none() && died_of_sysrq(&self.console) {
                    self.crashed_at = Some(Instant::now());
                }
                readers.on_console.feed_console(&bytes)
            }
            VmEvent::Agent(bytes) => {
                self.watch.on_agent(&bytes, now);
                readers.agent.feed(&bytes)
            }
            VmEvent::ConsoleClosed => {
                self.watch.on_console_closed();
                Vec::new()
            }
            VmEvent::Qmp(event) => {
                self.watch.on_qmp(&event);
                Vec::new()
            }
        };
        for message in messages {
            match message {
                GuestMessage::Hello { environment, .. } => self.environment = Some(*environment),
                GuestMessage::State(seen) => self.states.push(*seen),
                GuestMessage::Held => self.held = true,
                GuestMessage::StatesEnded { failed } => {
                    self.ended = true;
                    self.failed = failed;
                }
                _ => {}
            }
        }
    }

    pub(super) fn lingered(&self) -> bool {
        self.crashed_at.is_some_and(|at| at.elapsed() > LINGER)
    }
}

/// Whether the kernel died of sysrq-c. Up to 4.20 that was a NULL dereference in
/// `sysrq_handle_crash()`; since 5.0 it is a panic, which prints no list.
pub(super) fn died_of_sysrq(console: &[u8]) -> bool {
    ["sysrq triggered crash", "sysrq_handle_crash"]
        .iter()
        .any(|sign| memchr::memmem::find(console, sign.as_bytes()).is_some())
}

/// Cuts a console where `__handle_sysrq()` says what it is about to do.
pub(super) fn at_sysrq(console: &[u8]) -> (&[u8], &[u8]) {
    let said = memchr::memmem::find(console, b"Trigger a crash").unwrap_or(console.len());
    let line = memchr::memrchr(b'\n', &console[..said]).map_or(0, |end| end + 1);
    console.split_at(line)
}

/// How long such a guest may take, seconds on the host's clock. Its set-up is all
/// that it does.
pub(super) fn budgets(accel: Accel) -> Budgets {
    Budgets {
        accel,
        boot_s: LIFE_S / 2.0,
        setup_s: LIFE_S,
        duration_s: LIFE_S,
        // It holds a module for as long as this, and longer.
        stall_s: LIFE_S,
        settle_s: LIFE_S,
        linger_s: LINGER.as_secs_f64(),
        answer_s: 5.0,
    }
}

/// The last lines of a console, in one.
pub(super) fn tail(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(QUOTED)..].join(" | ")
}
