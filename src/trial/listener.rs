//! Listens to one machine: feeds the watch with all that comes out of it, keeps
//! its console, puts its virtual CPUs on host CPUs, and tells how it goes. The
//! same for a guest that boots and for a clone, which begins with what its
//! template has said.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::console_log::Log;
use super::debugger;
use super::virtual_cpus::HostCpuPair;
use super::vmcore::Vmcores;
use super::watch::{Budgets, Step, Watch};
use crate::judge::record;
use crate::model::{Accel, AtPanic, Outcome, Settings, Trial, Vmcore};
use crate::recorder::{Phase, Snapshot};
use crate::vm::at_panic::{self, Names};
use crate::vm::vmcore::Uname;
use crate::vm::{QmpEvent, Vm, VmEvent};

/// Longest wait for an event before the watch is asked again.
const TURN: Duration = Duration::from_millis(20);
/// Time between two progress events.
const PROGRESS: Duration = Duration::from_millis(250);
/// Longest wait for what was on its way when a machine ended.
const DRAIN: Duration = Duration::from_secs(2);

/// Why there is nothing to conclude.
#[derive(Debug)]
pub(super) enum Ended {
    /// Told to stop.
    Interrupted,
    /// A resource of the host was missing.
    Broken(String),
}

impl Ended {
    pub(super) fn broken(error: impl std::error::Error) -> Self {
        Self::Broken(with_causes(&error))
    }

    pub(super) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::Broken(format!("writing {}: {error}", path.display()))
    }
}

/// An error with its causes, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why listening ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The watch has seen enough.
    Enough,
    /// The guest waits at the gate for the word to go.
    AtGate,
    /// The guest has no page on which the word could reach it.
    NoRecorder,
}

/// One machine's listener.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    pub(super) watch: Watch,
    settings: &'a Settings,
    log: Log,
    /// What came out of the agent channel, where a template keeps it.
    agent: Option<Vec<u8>>,
    start: Instant,
    cpus: Option<HostCpuPair>,
    cpu_threads: Vec<i32>,
    /// The guest panicked just now, and stands still.
    panicked: bool,
    at_panic: Vec<AtPanic>,
    vmcore: Option<Vmcore>,
    /// Why there is no vmcore, where one was wanted.
    no_vmcore: Option<String>,
}

/// What is done when a guest panics.
#[derive(Clone, Copy, Default)]
pub(super) struct OnPanic<'a> {
    /// Names of its kernel's addresses.
    pub(super) names: Option<&'a dyn Names>,
    /// Where its memory is kept, and the trial's index.
    pub(super) vmcores: Option<(&'a Vmcores, u32)>,
    /// It is held for a debugger, and this is told how to attach.
    pub(super) debugger: Option<&'a dyn Fn(String)>,
}

impl<'a> Listener<'a> {
    /// The listener of a trial of `duration_s` at most.
    pub(super) fn of_trial(
        settings: &'a Settings,
        accel: Accel,
        duration_s: f64,
        log: Log,
    ) -> Self {
        Self {
            watch: Watch::new(budgets(settings, accel, duration_s)),
            settings,
            log,
            agent: None,
            start: Instant::now(),
            cpus: HostCpuPair::take(settings),
            cpu_threads: Vec::new(),
            panicked: false,
            at_panic: Vec::new(),
            vmcore: None,
            no_vmcore: None,
        }
    }

    /// The listener of a template in the making: what it hears is kept for
    /// those of its clones.
    pub(super) fn of_template(settings: &'a Settings, accel: Accel) -> Self {
        Self {
            agent: Some(Vec::new()),
            ..Self::of_trial(settings, accel, settings.duration_s, Log::in_memory())
        }
    }

    /// Hears what a template has said, as if its clone had said it.
    pub(super) fn replay(&mut self, console: &[u8], agent: &[u8]) -> Result<(), Ended> {
        self.hear(VmEvent::Console(console.to_vec()))?;
        self.hear(VmEvent::Agent(agent.to_vec()))
    }

    /// Listens until the watch has seen enough, or a guest that is to be saved
    /// waits at the gate.
    pub(super) fn listen(
        &mut self,
        vm: &mut Vm,
        until_gate: bool,
        on_panic: OnPanic<'_>,
        stop: &AtomicBool,
        progress: &dyn Fn(&Snapshot),
    ) -> Result<Heard, Ended> {
        let mut told = Instant::now();
        // A QEMU that cannot says so, and the panic is told without it.
        let _ = vm.pause_on_panic();
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Ended::Interrupted);
            }
            if let Some(event) = vm.next_event(TURN) {
                self.hear(event)?;
            }
            if std::mem::take(&mut self.panicked) {
                self.look_at(vm, on_panic, stop)?;
                // Who ends what a debugger held has seen the crash, and it counts.
                if on_panic.debugger.is_some() && stop.load(Ordering::Relaxed) {
                    return Ok(Heard::Enough);
                }
            }
            let now = self.now();
            let snapshot = vm.recorder().snapshot();
            if snapshot.phase >= Phase::Setup && !self.cpu_threads.is_empty() {
                let threads = std::mem::take(&mut self.cpu_threads);
                if let Some(cpus) = &self.cpus {
                    cpus.seat(self.settings, &threads);
                }
            }
            self.watch.on_snapshot(snapshot, now);
            if until_gate && self.watch.is_at_gate() && vm.recorder().is_held() {
                return Ok(Heard::AtGate);
            }
            if until_gate && self.watch.lacks_recorder() {
                return Ok(Heard::NoRecorder);
            }
            if let Some(status) = vm.exited() {
                self.watch.on_exit(status.to_string());
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                if let Some(seen) = self.watch.last_seen() {
                    progress(seen);
                }
            }
            match self.watch.next(now) {
                Step::Wait => {}
                // No answer is an answer too; the watch waits for it.
                Step::AskStatus => drop(vm.query_status()),
                Step::End => return Ok(Heard::Enough),
            }
        }
    }

    /// Hears one event.
    pub(super) fn hear(&mut self, event: VmEvent) -> Result<(), Ended> {
        let now = self.now();
        match event {
            VmEvent::Console(bytes) => {
                self.log.write(&bytes)?;
                self.watch.on_console(&bytes, now);
            }
            VmEvent::ConsoleClosed => self.watch.on_console_closed(),
            VmEvent::Agent(bytes) => {
                if let Some(kept) = &mut self.agent {
                    kept.extend_from_slice(&bytes);
                }
                self.watch.on_agent(&bytes, now);
            }
            VmEvent::Qmp(event) => {
                if let QmpEvent::CpuThreads(threads) = &event {
                    self.cpu_threads.clone_from(threads);
                }
                self.panicked |= event == QmpEvent::GuestPanicked;
                self.watch.on_qmp(&event);
            }
        }
        Ok(())
    }

    /// Asks a guest that panicked what its CPUs were at, keeps its memory where
    /// that is wanted, and lets it go on to say the rest.
    fn look_at(
        &mut self,
        vm: &mut Vm,
        on_panic: OnPanic<'_>,
        stop: &AtomicBool,
    ) -> Result<(), Ended> {
        let mut heard = Vec::new();
        // One that panics twice shows the same.
        if self.at_panic.is_empty() {
            self.at_panic = at_panic::look(vm, on_panic.names, &mut |event| heard.push(event));
        }
        let stood = Instant::now();
        if let Some((vmcores, index)) = on_panic.vmcores
            && self.vmcore.is_none()
            && vmcores.wants()
        {
            let kernel = self.watch.environment().map(|known| known.kernel.clone());
            let kernel = kernel.unwrap_or_default();
            let uname = Uname {
                release: kernel.release.as_deref().unwrap_or_default(),
                version: kernel.version.as_deref().unwrap_or_default(),
            };
            match vmcores.write(vm, index, uname, stop, &mut |event| heard.push(event)) {
                Ok(vmcore) => self.vmcore = Some(vmcore),
                Err(why) => self.no_vmcore = Some(why),
            }
        }
        if let Some(tell) = on_panic.debugger {
            let vmlinux = on_panic.names.and_then(Names::image);
            let held = debugger::hold(vm, vmlinux.as_deref(), stop, tell, &mut |event| {
                heard.push(event);
            });
            if let Err(why) = held {
                tell(format!("no debugger: {why}"));
            }
        }
        // No time has passed for the guest.
        self.start += stood.elapsed();
        // A QEMU that has ended needs no word.
        let _ = vm.go_on();
        heard.into_iter().try_for_each(|event| self.hear(event))
    }

    /// Takes what was still on its way when the machine ended.
    pub(super) fn drain(&mut self, vm: &Vm) -> Result<(), Ended> {
        let deadline = Instant::now() + DRAIN;
        while let Some(event) = vm.last_events(deadline) {
            self.hear(event)?;
        }
        Ok(())
    }

    /// What a template has said: on its console, and on the agent channel.
    pub(super) fn into_said(self) -> (Vec<u8>, Vec<u8>) {
        (self.log.into_bytes(), self.agent.unwrap_or_default())
    }

    /// Judges what was heard. The record lacks its index and its seed.
    pub(super) fn conclude(self, mut vm: Vm) -> (Trial, Log) {
        let last = vm.recorder().snapshot();
        let complaint = vm.complaint();
        drop(vm);
        let racing = self.watch.racing().cloned().unwrap_or_default();
        let finished = self.watch.finished();
        let (bad_lines, leaks) = finished
            .map(|finished| (finished.bad_lines.clone(), finished.leaks.clone()))
            .unwrap_or_default();
        let counts = if last.present {
            last.clone()
        } else {
            self.watch.last_seen().unwrap_or(&last).clone()
        };
        let conclusion = self.watch.conclude(&last, &complaint);
        let trial = record::trial(0, 0, conclusion, &counts);
        let mut trial = record::of_race(self.settings, trial, &counts, &leaks);
        trial.notes.extend(record::notes(&racing));
        trial.notes.extend(self.settings.crowding());
        trial.bad_lines = bad_lines;
        let crashed = trial.outcome == Outcome::Crashed && trial.crash.is_some();
        if crashed && self.at_panic.is_empty() {
            let note = "what the CPUs were at is not known, and there is no vmcore: the kernel told no \
                        pvpanic device";
            trial.notes.push(note.to_owned());
        }
        trial.at_panic = self.at_panic;
        trial.vmcore = self.vmcore;
        let no_vmcore = self.no_vmcore.map(|why| format!("no vmcore: {why}"));
        trial.notes.extend(no_vmcore);
        (trial, self.log)
    }

    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// Budgets on the host's clock. Generous: a loaded host is no hang.
fn budgets(settings: &Settings, accel: Accel, duration_s: f64) -> Budgets {
    let slow = if accel == Accel::Kvm { 1.0 } else { 4.0 };
    Budgets {
        accel,
        boot_s: 30.0 * slow,
        setup_s: 15.0 * slow + 0.2 * slow * f64::from(settings.background_modules),
        duration_s,
        stall_s: 30.0,
        settle_s: 15.0 * slow,
        linger_s: 10.0 * slow,
        answer_s: 5.0,
    }
}
