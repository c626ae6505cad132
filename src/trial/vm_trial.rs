//! One trial in a disposable VM: a guest is booted, or goes on where a template
//! was saved; its listener hears it to its end, and the conclusion becomes a
//! record.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Event;
use super::boots;
use super::campaign::{Interrupted, guarded};
use super::console_log::Log;
use super::listener::{Ended, Listener, OnPanic};
use super::start::{Made, Maker, Proof, Saved, Templates};
use super::vmcore::Vmcores;
use super::watch::Watch;
use crate::judge::record;
use crate::model::{
    DEFAULT_RENEW, Domain, Environment, LoadedModule, Outcome, Settings, Start, StartChoice,
    StartedBy, Trial, Tunable, derive,
};
use crate::recorder::Go;
use crate::vm::at_panic::Names;
use crate::vm::contents::{self, PackError};
use crate::vm::protocol::{Task, TrialPlan};
use crate::vm::{Qemu, Vm, VmSpec};

/// All trials of one kernel.
#[derive(Debug)]
pub struct VmTrials {
    /// QEMU.
    pub qemu: Qemu,
    /// The machine.
    pub spec: VmSpec,
    /// The initramfs without a plan.
    pub base: Arc<Vec<u8>>,
    /// The settings.
    pub settings: Settings,
    /// The run's seed.
    pub seed: u64,
    /// Where console logs are kept; its name is how the report names it.
    pub logs: Option<PathBuf>,
    /// Keep what is needed to boot a trial again by hand, beside its log.
    pub keep: bool,
    /// Trials that there will be, if that is known: no template is made for
    /// none.
    pub wanted: Option<u32>,
    /// Names of the kernel's addresses, where they are known.
    pub names: Option<Box<dyn Names>>,
    /// Where guests that panicked leave their memory; none: nowhere.
    pub vmcores: Option<Vmcores>,
    /// A guest that panics is held for a debugger.
    pub debugger: bool,
    found: Mutex<Found>,
    proof: Mutex<Proof>,
    templates: OnceLock<Templates>,
}

/// What the guests said of themselves: the same for all trials.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The environment.
    pub environment: Option<Environment>,
    /// What came of the module's first load.
    pub loaded: Option<LoadedModule>,
    /// Tunables set for the race.
    pub tunables: Vec<Tunable>,
}

/// One trial of a run.
#[derive(Clone, Copy, Debug)]
pub struct VmTrial {
    /// Its index, from 0.
    pub index: u32,
    /// Longest time raced, seconds; the settings' if it is none of its own.
    pub duration_s: Option<f64>,
}

impl VmTrial {
    /// One as the settings say.
    pub fn new(index: u32) -> Self {
        Self {
            index,
            duration_s: None,
        }
    }
}

impl VmTrials {
    /// Trials of one kernel, none of which has begun.
    pub fn new(qemu: Qemu, spec: VmSpec, base: Vec<u8>, settings: Settings, seed: u64) -> Self {
        Self {
            qemu,
            spec,
            base: Arc::new(base),
            settings,
            seed,
            logs: None,
            keep: false,
            wanted: None,
            names: None,
            vmcores: None,
            debugger: false,
            found: Mutex::default(),
            proof: Mutex::default(),
            templates: OnceLock::new(),
        }
    }

    /// What the guests said of themselves so far.
    pub fn found(&self) -> Found {
        lock(&self.found).clone()
    }

    /// The initramfs part that only says whether a guest runs at all.
    pub fn probe_plan(&self) -> Result<Vec<u8>, PackError> {
        contents::plan(&TrialPlan {
            settings: self.settings.clone(),
            seed: 0,
            probe: true,
            hold: false,
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
        let run = Run {
            trials: self,
            index: trial.index,
            seed: derive(self.seed, Domain::Trial, trial.index.into()),
            duration_s: trial.duration_s.unwrap_or(self.settings.duration_s),
            stop,
            tell,
        };
        let start = Instant::now();
        tell(Event::Started { index: trial.index });
        let again = |died: &Trial| {
            let number = trial.index + 1;
            let note = format!("trial {number}: {}; it is booted again", died.reason);
            tell(Event::Note(note));
        };
        let ran = guarded(|| boots::persist(|| run.run(), again));
        let mut record = match ran.unwrap_or_else(|reason| Err(Ended::Broken(reason))) {
            Ok(record) => record,
            Err(Ended::Interrupted) => return Err(Interrupted),
            Err(Ended::Broken(reason)) => record::broken(trial.index, run.seed, reason),
        };
        if let (Some(names), Some(crash)) = (&self.names, &mut record.crash) {
            let environment = self.found().environment.unwrap_or_default();
            names.decode(crash, environment.kernel.build_id.as_deref());
        }
        record.wall_s = start.elapsed().as_secs_f64();
        Ok(record)
    }

    /// Notes what the guest said of itself.
    fn learn(&self, watch: &Watch) {
        let mut found = lock(&self.found);
        if let Some(environment) = watch.environment() {
            found.environment.get_or_insert_with(|| environment.clone());
        }
        if let Some(loaded) = watch.loaded() {
            found.loaded.get_or_insert_with(|| loaded.clone());
        }
        if let Some(racing) = watch.racing().filter(|_| found.tunables.is_empty()) {
            found.tunables.clone_from(&racing.tunables);
        }
        if let Some(finished) = watch.finished() {
            found.tunables.clone_from(&finished.tunables);
        }
    }

    fn templates(&self) -> &Templates {
        self.templates.get_or_init(|| {
            let maker = Maker {
                qemu: self.qemu.clone(),
                spec: self.spec.clone(),
                base: Arc::clone(&self.base),
                settings: self.settings.clone(),
                seed: self.seed,
            };
            let renew = self.settings.renew.unwrap_or(DEFAULT_RENEW);
            Templates::new(maker, renew, self.wanted)
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One trial under way.
struct Run<'a> {
    trials: &'a VmTrials,
    index: u32,
    seed: u64,
    duration_s: f64,
    stop: &'a AtomicBool,
    tell: &'a dyn Fn(Event),
}

impl Run<'_> {
    fn run(&self) -> Result<Trial, Ended> {
        let proof = &self.trials.proof;
        let started_by = match self.trials.settings.start {
            StartChoice::Boot => StartedBy::Boot,
            StartChoice::Clone => StartedBy::Clone,
            // A template costs a boot, too.
            StartChoice::Auto if self.trials.wanted == Some(1) => StartedBy::Boot,
            StartChoice::Auto => lock(proof).next(),
        };
        let may_boot = self.trials.settings.start == StartChoice::Auto;
        if started_by == StartedBy::Clone {
            let trial = self.by_clone()?;
            let unproven = !lock(proof).is_proven();
            if !(may_boot && unproven && trial.outcome == Outcome::Broken) {
                lock(proof).hear(StartedBy::Clone, &trial);
                return Ok(trial);
            }
            self.give_up_clones(&trial.reason);
        }
        let mut trial = self.by_boot()?;
        let proof = &mut lock(proof);
        proof.hear(StartedBy::Boot, &trial);
        if let Some(start) = &mut trial.start {
            start.reason = proof.given_up().map(str::to_owned);
        }
        Ok(trial)
    }

    fn give_up_clones(&self, reason: &str) {
        if lock(&self.trials.proof).give_up(reason.to_owned()) {
            let note = format!("trials start by boot, which takes longer: {reason}");
            (self.tell)(Event::Note(note));
        }
    }

    fn by_boot(&self) -> Result<Trial, Ended> {
        let trials = self.trials;
        let mut settings = trials.settings.clone();
        settings.duration_s = self.duration_s;
        let plan = contents::plan(&TrialPlan {
            settings,
            seed: self.seed,
            probe: false,
            hold: false,
            task: Task::Race,
        })
        .map_err(Ended::broken)?;
        let log = self.log()?;
        if let (true, Some(logs)) = (trials.keep, &trials.logs) {
            self.keep_machine(logs, &plan)?;
        }
        let vm = (trials.qemu)
            .boot(&trials.spec, &[&trials.base, &plan])
            .map_err(Ended::broken)?;
        self.hear_out(self.listener(log), vm, Start::boot())
    }

    fn by_clone(&self) -> Result<Trial, Ended> {
        match self.trials.templates().take(self.stop)? {
            Made::Saved(saved) => self.clone_of(&saved),
            Made::Ended(ended) => {
                let (trial, log) = *ended;
                let log = log.move_to(self.log()?)?;
                Ok(self.identified(trial, Start::boot(), log.name))
            }
            Made::NotSaved(reason) => {
                let reason = format!("no trial can start as a clone: {reason}");
                Ok(record::broken(self.index, self.seed, reason))
            }
        }
    }

    fn clone_of(&self, saved: &Saved) -> Result<Trial, Ended> {
        let mut listener = self.listener(self.log()?);
        listener.replay(&saved.console, &saved.agent)?;
        let go = Go {
            seed: self.seed,
            duration: Duration::from_secs_f64(self.duration_s),
            task: Task::Race.to_word(),
        };
        let vm = (saved.template)
            .start(|page| page.go(go))
            .map_err(Ended::broken)?;
        self.hear_out(listener, vm, Start::clone_of(saved.number))
    }

    /// Listens to a machine to its end, and ends it.
    fn hear_out(
        &self,
        mut listener: Listener<'_>,
        mut vm: Vm,
        mut start: Start,
    ) -> Result<Trial, Ended> {
        let attach = |text| (self.tell)(Event::Note(text));
        let tell = |seen: &_| (self.tell)(Event::progress(self.index, seen));
        listener.listen(
            &mut vm,
            false,
            OnPanic {
                names: self.trials.names.as_deref(),
                vmcores: self.trials.vmcores.as_ref().map(|all| (all, self.index)),
                debugger: self.trials.debugger.then_some(&attach),
            },
            self.stop,
            &tell,
        )?;
        if start.how == StartedBy::Clone {
            start.private_mib = vm.private_mib();
        }
        vm.kill();
        listener.drain(&vm)?;
        self.trials.learn(&listener.watch);
        let (trial, log) = listener.conclude(vm);
        if let Some(vmcore) = &trial.vmcore {
            let (number, mib) = (self.index + 1, vmcore.bytes >> 20);
            let (file, took_s) = (&vmcore.file, vmcore.took_s);
            let note = format!("trial {number}: vmcore {file}, {mib} MiB in {took_s:.1} s");
            (self.tell)(Event::Note(note));
        }
        Ok(self.identified(trial, start, log.name))
    }

    fn identified(&self, trial: Trial, start: Start, console: Option<String>) -> Trial {
        Trial {
            index: self.index,
            seed: self.seed,
            start: Some(start),
            console,
            ..trial
        }
    }

    fn listener(&self, log: Log) -> Listener<'_> {
        let trials = self.trials;
        Listener::of_trial(&trials.settings, trials.spec.accel, self.duration_s, log)
    }

    fn log(&self) -> Result<Log, Ended> {
        Log::create(self.trials.logs.as_deref(), self.index)
    }

    fn keep_machine(&self, logs: &Path, plan: &[u8]) -> Result<(), Ended> {
        let (trials, index) = (self.trials, self.index);
        let write = |name: String, parts: &[&[u8]]| {
            let path = logs.join(name);
            let mut file = File::create(&path).map_err(|error| Ended::file(&path, &error))?;
            parts.iter().try_for_each(|part| {
                file.write_all(part)
                    .map_err(|error| Ended::file(&path, &error))
            })
        };
        write(format!("trial-{index:04}.initramfs"), &[&trials.base, plan])?;
        let command = format!("{}\n", trials.qemu.command_line(&trials.spec));
        write(format!("trial-{index:04}.qemu"), &[command.as_bytes()])
    }
}
