//! How the commands that need VMs begin, and a kernel made ready for them: found,
//! its module built, its initramfs packed, its accelerator chosen. `vm` races
//! one, `ab` two, `states` looks at one.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::args::{MachineArgs, RaceArgs};
use super::ui::Ui;
use super::{Failure, OrFail, kernel_arg, plan, session, stop};
use crate::build::cache::Cache;
use crate::build::config::{KernelConfig, hex};
use crate::build::module_image::ModuleImage;
use crate::kernel::uname;
use crate::model::{Accel, Environment, ExitCode, ModuleRecord, Report, Settings, Strategy};
use crate::report::write::ReportFile;
use crate::trial::VmTrials;
use crate::vm::accel::{self, Finding};
use crate::vm::contents::{self, PackError};
use crate::vm::{Qemu, VmError, VmSpec};

/// A kernel that only waits for its trials.
#[derive(Debug)]
pub(super) struct Side {
    /// Performs them.
    pub(super) trials: VmTrials,
    /// What is known of the kernel and its machine so far.
    pub(super) environment: Environment,
    /// The module that is raced.
    pub(super) module: ModuleImage,
}

/// How commands that need VMs begin, and what it takes to make a side ready.
pub(super) struct Preparation<'a> {
    race: &'a RaceArgs,
    machine: &'a MachineArgs,
    /// What was typed of both, validated.
    pub(super) settings: Settings,
    /// The run's seed.
    pub(super) seed: u64,
    /// When it began.
    pub(super) started: SystemTime,
    /// Where things are kept.
    pub(super) cache: Cache,
    /// Set by signals.
    pub(super) stop: Arc<AtomicBool>,
    /// For words on the way.
    pub(super) ui: &'a Ui,
    /// The accelerator, once it is chosen: for all sides the same.
    accel: OnceCell<Accel>,
}

impl<'a> Preparation<'a> {
    /// Begins; from here on signals are heard.
    pub(super) fn new(
        race: &'a RaceArgs,
        machine: &'a MachineArgs,
        settings: Settings,
        ui: &'a Ui,
    ) -> Result<Self, Failure> {
        Ok(Self {
            race,
            machine,
            settings,
            seed: plan::seed(race),
            started: SystemTime::now(),
            cache: Cache::from_env().or_fail(ExitCode::Broken)?,
            stop: stop::on_signals()?,
            ui,
            accel: OnceCell::new(),
        })
    }

    /// The same for a race of `kernel`, with its report's file; none for stdout.
    pub(super) fn of_race(
        race: &'a RaceArgs,
        machine: &'a MachineArgs,
        settings: Settings,
        kernel: &str,
        ui: &'a Ui,
    ) -> Result<(Self, Option<ReportFile>), Failure> {
        let preparation = Self::new(race, machine, settings, ui)?;
        let file = session::report_file(race, kernel, preparation.started)?;
        if let Some(crowding) = preparation.settings.crowding() {
            ui.note(&crowding);
        }
        Ok((preparation, file))
    }

    /// A report on a side before its first trial.
    pub(super) fn report(&self, side: &Side) -> Report {
        session::blank(
            side.environment.clone(),
            &side.module,
            self.settings.clone(),
            self.seed,
            self.started,
        )
    }

    /// Makes the kernel named by `kernel` ready.
    pub(super) fn side(&self, kernel: &str) -> Result<Side, Failure> {
        let kernel = kernel_arg::resolve(kernel, &self.cache)?;
        let qemu = find_qemu(self.machine.qemu.as_deref())?;
        let module = session::module(
            self.race.module.as_deref(),
            self.settings.oracle,
            kernel.kdir.as_deref(),
            &kernel.name,
            &self.cache,
            &self.stop,
        )?;
        let base = base(&module, self.settings.strategy)?;
        let spec = VmSpec {
            kernel: kernel.image.clone(),
            accel: self.settings.accel,
            smp: self.settings.smp,
            mem_mib: self.settings.mem_mib,
            append: self.settings.append.clone(),
        };
        let mut trials = VmTrials::new(qemu, spec, base, self.settings.clone(), self.seed);
        if self.accel.get().is_none() {
            let chosen = self.choose_accel(&trials)?;
            let _first = self.accel.set(chosen);
        }
        trials.spec.accel = *self.accel.get().unwrap_or(&Accel::Tcg);
        trials.keep = self.machine.keep;

        let host = uname::environment("");
        let config = kernel
            .config
            .as_deref()
            .and_then(|path| KernelConfig::open(path).ok());
        let mut environment = Environment {
            accel: Some(trials.spec.accel.as_str().to_owned()),
            preemption: config
                .as_ref()
                .and_then(KernelConfig::preemption)
                .map(str::to_owned),
            qemu: Some(trials.qemu.version().to_owned()),
            host_release: host.kernel.release,
            host_cpus: host.cpus,
            ..Environment::default()
        };
        let image = fs::read(&kernel.image).ok();
        environment.kernel.image_sha256 = image.map(|image| hex(&Sha256::digest(&image)));
        environment.kernel.config_sha256 = config.map(|config| config.sha256().to_owned());
        environment.kernel.name = kernel.name;
        environment.kernel.provenance = kernel.provenance;
        Ok(Side {
            trials,
            environment,
            module,
        })
    }

    fn choose_accel(&self, trials: &VmTrials) -> Result<Accel, Failure> {
        if trials.settings.accel != Accel::Auto {
            return Ok(trials.settings.accel);
        }
        let plan = trials.probe_plan().or_fail(ExitCode::Broken)?;
        let folder = self.cache.dir("accel").or_fail(ExitCode::Broken)?;
        let initramfs: [&[u8]; 2] = [&trials.base, &plan];
        let Finding { accel, reason } =
            accel::probe(&trials.qemu, &trials.spec, &initramfs, Some(&folder));
        if accel == Accel::Tcg {
            self.ui.note(&format!(
                "accelerator: tcg (emulation, slower), because {reason}"
            ));
        }
        Ok(accel)
    }
}

impl Side {
    /// Brings what the guests said of themselves into a run's records.
    pub(super) fn learn(&self, environment: &mut Environment, module: &mut Option<ModuleRecord>) {
        let found = self.trials.found();
        if let Some(guest) = found.environment {
            adopt(environment, guest);
        }
        environment.tunables = found.tunables;
        if let (Some(module), Some(taints)) = (module, found.taints) {
            module.taints = taints;
        }
    }
}

/// What the guest says of itself, beside what only the host knows.
pub(super) fn adopt(environment: &mut Environment, guest: Environment) {
    environment.kernel.release = guest.kernel.release;
    environment.kernel.version = guest.kernel.version;
    environment.kernel.compiler = guest.kernel.compiler;
    environment.cpu_model = guest.cpu_model;
    environment.cpus = guest.cpus;
    environment.mem_mib = guest.mem_mib;
    environment.cmdline = guest.cmdline;
    // The configuration knows better than the version string.
    environment.preemption = environment.preemption.take().or(guest.preemption);
}

fn find_qemu(path: Option<&Path>) -> Result<Qemu, Failure> {
    Qemu::find(path).map_err(|error| {
        let hint = match &error {
            VmError::NotFound(_) => "install it: apt install qemu-system-x86",
            _ => "name QEMU's program with --qemu",
        };
        Failure::new(ExitCode::Unsupported, error).hint(hint)
    })
}

fn base(module: &ModuleImage, strategy: Strategy) -> Result<Vec<u8>, Failure> {
    let init = std::env::current_exe().or_fail(ExitCode::Broken)?;
    let programs = strategy == Strategy::AsReported;
    contents::base(&init, module.bytes(), programs).map_err(|error| {
        let hint = match &error {
            PackError::NoBusybox => "install it: apt install busybox-static",
            PackError::Dynamic(path) if *path == init => {
                "build modrace with RUSTFLAGS='-C target-feature=+crt-static', or with `make`"
            }
            PackError::Dynamic(_) => "install a static one: apt install busybox-static",
            PackError::Read { .. } | PackError::Write(_) => "is there enough memory and disk?",
        };
        Failure::new(ExitCode::Unsupported, error).hint(hint)
    })
}
