//! `modrace states`: the module held in each of its states, and what the kernel
//! shows of it in `/proc/modules`, in sysfs and in its own list of modules.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::args::{MachineArgs, RaceArgs};
use super::kernel_arg::{self, KERNEL_HELP};
use super::side::{Preparation, Side, adopt};
use super::ui::Ui;
use super::{Failure, OrFail, plan, session};
use crate::build::cache::Cache;
use crate::build::config::KernelConfig;
use crate::kernel::uname;
use crate::model::{
    Accel, Environment, ExitCode, Held, Observed, Oracle, Report, StateCheck, Verdict,
};
use crate::report::states_text;
use crate::report::write::{ReportFile, to_json};
use crate::states::{
    HoldError, StatesError, StatesVm, check_console, check_observed, fit, observe_all,
};
use crate::verdict::verdict_of_run;

/// Check how a kernel shows a module that is loading, live and unloading
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: Option<String>,
    /// Hold this module (.ko), which needs the dummy module's parameters
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report as JSON on stdout, not the summary
    #[arg(long)]
    json: bool,
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

fn kernel_help() -> String {
    format!(
        "Check this kernel in disposable VMs, its list of modules after sysrq-c too: \
         {KERNEL_HELP} [default: the running kernel, as root, without sysrq-c]"
    )
}

/// The states in which the kernel is made to print its list of modules.
const CRASHED_IN: [Held; 4] = [Held::Init, Held::Live, Held::Exit, Held::Unloaded];

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.quiet);
    let race = no_race(args.module.as_deref())?;
    let mut settings = plan::vm_settings(&race, &args.machine, plan::DEFAULT_DURATION_S)?;
    settings.trials = 0;
    let work = Work {
        args,
        preparation: Preparation::new(&race, &args.machine, settings, ui)?,
    };
    let (mut report, whole) = match &args.kernel {
        Some(kernel) => work.in_vms(kernel)?,
        None => work.here()?,
    };
    let exit = conclude(&mut report, whole);
    show(args, &report, ui)?;
    Ok(exit)
}

/// The settings of a race that does not take place.
pub(super) fn no_race(module: Option<&Path>) -> Result<RaceArgs, Failure> {
    #[derive(Parser)]
    struct Nothing {
        #[command(flatten)]
        race: RaceArgs,
    }
    let nothing = Nothing::try_parse_from(["states"]).or_fail(ExitCode::Usage)?;
    Ok(RaceArgs {
        // Nothing is left to chance.
        seed: Some(0),
        module: module.map(Path::to_owned),
        ..nothing.race
    })
}

/// One run of the command.
struct Work<'a> {
    args: &'a Args,
    preparation: Preparation<'a>,
}

impl Work<'_> {
    /// All of it, in disposable VMs. False with the report if a part could not
    /// be looked at.
    fn in_vms(&self, kernel: &str) -> Result<(Report, bool), Failure> {
        let mut side = self.preparation.side(kernel)?;
        let logs = self
            .args
            .report
            .clone()
            .map(|path| ReportFile::at(path).logs());
        let looked = look(&side, kernel, &self.preparation, logs)?;
        adopt(&mut side.environment, looked.guest);
        let mut report = self.preparation.report(&side);
        adopt_module(&mut report, &looked.seen);
        report.states = looked.checks;
        Ok((report, looked.whole))
    }

    /// What can be looked at on the running kernel without harm to it.
    fn here(&self) -> Result<(Report, bool), Failure> {
        let unsupported = |text: &str| Failure::message(ExitCode::Unsupported, text);
        if !nix::unistd::geteuid().is_root() {
            return Err(unsupported("loading a module takes root")
                .hint("run it as root, or name a kernel to boot in a VM: --kernel KERNEL"));
        }
        if !Path::new("/proc/modules").exists() {
            return Err(unsupported(
                "the running kernel has no /proc/modules: no loadable modules",
            )
            .hint("name a kernel to boot in a VM: --kernel KERNEL"));
        }
        let environment = uname::environment("this machine");
        let release = environment.kernel.release.clone().unwrap_or_default();
        let kdir = PathBuf::from(format!("/lib/modules/{release}/build"));
        let module = session::module(
            self.args.module.as_deref(),
            Oracle::Crash,
            Some(&kdir),
            &release,
            &self.preparation.cache,
            &self.preparation.stop,
        )?;
        fit(&module).map_err(hold_failure)?;
        let folder = tempfile::tempdir().or_fail(ExitCode::Broken)?;
        let path = folder.path().join("module.ko");
        std::fs::write(&path, module.bytes()).or_fail(ExitCode::Broken)?;
        let mut seen = Vec::new();
        observe_all(&path, false, &mut |observed| seen.push(observed)).map_err(hold_failure)?;
        self.preparation.ui.note(
            "only /proc/modules and sysfs were checked: sysrq-c would crash this machine; in a \
             VM it is checked too: --kernel KERNEL",
        );
        let mut settings = self.preparation.settings.clone();
        settings.accel = Accel::None;
        let started = self.preparation.started;
        let mut report = session::blank(environment, &module, settings, 0, started);
        adopt_module(&mut report, &seen);
        report.states = check_observed(&seen);
        Ok((report, true))
    }
}

/// What was seen of a kernel's states in VMs.
pub(super) struct Looked {
    guest: Environment,
    seen: Vec<Observed>,
    /// The checks made of it.
    pub(super) checks: Vec<StateCheck>,
    /// False if a part could not be looked at.
    whole: bool,
}

/// Looks at the module's states on a kernel: one VM for `/proc/modules`, one for
/// each sysrq-c.
pub(super) fn look(
    side: &Side,
    kernel: &str,
    preparation: &Preparation<'_>,
    logs: Option<PathBuf>,
) -> Result<Looked, Failure> {
    fit(&side.module).map_err(hold_failure)?;
    let vm = StatesVm {
        qemu: &side.trials.qemu,
        spec: &side.trials.spec,
        base: &side.trials.base,
        settings: &preparation.settings,
        logs,
        stop: &preparation.stop,
    };
    let ui = preparation.ui;
    ui.note("the module in /proc/modules, in each state");
    let (guest, seen) = vm.observe().map_err(failure)?;
    let mut checks = check_observed(&seen);
    let whole = prints_its_list(kernel, &preparation.cache, ui)?;
    for held in CRASHED_IN.into_iter().filter(|_| whole) {
        ui.note(&format!("sysrq-c while the module is {}", held.as_str()));
        let crashes = vm.crash_in(held).map_err(failure)?;
        checks.extend(check_console(
            held,
            side.module.name(),
            &letters(&seen),
            &crashes,
        ));
    }
    Ok(Looked {
        guest,
        seen,
        checks,
        whole,
    })
}

/// Whether the kernel has what prints the list: `print_modules()` is called
/// by `__warn()`, which is nothing without `CONFIG_BUG`.
fn prints_its_list(kernel: &str, cache: &Cache, ui: &Ui) -> Result<bool, Failure> {
    let config = kernel_arg::resolve(kernel, cache)?.config;
    let config = config.and_then(|path| KernelConfig::open(&path).ok());
    // Of a kernel without its configuration at hand, assume the usual.
    let Some(config) = config else {
        return Ok(true);
    };
    let missing = ["BUG", "MAGIC_SYSRQ"]
        .into_iter()
        .find(|option| !config.is_yes(option));
    if let Some(option) = missing {
        ui.note(&format!(
            "the list of modules on the console is not checked: the kernel is built without \
             CONFIG_{option}"
        ));
    }
    Ok(missing.is_none())
}

fn adopt_module(report: &mut Report, seen: &[Observed]) {
    if let Some(module) = &mut report.module {
        module.taints = letters(seen);
    }
}

/// The module's taint letters while it was live.
fn letters(seen: &[Observed]) -> String {
    let live = seen.iter().find(|one| one.held == Held::Live);
    live.and_then(|one| one.taint.clone()).unwrap_or_default()
}

/// States that are right are no pass: nothing was raced.
fn conclude(report: &mut Report, whole: bool) -> ExitCode {
    let total = report.states.len();
    let judged = verdict_of_run(&report.settings, &[], &report.states, true, None);
    let (verdict, reason, exit) = match judged {
        (Verdict::Fail, reason) => (Verdict::Fail, reason, ExitCode::Crashed),
        _ if whole && total > 0 => {
            let reason = format!(
                "all {total} checks of the module's states are as expected; nothing was raced"
            );
            (Verdict::Inconclusive, reason, ExitCode::Survived)
        }
        _ => {
            let reason = format!("{total} checks are as expected, others could not be made");
            (Verdict::Inconclusive, reason, ExitCode::Inconclusive)
        }
    };
    report.verdict = verdict;
    report.verdict_reason = reason;
    report.complete = true;
    report.updated = session::now();
    exit
}

fn show(args: &Args, report: &Report, ui: &Ui) -> Result<(), Failure> {
    if let Some(path) = &args.report {
        let file = ReportFile::at(path.clone());
        file.save(report).or_fail(ExitCode::Broken)?;
        ui.note(&format!("report: {}", path.display()));
    }
    if args.json {
        let json = to_json(report).or_fail(ExitCode::Broken)?;
        ui.result(&String::from_utf8_lossy(&json));
        return Ok(());
    }
    let kernel = &report.environment.kernel;
    let release = kernel.release.as_deref().unwrap_or("unknown");
    ui.result(&format!("kernel: {} ({release})\n", kernel.name));
    ui.result(&states_text(&report.states));
    ui.result(&format!("{}\n", report.verdict_reason));
    Ok(())
}

fn failure(error: StatesError) -> Failure {
    let code = match &error {
        StatesError::Interrupted => ExitCode::Interrupted,
        _ => ExitCode::Broken,
    };
    Failure::new(code, error)
}

fn hold_failure(error: HoldError) -> Failure {
    let code = match &error {
        HoldError::NoParameters(_) | HoldError::Untainted(_) | HoldError::Loaded(_) => {
            ExitCode::Usage
        }
        HoldError::Load(..) => ExitCode::Unsupported,
        _ => ExitCode::Broken,
    };
    let wrong_module = matches!(error, HoldError::NoParameters(_) | HoldError::Untainted(_));
    let failure = Failure::new(code, error);
    if wrong_module {
        failure.hint("leave --module out, and the dummy module is built for the kernel")
    } else {
        failure
    }
}
