//! The states experiment in disposable guests: boots one, listens until it has
//! ended, and hands on what it said and what its console shows. Judges nothing
//! of the kernel; says why where nothing could be seen.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::crash;
use crate::model::{Crash, Environment, Held, Observed, Settings};
use crate::vm::contents::{self, PackError};
use crate::vm::protocol::{GuestMessage, MessageReader, Task, TrialPlan};
use crate::vm::{Qemu, Vm, VmError, VmEvent, VmSpec};

/// Longest life of such a guest, on the host's clock. Generous: a loaded host
/// is no hang.
const LIFE: Duration = Duration::from_secs(300);
/// From the kernel's crash to the end of the machine, where it does not reset.
const LINGER: Duration = Duration::from_secs(20);
const TURN: Duration = Duration::from_millis(20);
/// Lines of the console that an error quotes.
const QUOTED: usize = 4;

/// Why a guest showed nothing.
#[derive(Debug, Error)]
pub enum StatesError {
    /// The plan could not be packed.
    #[error("packing the plan")]
    Pack(#[from] PackError),
    /// The machine did not start.
    #[error("starting a guest")]
    Vm(#[from] VmError),
    /// The guest could not do its part.
    #[error("the guest: {0}")]
    Guest(String),
    /// The guest ended without a word.
    #[error("the guest ended before it was done ({doing}); its console's last lines: {console}")]
    Silent {
        /// What it was to do.
        doing: String,
        /// The end of its console.
        console: String,
    },
    /// It did not end.
    #[error("the guest was not done after {0:?} ({1}); its console's last lines: {2}")]
    TooLong(Duration, String, String),
    /// A console could not be kept.
    #[error("writing {}", .path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Told to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Boots guests that look at the module's states.
#[derive(Debug)]
pub struct StatesVm<'a> {
    /// QEMU.
    pub qemu: &'a Qemu,
    /// The machine.
    pub spec: &'a VmSpec,
    /// The initramfs without a plan.
    pub base: &'a [u8],
    /// Settings of the machine.
    pub settings: &'a Settings,
    /// Where the consoles are kept.
    pub logs: Option<PathBuf>,
    /// Set by signals.
    pub stop: &'a AtomicBool,
}

/// What came out of a guest next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Something,
    /// The console's last byte was read.
    Closed,
    Nothing,
}

/// All that came out of one guest.
#[derive(Debug, Default)]
struct Heard {
    console: Vec<u8>,
    environment: Option<Environment>,
    states: Vec<Observed>,
    held: bool,
    ended: bool,
    failed: Option<String>,
    crashed_at: Option<Instant>,
}

impl StatesVm<'_> {
    /// What `/proc/modules` and sysfs show in every state, and where.
    pub fn observe(&self) -> Result<(Environment, Vec<Observed>), StatesError> {
        let heard = self.boot(Task::States)?;
        if let Some(reason) = heard.failed {
            return Err(StatesError::Guest(reason));
        }
        match heard.environment.filter(|_| heard.ended) {
            Some(environment) => Ok((environment, heard.states)),
            None => Err(silent("looking at the module's states", &heard.console)),
        }
    }

    /// What the kernel itself reports on its console when it is crashed by
    /// sysrq-c while the module is held.
    pub fn crash_in(&self, held: Held) -> Result<Vec<Crash>, StatesError> {
        let heard = self.boot(Task::CrashIn(held))?;
        if let Some(reason) = heard.failed {
            return Err(StatesError::Guest(reason));
        }
        if heard.held && died_of_sysrq(&heard.console) {
            // In one piece, the crash would count as a follow-on of the warning.
            let (before, after) = at_sysrq(&heard.console);
            let mut reports = crash::scan(before);
            reports.extend(crash::scan(after));
            return Ok(reports);
        }
        let doing = format!("sysrq-c while the module is {}", held.as_str());
        Err(silent(&doing, &heard.console))
    }

    fn boot(&self, task: Task) -> Result<Heard, StatesError> {
        let plan = contents::plan(&TrialPlan {
            settings: self.settings.clone(),
            seed: 0,
            probe: false,
            task,
        })?;
        let mut vm = self.qemu.boot(self.spec, &[self.base, &plan])?;
        let mut heard = Heard::default();
        let (mut agent, mut on_console) = (MessageReader::default(), MessageReader::default());
        let deadline = Instant::now() + LIFE;
        let mut closed = false;
        while !(closed && vm.exited().is_some()) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(StatesError::Interrupted);
            }
            if Instant::now() > deadline {
                let doing = format!("{task:?}");
                return Err(StatesError::TooLong(LIFE, doing, tail(&heard.console)));
            }
            if heard.lingered() {
                break;
            }
            closed |= heard.next(&vm, &mut agent, &mut on_console) == Next::Closed;
        }
        vm.kill();
        // What was still on its way when the machine ended, on either channel.
        while heard.next(&vm, &mut agent, &mut on_console) != Next::Nothing {}
        self.keep(task, &heard.console)?;
        Ok(heard)
    }

    fn keep(&self, task: Task, console: &[u8]) -> Result<(), StatesError> {
        let Some(logs) = &self.logs else {
            return Ok(());
        };
        let name = match task {
            Task::CrashIn(held) => held.as_str().replace([' ', ','], "-"),
            Task::Race | Task::LockStep | Task::States => "states".to_owned(),
        };
        let path = logs.join(format!("{name}.console.log"));
        fs::create_dir_all(logs)
            .and_then(|()| fs::write(&path, console))
            .map_err(|source| StatesError::Log { path, source })
    }
}

impl Heard {
    /// Hears the next event, if there is one soon.
    fn next(&mut self, vm: &Vm, agent: &mut MessageReader, on_console: &mut MessageReader) -> Next {
        let messages = match vm.next_event(TURN) {
            Some(VmEvent::Console(bytes)) => {
                self.console.extend_from_slice(&bytes);
                if self.crashed_at.is_none() && died_of_sysrq(&self.console) {
                    self.crashed_at = Some(Instant::now());
                }
                on_console.feed_console(&bytes)
            }
            Some(VmEvent::Agent(bytes)) => agent.feed(&bytes),
            Some(VmEvent::ConsoleClosed) => return Next::Closed,
            Some(VmEvent::Qmp(_)) => Vec::new(),
            None => return Next::Nothing,
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
        Next::Something
    }

    fn lingered(&self) -> bool {
        self.crashed_at.is_some_and(|at| at.elapsed() > LINGER)
    }
}

/// Whether the kernel died of sysrq-c. Up to 4.20 that was a NULL dereference in
/// `sysrq_handle_crash()`; since 5.0 it is a panic, which prints no list.
fn died_of_sysrq(console: &[u8]) -> bool {
    ["sysrq triggered crash", "sysrq_handle_crash"]
        .iter()
        .any(|sign| memchr::memmem::find(console, sign.as_bytes()).is_some())
}

/// Cuts a console where `__handle_sysrq()` says what it is about to do.
fn at_sysrq(console: &[u8]) -> (&[u8], &[u8]) {
    let said = memchr::memmem::find(console, b"Trigger a crash").unwrap_or(console.len());
    let line = memchr::memrchr(b'\n', &console[..said]).map_or(0, |end| end + 1);
    console.split_at(line)
}

fn silent(doing: &str, console: &[u8]) -> StatesError {
    StatesError::Silent {
        doing: doing.to_owned(),
        console: tail(console),
    }
}

/// The last lines of a console, in one.
fn tail(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(QUOTED)..].join(" | ")
}
