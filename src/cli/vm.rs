//! `modrace vm`: races a kernel inside disposable virtual machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::args::{MachineArgs, RaceArgs};
use super::kernel_arg::{self, KERNEL_HELP, KernelUnderTest};
use super::ui::{Ui, progress::Progress, summary};
use super::{Failure, OrFail, plan, stop};
use crate::kernel::cache::Cache;
use crate::kernel::config::KernelConfig;
use crate::kernel::kbuild;
use crate::kernel::module_image::ModuleImage;
use crate::kernel::uname;
use crate::model::{
    Accel, Environment, Event, ExitCode, ModuleRecord, Outcome, Report, SCHEMA, Settings, Strategy,
    Tool, Trial,
};
use crate::report::write::{ReportFile, to_json};
use crate::stats::{run_stats, verdict_alone};
use crate::trial::pack::{self, PackError};
use crate::trial::{Campaign, VmTrial, VmTrials};
use crate::vm::accel::{self, Finding};
use crate::vm::{Qemu, VmError, VmSpec};

/// Race a kernel inside disposable virtual machines
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kernel under test
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: String,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    race: RaceArgs,
}

fn kernel_help() -> String {
    format!("The kernel under test: {KERNEL_HELP}")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    let mut settings = plan::vm_settings(&args.race, &args.machine)?;
    let seed = plan::seed(&args.race);
    let stop = stop::on_signals()?;
    let cache = Cache::from_env().or_fail(ExitCode::Broken)?;
    let kernel = kernel_arg::resolve(&args.kernel, &cache)?;
    let qemu = find_qemu(args.machine.qemu.as_deref())?;
    let module = module(args.race.module.as_deref(), &kernel, &cache, &stop)?;
    let base = base(&module, settings.strategy)?;

    let spec = VmSpec {
        kernel: kernel.image.clone(),
        accel: settings.accel,
        smp: settings.smp,
        mem_mib: settings.mem_mib,
        append: settings.append.clone(),
    };
    let mut trials = VmTrials::new(qemu, spec, base, settings.clone(), seed);
    trials.spec.accel = choose_accel(&trials, &cache, ui)?;
    settings.jobs = settings.jobs.min(settings.trials);
    trials.keep = args.machine.keep;

    let started = SystemTime::now();
    let file = report_file(args, started);
    trials.logs = file.as_ref().map(ReportFile::logs);
    let mut report = blank(&kernel, &module, &trials, settings, seed, started);
    if let Some(file) = &file {
        // An unwritable place is found now, not after an hour of racing.
        file.check().or_fail(ExitCode::Usage)?;
        file.save(&report).or_fail(ExitCode::Broken)?;
    }

    let interrupted = race(&trials, &mut report, file.as_ref(), &stop, ui)?;
    let exit = conclude(&mut report, interrupted);
    show(args, &report, file, ui)?;
    Ok(exit)
}

/// Performs the trials; the report is saved after each. True if a signal ended
/// it early.
fn race(
    trials: &VmTrials,
    report: &mut Report,
    file: Option<&ReportFile>,
    stop: &AtomicBool,
    ui: &Ui,
) -> Result<bool, Failure> {
    let campaign = Campaign {
        trials: report.settings.trials,
        jobs: report.settings.jobs,
    };
    let mut progress = Progress::new(ui, &report.environment.kernel.name, campaign.trials);
    let mut lost: Option<Failure> = None;
    campaign
        .run(
            stop,
            |index, give_up, tell| trials.run(VmTrial { index }, give_up, tell),
            |event| {
                progress.hear(&event);
                if let Event::Finished(trial) = event {
                    report.trials.push(*trial);
                    report.trials.sort_by_key(|trial| trial.index);
                    update(report, trials);
                    let saved = file.map_or(Ok(()), |file| file.save(report));
                    lost = saved.or_fail(ExitCode::Broken).err();
                }
                lost.is_none()
            },
        )
        .or_fail(ExitCode::Broken)?;
    progress.end();
    match lost {
        Some(failure) => Err(failure.hint("the report of the trials before this one is intact")),
        None => Ok(stop.load(Ordering::Relaxed)),
    }
}

/// Brings what follows from the trials up to date.
fn update(report: &mut Report, trials: &VmTrials) {
    let found = trials.found();
    if let Some(guest) = found.environment {
        adopt(&mut report.environment, guest);
    }
    report.environment.knobs = found.knobs;
    if let (Some(module), Some(taints)) = (&mut report.module, found.taints) {
        module.taints = taints;
    }
    report.stats = run_stats(&report.trials);
    report.updated = now();
    (report.verdict, report.verdict_reason) =
        verdict_alone(&report.trials, report.settings.trials, true);
}

/// What the guest says of itself, beside what only the host knows.
fn adopt(environment: &mut Environment, guest: Environment) {
    let known = &mut environment.kernel;
    known.release = guest.kernel.release;
    known.version = guest.kernel.version;
    known.compiler = guest.kernel.compiler;
    environment.cpu_model = guest.cpu_model;
    environment.cpus = guest.cpus;
    environment.mem_mib = guest.mem_mib;
    environment.cmdline = guest.cmdline;
    if environment.preemption.is_none() {
        environment.preemption = guest.preemption;
    }
}

fn conclude(report: &mut Report, interrupted: bool) -> ExitCode {
    report.complete = !interrupted;
    report.updated = now();
    (report.verdict, report.verdict_reason) =
        verdict_alone(&report.trials, report.settings.trials, report.complete);
    if interrupted {
        return ExitCode::Interrupted;
    }
    let unsupported = |trial: &Trial| trial.outcome == Outcome::Unsupported;
    ExitCode::of(report.verdict, report.trials.iter().any(unsupported))
}

fn show(args: &Args, report: &Report, file: Option<ReportFile>, ui: &Ui) -> Result<(), Failure> {
    if args.race.json || file.is_none() {
        let json = to_json(report).or_fail(ExitCode::Broken)?;
        ui.result(&String::from_utf8_lossy(&json));
    } else {
        ui.result(&summary::text(report));
    }
    if let Some(file) = file {
        let path = file.finish(report).or_fail(ExitCode::Broken)?;
        ui.note(&format!("report: {}", path.display()));
    }
    Ok(())
}

fn report_file(args: &Args, started: SystemTime) -> Option<ReportFile> {
    match &args.race.report {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some(ReportFile::at(path.clone())),
        None => Some(ReportFile::named(
            Path::new("reports"),
            &args.kernel,
            started,
        )),
    }
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

/// The module to race: the one named, or the dummy module built for the kernel.
fn module(
    named: Option<&Path>,
    kernel: &KernelUnderTest,
    cache: &Cache,
    stop: &AtomicBool,
) -> Result<ModuleImage, Failure> {
    let path: PathBuf = match (named, &kernel.kdir) {
        (Some(path), _) => path.to_owned(),
        (None, Some(kdir)) => kbuild::build_dummy(kdir, cache, stop).or_fail(ExitCode::Broken)?,
        (None, None) => {
            let error = format!(
                "{}: no build tree to build the dummy module against",
                kernel.name
            );
            return Err(Failure::message(ExitCode::Usage, error)
                .hint("name it as BZIMAGE,KDIR, or give a module with --module"));
        }
    };
    ModuleImage::open(&path).or_fail(if named.is_some() {
        ExitCode::Usage
    } else {
        ExitCode::Broken
    })
}

fn base(module: &ModuleImage, strategy: Strategy) -> Result<Vec<u8>, Failure> {
    let init = std::env::current_exe().or_fail(ExitCode::Broken)?;
    let programs = strategy == Strategy::AsReported;
    pack::base(&init, module.bytes(), programs).map_err(|error| {
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

fn choose_accel(trials: &VmTrials, cache: &Cache, ui: &Ui) -> Result<Accel, Failure> {
    if trials.settings.accel != Accel::Auto {
        return Ok(trials.settings.accel);
    }
    let plan = trials.probe_plan().or_fail(ExitCode::Broken)?;
    let folder = cache.dir("accel").or_fail(ExitCode::Broken)?;
    let Finding { accel, reason } = accel::probe(
        &trials.qemu,
        &trials.spec,
        &[&trials.base, &plan],
        Some(&folder),
    );
    if accel == Accel::Tcg {
        ui.note(&format!(
            "accelerator: tcg (emulation, slower), because {reason}"
        ));
    }
    Ok(accel)
}

fn blank(
    kernel: &KernelUnderTest,
    module: &ModuleImage,
    trials: &VmTrials,
    settings: Settings,
    seed: u64,
    started: SystemTime,
) -> Report {
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
    environment.kernel.name.clone_from(&kernel.name);
    environment.kernel.config_sha256 = config.map(|config| config.sha256().to_owned());
    environment.kernel.image_sha256 = fs::read(&kernel.image).ok().map(|image| sha256(&image));
    environment.kernel.provenance.clone_from(&kernel.provenance);
    let (verdict, verdict_reason) = verdict_alone(&[], settings.trials, true);
    Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: "modrace".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        verdict,
        verdict_reason,
        complete: false,
        started: humantime::format_rfc3339_millis(started).to_string(),
        updated: now(),
        command: std::env::args().collect(),
        seed,
        environment,
        module: Some(ModuleRecord {
            name: module.name().to_owned(),
            sha256: module.sha256().to_owned(),
            srcversion: module.srcversion().map(str::to_owned),
            vermagic: module.vermagic().map(str::to_owned),
            taints: String::new(),
        }),
        settings,
        trials: Vec::new(),
        stats: crate::model::RunStats::default(),
        baseline: None,
        comparison: None,
        stop_rule: None,
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _to_memory = write!(text, "{byte:02x}");
            text
        })
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
