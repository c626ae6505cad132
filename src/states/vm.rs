//! The states experiment in disposable guests: boots one, listens until it has
//! ended, and hands on what it said and what its console shows. A guest that dies
//! before it is done is watched and judged as a trial's guest is.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::heard::{Heard, LIFE_S, LINGER, Readers, TURN, at_sysrq, budgets, died_of_sysrq, tail};
use crate::crash;
use crate::judge::Conclusion;
use crate::model::{
    Crash, Environment, Held, Observed, Outcome, Settings, StateCheck, StateSource, TrialPhase,
};
use crate::recorder::Go;
use crate::trial::{MOST_BOOTS, Step, Watch};
use crate::vm::contents::{self, PackError};
use crate::vm::protocol::{Task, TrialPlan};
use crate::vm::{Qemu, Template, VmError, VmEvent, VmSpec};

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
    template: OnceCell<Option<Saved>>,
}

/// A guest that was saved before its first task, and what it has said.
#[derive(Debug)]
struct Saved {
    template: Template,
    console: Vec<u8>,
    agent: Vec<u8>,
}

impl<'a> StatesVm<'a> {
    /// None is booted yet.
    pub fn new(
        qemu: &'a Qemu,
        spec: &'a VmSpec,
        base: &'a [u8],
        settings: &'a Settings,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            qemu,
            spec,
            base,
            settings,
            logs: None,
            stop,
            template: OnceCell::new(),
        }
    }
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
        let mut heard = Heard::new(self.spec.accel);
        let mut readers = Readers::default();
        let mut vm = if let Some(saved) = self.template.get_or_init(|| self.save()) {
            let go = Go {
                seed: 0,
                duration: Duration::from_secs_f64(LIFE_S),
                task: task.to_word(),
            };
            heard.hear(VmEvent::Console(saved.console.clone()), &mut readers);
            heard.hear(VmEvent::Agent(saved.agent.clone()), &mut readers);
            saved.template.start(|page| page.go(go))?
        } else {
            let plan = self.plan(task, false)?;
            self.qemu.boot(self.spec, &[self.base, &plan])?
        };
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(StatesError::Interrupted);
            }
            heard.next(&vm, &mut readers);
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
        // What was still on its way when the machine ended, on any channel.
        let deadline = Instant::now() + LINGER;
        while let Some(event) = vm.last_events(deadline) {
            heard.hear(event, &mut readers);
        }
        self.keep(task, &heard.console)?;
        let watch = std::mem::replace(&mut heard.watch, Watch::new(budgets(self.spec.accel)));
        let conclusion = watch.conclude(&vm.recorder().snapshot(), &vm.complaint());
        Ok((heard, conclusion))
    }

    fn plan(&self, task: Task, hold: bool) -> Result<Vec<u8>, PackError> {
        contents::plan(&TrialPlan {
            settings: self.settings.clone(),
            seed: 0,
            probe: false,
            hold,
            task,
        })
    }

    /// Boots one guest for all tasks and saves it before the first. None where
    /// that cannot be done: then each task gets a boot of its own, and says
    /// itself what is wrong with it.
    fn save(&self) -> Option<Saved> {
        if self.settings.start.is_boot() {
            return None;
        }
        let plan = self.plan(Task::States, true).ok()?;
        let initramfs: [&[u8]; 2] = [self.base, &plan];
        let mut machine = self.qemu.boot_to_save(self.spec, &initramfs).ok()?;
        let mut heard = Heard::new(self.spec.accel);
        let (mut readers, mut agent) = (Readers::default(), Vec::new());
        let mut hear = |heard: &mut Heard, event: VmEvent| {
            if let VmEvent::Agent(bytes) = &event {
                agent.extend_from_slice(bytes);
            }
            heard.hear(event, &mut readers);
        };
        while !(heard.watch.is_at_gate() && machine.vm.recorder().is_held()) {
            let ended = machine.vm.exited().is_some() || heard.watch.lacks_recorder();
            let over = self.stop.load(Ordering::Relaxed) || heard.now() > LIFE_S;
            if ended || over {
                return None;
            }
            if let Some(event) = machine.vm.next_event(TURN) {
                hear(&mut heard, event);
            }
        }
        let template = machine.save(&mut |event| hear(&mut heard, event)).ok()?;
        Some(Saved {
            template,
            console: heard.console,
            agent,
        })
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
