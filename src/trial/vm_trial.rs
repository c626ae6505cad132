//! One trial in a disposable VM: boots the guest, feeds the watch with all that
//! comes out of it, keeps the console, and turns the conclusion into a record.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::boots;
use super::campaign::{Interrupted, guarded};
use super::virtual_cpus::keep_apart;
use super::watch::{Budgets, Step, Watch};
use crate::model::{Accel, Environment, Settings, Trial, Tunable, trial_seed};
use crate::recorder::Phase;
use crate::trial::Event;
use crate::trial::record;
use crate::vm::contents::{self, PackError};
use crate::vm::protocol::{Task, TrialPlan};
use crate::vm::{Qemu, QmpEvent, Vm, VmEvent, VmSpec};

/// Longest wait for an event before the watch is asked again.
const TURN: Duration = Duration::from_millis(20);
/// Time between two progress events.
const PROGRESS: Duration = Duration::from_millis(250);

/// All trials of one kernel.
#[derive(Debug)]
pub struct VmTrials {
    /// QEMU.
    pub qemu: Qemu,
    /// The machine.
    pub spec: VmSpec,
    /// The initramfs without a plan.
    pub base: Vec<u8>,
    /// The settings.
    pub settings: Settings,
    /// The run's seed.
    pub seed: u64,
    /// Where console logs are kept; its name is how the report names it.
    pub logs: Option<PathBuf>,
    /// Keep what is needed to boot a trial again by hand, beside its log.
    pub keep: bool,
    found: Mutex<Found>,
}

/// What the guests said of themselves: the same for all trials.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The environment.
    pub environment: Option<Environment>,
    /// Taint letters of the module.
    pub taints: Option<String>,
    /// Knobs set for the race.
    pub tunables: Vec<Tunable>,
}

/// One trial's place in the run.
#[derive(Clone, Copy, Debug)]
pub struct VmTrial {
    /// Its index, from 0.
    pub index: u32,
}

impl VmTrials {
    /// Trials of one kernel, none of which has begun.
    pub fn new(qemu: Qemu, spec: VmSpec, base: Vec<u8>, settings: Settings, seed: u64) -> Self {
        Self {
            qemu,
            spec,
            base,
            settings,
            seed,
            logs: None,
            keep: false,
            found: Mutex::new(Found::default()),
        }
    }

    /// What the guests said of themselves so far.
    pub fn found(&self) -> Found {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The initramfs part that only says whether a guest runs at all.
    pub fn probe_plan(&self) -> Result<Vec<u8>, PackError> {
        contents::plan(&TrialPlan {
            settings: self.settings.clone(),
            seed: 0,
            probe: true,
            task: Task::Race,
        })
    }

    /// Performs one trial. Infrastructure trouble is an outcome, not an error.
    pub fn run(
        &self,
        trial: VmTrial,
        stop: &AtomicBool,
        tell: &dyn Fn(Event),
    ) -> Result<Trial, Interrupted> {
        let start = Instant::now();
        let seed = trial_seed(self.seed, trial.index);
        tell(Event::Started { index: trial.index });
        let again = |died: &Trial| {
            let number = trial.index + 1;
            let note = format!("trial {number}: {}; it is booted again", died.reason);
            tell(Event::Note(note));
        };
        let watch = || self.watch(trial, seed, stop, tell);
        let watched = guarded(|| boots::persist(watch, again));
        let mut record = match watched.unwrap_or_else(|reason| Err(Ended::Broken(reason))) {
            Ok(record) => record,
            Err(Ended::Interrupted) => return Err(Interrupted),
            Err(Ended::Broken(reason)) => record::broken(trial.index, seed, reason),
        };
        record.wall_s = start.elapsed().as_secs_f64();
        Ok(record)
    }

    fn watch(
        &self,
        trial: VmTrial,
        seed: u64,
        stop: &AtomicBool,
        tell: &dyn Fn(Event),
    ) -> Result<Trial, Ended> {
        let plan = TrialPlan {
            settings: self.settings.clone(),
            seed,
            probe: false,
            task: Task::Race,
        };
        let plan = contents::plan(&plan).map_err(Ended::broken)?;
        let mut log = Log::create(self.logs.as_deref(), trial.index)?;
        if let (true, Some(logs)) = (self.keep, &self.logs) {
            self.keep_machine(logs, trial.index, &plan)?;
        }
        let mut vm = self
            .qemu
            .boot(&self.spec, &[&self.base, &plan])
            .map_err(Ended::broken)?;
        let mut watch = Watch::new(budgets(&self.settings, self.spec.accel));
        let start = Instant::now();
        let mut told = start;
        let mut cpu_threads = Vec::new();
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Ended::Interrupted);
            }
            let event = vm.next_event(TURN);
            let now = start.elapsed().as_secs_f64();
            match event {
                Some(VmEvent::Console(bytes)) => {
                    log.write(&bytes)?;
                    watch.on_console(&bytes, now);
                }
                Some(VmEvent::ConsoleClosed) => watch.on_console_closed(),
                Some(VmEvent::Agent(bytes)) => watch.on_agent(&bytes, now),
                Some(VmEvent::Qmp(event)) => {
                    if let QmpEvent::CpuThreads(threads) = &event {
                        cpu_threads.clone_from(threads);
                    }
                    watch.on_qmp(&event);
                }
                None => {}
            }
            let snapshot = vm.recorder().snapshot();
            if snapshot.phase >= Phase::Setup && !cpu_threads.is_empty() {
                keep_apart(
                    &self.settings,
                    trial.index,
                    &std::mem::take(&mut cpu_threads),
                );
            }
            watch.on_snapshot(snapshot, now);
            if let Some(status) = vm.exited() {
                watch.on_exit(status.to_string());
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                if let Some(seen) = watch.last_seen() {
                    tell(Event::progress(trial.index, seen));
                }
            }
            match watch.next(now) {
                Step::Wait => {}
                // No answer is an answer too; the watch waits for it.
                Step::AskStatus => drop(vm.query_status()),
                Step::End => break,
            }
        }
        vm.kill();
        drain(&vm, &mut watch, &mut log, start)?;
        self.learn(&watch);
        let last = vm.recorder().snapshot();
        let complaint = vm.complaint();
        let skipped = watch
            .racing()
            .map(|racing| racing.skipped.clone())
            .unwrap_or_default();
        let bad_lines = watch
            .finished()
            .map(|finished| finished.bad_lines.clone())
            .unwrap_or_default();
        let counts = if last.present {
            last.clone()
        } else {
            watch.last_seen().unwrap_or(&last).clone()
        };
        let conclusion = watch.conclude(&last, &complaint);
        let trial = record::trial(trial.index, seed, conclusion, &counts);
        let mut trial = record::of_race(&self.settings, trial, &counts);
        trial.notes.extend(
            skipped
                .into_iter()
                .map(|name| format!("chaos technique skipped: {name}")),
        );
        trial.notes.extend(self.settings.crowding());
        trial.bad_lines = bad_lines;
        trial.console = log.name;
        Ok(trial)
    }

    /// Notes what the guest said of itself.
    fn learn(&self, watch: &Watch) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environment) = watch.environment() {
            found.environment.get_or_insert_with(|| environment.clone());
        }
        if let Some(taints) = watch.taints() {
            found.taints.get_or_insert_with(|| taints.to_owned());
        }
        if let Some(racing) = watch.racing().filter(|_| found.tunables.is_empty()) {
            found.tunables.clone_from(&racing.tunables);
        }
        if let Some(finished) = watch.finished() {
            found.tunables.clone_from(&finished.tunables);
        }
    }

    fn keep_machine(&self, logs: &Path, index: u32, plan: &[u8]) -> Result<(), Ended> {
        let write = |name: String, parts: &[&[u8]]| {
            let path = logs.join(name);
            let mut file = File::create(&path).map_err(|error| Ended::file(&path, &error))?;
            parts.iter().try_for_each(|part| {
                file.write_all(part)
                    .map_err(|error| Ended::file(&path, &error))
            })
        };
        write(format!("trial-{index:04}.initramfs"), &[&self.base, plan])?;
        let command = format!("{}\n", self.qemu.command_line(&self.spec));
        write(format!("trial-{index:04}.qemu"), &[command.as_bytes()])
    }
}

/// A trial that gave no conclusion.
enum Ended {
    Interrupted,
    Broken(String),
}

impl Ended {
    fn broken(error: impl std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Self::Broken(text)
    }

    fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::Broken(format!("writing {}: {error}", path.display()))
    }
}

/// The console's bytes as they came.
struct Log {
    file: Option<(File, PathBuf)>,
    name: Option<String>,
}

impl Log {
    fn create(logs: Option<&Path>, index: u32) -> Result<Self, Ended> {
        let Some(logs) = logs else {
            return Ok(Self {
                file: None,
                name: None,
            });
        };
        let path = logs.join(format!("trial-{index:04}.console.log"));
        std::fs::create_dir_all(logs).map_err(|error| Ended::file(logs, &error))?;
        let file = File::create(&path).map_err(|error| Ended::file(&path, &error))?;
        // The report stands beside the folder of logs.
        let folder = logs.file_name().map_or(logs, Path::new);
        let name = folder
            .join(path.file_name().unwrap_or_default())
            .display()
            .to_string();
        Ok(Self {
            file: Some((file, path)),
            name: Some(name),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match &mut self.file {
            Some((file, path)) => file
                .write_all(bytes)
                .map_err(|error| Ended::file(path, &error)),
            None => Ok(()),
        }
    }
}

/// Takes what was still on its way when the machine ended.
fn drain(vm: &Vm, watch: &mut Watch, log: &mut Log, start: Instant) -> Result<(), Ended> {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        let now = start.elapsed().as_secs_f64();
        match vm.next_event(TURN) {
            Some(VmEvent::Console(bytes)) => {
                log.write(&bytes)?;
                watch.on_console(&bytes, now);
            }
            Some(VmEvent::Agent(bytes)) => watch.on_agent(&bytes, now),
            Some(VmEvent::Qmp(event)) => watch.on_qmp(&event),
            Some(VmEvent::ConsoleClosed) => watch.on_console_closed(),
            None => break,
        }
    }
    Ok(())
}

/// Budgets on the host's clock. Generous: a loaded host is no hang.
fn budgets(settings: &Settings, accel: Accel) -> Budgets {
    let slow = if accel == Accel::Kvm { 1.0 } else { 4.0 };
    Budgets {
        accel,
        boot_s: 30.0 * slow,
        setup_s: 15.0 * slow + 0.2 * slow * f64::from(settings.background_modules),
        duration_s: settings.duration_s,
        stall_s: 30.0,
        settle_s: 15.0 * slow,
        linger_s: 10.0 * slow,
        answer_s: 5.0,
    }
}
