//! How the commands that need VMs begin, and a kernel made ready for them: found,
//! its module built, its initramfs packed, its accelerator chosen. `repeated`
//! races one, `paired` two, `states` looks at one.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::events::Events;
use super::exit::Failure;
use super::kernel_arg::{self, KernelUnderTest};
use super::kernel_names;
use super::race_modules::RaceModules;
use super::request::Request;
use super::{record, stop};
use crate::build::cache::Cache;
use crate::build::config::{KernelConfig, hex};
use crate::build::module_image::ModuleImage;
use crate::kernel::uname;
use crate::model::{Accel, Environment, ModuleRecord, Report, Strategy};
use crate::report::write::ReportFile;
use crate::trial::{VmTrials, VmcoreChoice, Vmcores};
use crate::vm::accel::{self, Finding};
use crate::vm::{Qemu, VmSpec, contents};

/// A kernel that only waits for its trials.
#[derive(Debug)]
pub struct PreparedKernel {
    /// Performs them.
    pub trials: VmTrials,
    /// What is known of the kernel and its machine so far.
    pub environment: Environment,
    /// The module that is raced.
    pub module: ModuleImage,
    /// The kernel's configuration, where there is one.
    pub config: Option<KernelConfig>,
}

/// Makes kernels ready, all for one run.
#[derive(Debug)]
pub struct Preparation<'a> {
    /// What is asked for.
    pub request: Request,
    /// When the run began.
    pub started: SystemTime,
    /// Where things are kept.
    pub cache: Cache,
    /// Set by signals.
    pub stop: Arc<AtomicBool>,
    /// Where events go.
    pub events: Events<'a>,
    /// The accelerator, once it is chosen: for all kernels the same.
    accel: OnceCell<Accel>,
}

impl<'a> Preparation<'a> {
    /// Checks the request and begins; from here on signals are heard.
    pub fn new(request: Request, events: Events<'a>) -> Result<Self, Failure> {
        request.check_for_vms()?;
        Ok(Self {
            request,
            started: SystemTime::now(),
            cache: Cache::from_env()?,
            stop: stop::on_signals()?,
            events,
            accel: OnceCell::new(),
        })
    }

    /// The file of the report on a race of `kernel`; none for stdout. Tells what
    /// is unusual of the race.
    pub fn report_file(&self, kernel: &str) -> Result<Option<ReportFile>, Failure> {
        let file = record::report_file(&self.request.report, kernel, self.started)?;
        if let Some(crowding) = self.request.settings.crowding() {
            self.events.note(crowding);
        }
        Ok(file)
    }

    /// A report on a kernel before its first trial.
    pub fn report(&self, kernel: &PreparedKernel) -> Result<Report, Failure> {
        record::blank(
            kernel.environment.clone(),
            record::module_record(&kernel.module),
            &self.request,
            self.started,
        )
    }

    /// Makes the kernel that an argument names ready. Its console logs go to
    /// the folder `logs`, if there is one.
    pub fn prepare(&self, kernel: &str, logs: Option<PathBuf>) -> Result<PreparedKernel, Failure> {
        self.prepare_half(kernel, self.request.mended, logs)
    }

    /// The same with a driver's mistake in the module, or with it mended.
    pub fn prepare_half(
        &self,
        kernel: &str,
        mended: bool,
        logs: Option<PathBuf>,
    ) -> Result<PreparedKernel, Failure> {
        let kernel = kernel_arg::resolve(kernel, &self.cache)?;
        let qemu = Qemu::find(self.request.qemu.as_deref())?;
        let settings = &self.request.settings;
        let modules = RaceModules::of(
            &self.request,
            mended,
            &kernel,
            &self.cache,
            &self.stop,
            self.events,
        )?;
        let init = match &self.request.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let programs = settings.strategy == Strategy::AsReported;
        let base = contents::base(&init, modules.raced.bytes(), &modules.packed(), programs)?;
        let spec = VmSpec {
            kernel: kernel.image.clone(),
            accel: settings.accel,
            smp: settings.smp,
            mem_mib: settings.mem_mib,
            append: settings.append.clone(),
            vmcoreinfo: self.request.vmcore != VmcoreChoice::None,
        };
        let mut trials = VmTrials::new(qemu, spec, base, settings.clone(), self.request.seed);
        // What was built here boots; of other kernels nothing is known.
        let boots = kernel.provenance.is_some();
        trials.spec.accel = self.accel(&trials, boots)?;
        trials.keep = self.request.keep;
        trials.debugger = self.request.debugger;
        trials.vmcores = logs
            .as_deref()
            .map(|logs| Vmcores::new(self.request.vmcore, logs, settings.mem_mib));
        trials.logs = logs;
        let config = kernel
            .config
            .as_deref()
            .and_then(|path| KernelConfig::open(path).ok());
        let kdir = kernel.kdir.as_deref();
        trials.names = Some(kernel_names::of_tree(
            kdir,
            config.as_ref(),
            &settings.append,
            modules.all(),
        ));
        Ok(PreparedKernel {
            environment: environment(kernel, config.as_ref(), &trials),
            trials,
            module: modules.raced,
            config,
        })
    }

    /// The accelerator for all kernels of the run.
    fn accel(&self, trials: &VmTrials, boots: bool) -> Result<Accel, Failure> {
        if let Some(&chosen) = self.accel.get() {
            return Ok(chosen);
        }
        let chosen = match self.request.settings.accel {
            Accel::Auto => self.choose_accel(trials, boots)?,
            asked => asked,
        };
        Ok(*self.accel.get_or_init(|| chosen))
    }

    fn choose_accel(&self, trials: &VmTrials, boots: bool) -> Result<Accel, Failure> {
        let plan = trials.probe_plan()?;
        let folder = self.cache.dir("accel")?;
        let initramfs: [&[u8]; 2] = [&trials.base, &plan];
        let Finding { accel, reason } =
            accel::probe(&trials.qemu, &trials.spec, &initramfs, Some(&folder), boots);
        if accel == Accel::Tcg {
            self.events.note(format!(
                "accelerator: tcg (emulation, slower), because {reason}"
            ));
        }
        Ok(accel)
    }
}

/// What the host knows of a kernel's machine.
fn environment(
    kernel: KernelUnderTest,
    config: Option<&KernelConfig>,
    trials: &VmTrials,
) -> Environment {
    let host = uname::environment("");
    let mut environment = Environment {
        accel: Some(trials.spec.accel.as_str().to_owned()),
        preemption: config.and_then(KernelConfig::preemption).map(str::to_owned),
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
    environment
}

impl PreparedKernel {
    /// Brings what the guests said of themselves into a run's records.
    pub fn learn(&self, environment: &mut Environment, module: &mut Option<ModuleRecord>) {
        let found = self.trials.found();
        if let Some(guest) = found.environment {
            adopt(environment, guest);
        }
        environment.tunables = found.tunables;
        if let (Some(module), Some(loaded)) = (module, &found.loaded) {
            module.learn(loaded);
        }
    }
}

/// What the guest says of itself, beside what only the host knows.
pub(super) fn adopt(environment: &mut Environment, guest: Environment) {
    environment.kernel.release = guest.kernel.release;
    environment.kernel.version = guest.kernel.version;
    environment.kernel.compiler = guest.kernel.compiler;
    environment.kernel.build_id = guest.kernel.build_id;
    environment.cpu_model = guest.cpu_model;
    environment.cpus = guest.cpus;
    environment.mem_mib = guest.mem_mib;
    environment.cmdline = guest.cmdline;
    let configured = std::mem::replace(&mut environment.preemption, guest.preemption);
    environment.learn_preemption(configured);
}
