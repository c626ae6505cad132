//! The states experiment in disposable guests: boots one, listens until it has
//! ended, and hands on what it said and what its console shows. A guest that dies
//! before it is done is watched and judged as a trial's guest is.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::crash;
use crate::model::{
    Accel, Crash, Environment, Held, Observed, Outcome, Settings, StateCheck, StateSource,
    TrialPhase,
};
use crate::trial::{Budgets, Conclusion, MOST_BOOTS, Step, Watch};
use crate::vm::contents::{self, PackError};
use crate::vm::protocol::{GuestMessage, MessageReader, Task, TrialPlan};
use crate::vm::{Qemu, Vm, VmError, VmEvent, VmSpec};

/// Longest life of such a guest, on the host's clock, seconds. Generous: a loaded host
/// is no hang.
const LIFE_S: f64 = 300.0;
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
    /// The kernel died, or did not get on.
    #[error("{doing}: {}", .conclusion.reason)]
    Kernel {
        /// What the guest was to do.
        doing: String,
        /// What it came to.
        conclusion: Box<Conclusion>,
    },
    /// The guest ended before it was done, and nothing says that the kernel is
    /// at fault.
    #[error(
        "the guest ended before it was done ({doing}): {reason}; its console's last lines: {console}"
    )]
    Silent {
        /// What it was to do.
        doing: String,
        /// What is known of it.
        reason: String,
        /// The end of its console.
        console: String,
    },
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
    Nothing,
}

/// All that came out of one guest.
#[derive(Debug)]
struct Heard {
    watch: Watch,
    start: Instant,
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
        let doing = "looking at the module's states";
        let (heard, conclusion) = self.boot(Task::States)?;
        if let Some(reason) = heard.failed {
            return Err(StatesError::Guest(reason));
        }
        match heard.environment.filter(|_| heard.ended) {
            Some(environment) => Ok((environment, heard.states)),
            None => Err(died(doing.to_owned(), conclusion, &heard.console)),
        }
    }

    /// What the kernel itself reports on its console when it is crashed by
    /// sysrq-c while the module is held.
    pub fn crash_in(&self, held: Held) -> Result<Vec<Crash>, StatesError> {
        let (heard, conclusion) = self.boot(Task::CrashIn(held))?;
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
        Err(died(doing, conclusion, &heard.console))
    }

    /// Boots a guest for a task, and again where it died in boot: an emulator can
    /// be the cause.
    fn boot(&self, task: Task) -> Result<(Heard, Conclusion), StatesError> {
        let mut boots = 1;
        loop {
            let ended = self.boot_once(task)?;
            if boots == MOST_BOOTS || ended.1.phase != TrialPhase::Boot {
                return Ok(ended);
            }
            boots += 1;
        }
    }

    fn boot_once(&self, task: Task) -> Result<(Heard, Conclusion), StatesError> {
        let plan = contents::plan(&TrialPlan {
            settings: self.settings.clone(),
            seed: 0,
            probe: false,
            task,
        })?;
        let mut vm = self.qemu.boot(self.spec, &[self.base, &plan])?;
        let mut heard = Heard::new(self.spec.accel);
        let (mut agent, mut on_console) = (MessageReader::default(), MessageReader::default());
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(StatesError::Interrupted);
            }
            heard.next(&vm, &mut agent, &mut on_console);
            let now = heard.now();
            heard.watch.on_snapshot(vm.recorder().snapshot(), now);
            if let Some(status) = vm.exited() {
                heard.watch.on_exit(status.to_string());
            }
            match heard.watch.next(now) {
                Step::Wait if heard.lingered() => break,
                Step::Wait => {}
                // No answer is an answer too; the watch waits for it.
                Step::AskStatus => drop(vm.query_status()),
                Step::End => break,
            }
        }
        vm.kill();
        // What was still on its way when the machine ended, on either channel.
        while heard.next(&vm, &mut agent, &mut on_console) != Next::Nothing {}
        self.keep(task, &heard.console)?;
        let watch = std::mem::replace(&mut heard.watch, Watch::new(budgets(self.spec.accel)));
        let conclusion = watch.conclude(&vm.recorder().snapshot(), &vm.complaint());
        Ok((heard, conclusion))
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
    fn new(accel: Accel) -> Self {
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
    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Hears the next event, if there is one soon.
    fn next(&mut self, vm: &Vm, agent: &mut MessageReader, on_console: &mut MessageReader) -> Next {
        let Some(event) = vm.next_event(TURN) else {
            return Next::Nothing;
        };
        let now = self.now();
        let messages = match event {
            VmEvent::Console(bytes) => {
                self.watch.on_console(&bytes, now);
                self.console.extend_from_slice(&bytes);
                if self.crashed_at.is_none() && died_of_sysrq(&self.console) {
                    self.crashed_at = Some(Instant::now());
                }
                on_console.feed_console(&bytes)
            }
            VmEvent::Agent(bytes) => {
                self.watch.on_agent(&bytes, now);
                agent.feed(&bytes)
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

/// How long such a guest may take, seconds on the host's clock. Its set-up is all
/// that it does.
fn budgets(accel: Accel) -> Budgets {
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

/// Why a guest ended before it was done.
fn died(doing: String, conclusion: Conclusion, console: &[u8]) -> StatesError {
    match conclusion.outcome {
        Outcome::Crashed | Outcome::Hung => StatesError::Kernel {
            doing,
            conclusion: Box::new(conclusion),
        },
        _ => StatesError::Silent {
            doing,
            reason: conclusion.reason,
            console: tail(console),
        },
    }
}

/// A kernel that died while the module was held in a state fails the check of it;
/// any other error is handed back.
pub fn check_died(held: Held, error: StatesError) -> Result<StateCheck, StatesError> {
    let StatesError::Kernel { doing, conclusion } = &error else {
        return Err(error);
    };
    let crash = conclusion.crash.as_ref();
    Ok(StateCheck {
        held,
        source: StateSource::Console,
        what: format!("the kernel ({doing})"),
        expected: "in order".to_owned(),
        seen: format!(
            "{}: {}",
            conclusion.outcome.as_str(),
            crash.map_or(&*conclusion.reason, |crash| &*crash.title)
        ),
        line: crash.map(|crash| crash.matched_line().to_owned()),
        ok: false,
    })
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
