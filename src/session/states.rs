//! `modrace states`: the module held in each of its states, and what the kernel
//! shows of it in `/proc/modules`, in sysfs and in its own list of modules.

use std::path::{Path, PathBuf};

use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::prepared_kernel::{Preparation, PreparedKernel, adopt};
use super::request::{Destination, Request};
use super::{module, record};
use crate::build::config::KernelConfig;
use crate::kernel::{preflight, uname};
use crate::model::{Accel, Environment, Held, Observed, Oracle, Report, StateCheck};
use crate::report::write::ReportFile;
use crate::states::{StatesVm, check_console, check_died, check_observed, fit, observe_all};

/// The states in which the kernel is made to print its list of modules.
const CRASHED_IN: [Held; 4] = [Held::Init, Held::Live, Held::Exit, Held::Unloaded];

/// Checks the kernel that an argument names, in disposable VMs; without one,
/// what can be looked at on the running kernel without harm to it. The report is
/// saved only to a file that was named. Nothing is raced: of the request only
/// the machine and the module count.
pub fn run(
    request: Request,
    kernel: Option<&str>,
    events: Events<'_>,
) -> Result<Finished, Failure> {
    let mut preparation = Preparation::new(request, events)?;
    preparation.request.settings.trials = 0;
    let file = match &preparation.request.report {
        Destination::File(path) => Some(ReportFile::at(path.clone())),
        Destination::Named | Destination::Stdout => None,
    };
    let mut report = match kernel {
        Some(kernel) => in_vms(kernel, &preparation, file.as_ref().map(ReportFile::logs))?,
        None => here(&preparation)?,
    };
    let exit = record::conclude(&mut report, false);
    Ok(Finished::new(report, exit, file))
}

/// All of it, in disposable VMs.
fn in_vms(
    kernel: &str,
    preparation: &Preparation<'_>,
    logs: Option<PathBuf>,
) -> Result<Report, Failure> {
    let mut prepared = preparation.prepare(kernel, None)?;
    let looked = look(&prepared, preparation, logs)?;
    if let Some(guest) = looked.guest {
        adopt(&mut prepared.environment, guest);
    }
    let mut report = preparation.report(&prepared)?;
    adopt_module(&mut report, &looked.seen);
    record::note_states(&mut report, looked.checks, looked.whole);
    Ok(report)
}

/// What can be looked at on the running kernel without harm to it.
fn here(preparation: &Preparation<'_>) -> Result<Report, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::unsupported("loading a module takes root")
            .hint("run it as root, or name a kernel to boot in a VM: --kernel KERNEL"));
    }
    if !Path::new("/proc/modules").exists() {
        return Err(Failure::unsupported(
            "the running kernel has no /proc/modules: no loadable modules",
        )
        .hint("name a kernel to boot in a VM: --kernel KERNEL"));
    }
    let environment = uname::environment("this machine");
    let release = environment.kernel.release.clone().unwrap_or_default();
    let module = module::of_kernel(
        preparation.request.module.as_deref(),
        Oracle::Crash,
        Some(&preflight::running_kdir(&release)),
        &release,
        &preparation.cache,
        &preparation.stop,
        preparation.events,
    )?;
    fit(&module)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("module.ko");
    std::fs::write(&path, module.bytes())?;
    let mut seen = Vec::new();
    observe_all(&path, false, &mut |observed| seen.push(observed))?;
    preparation.events.note(
        "only /proc/modules and sysfs were checked: sysrq-c would crash this machine; in a VM \
         it is checked too: --kernel KERNEL",
    );
    let mut request = preparation.request.clone();
    request.settings.accel = Accel::None;
    request.seed = 0;
    let module = record::module_record(&module);
    let mut report = record::blank(environment, module, &request, preparation.started)?;
    adopt_module(&mut report, &seen);
    record::note_states(&mut report, check_observed(&seen), true);
    Ok(report)
}

/// What was seen of a kernel's states in VMs.
pub(super) struct Looked {
    /// None: the kernel died before it was done.
    guest: Option<Environment>,
    seen: Vec<Observed>,
    /// The checks made of it.
    pub(super) checks: Vec<StateCheck>,
    /// False if a part could not be looked at.
    pub(super) whole: bool,
}

/// Looks at the module's states on a kernel: one VM for `/proc/modules`, one for
/// each sysrq-c.
pub(super) fn look(
    kernel: &PreparedKernel,
    preparation: &Preparation<'_>,
    logs: Option<PathBuf>,
) -> Result<Looked, Failure> {
    fit(&kernel.module)?;
    let mut vm = StatesVm::new(
        &kernel.trials.qemu,
        &kernel.trials.spec,
        &kernel.trials.base,
        &preparation.request.settings,
        &preparation.stop,
    );
    vm.logs = logs;
    let events = preparation.events;
    events.note("the module in /proc/modules, in each state");
    let (guest, seen) = match vm.observe() {
        Ok(observed) => observed,
        Err(error) => {
            return Ok(Looked {
                guest: None,
                seen: Vec::new(),
                checks: vec![check_died(Held::Init, error)?],
                whole: false,
            });
        }
    };
    let mut checks = check_observed(&seen);
    let whole = prints_its_list(kernel.config.as_ref(), events);
    for held in CRASHED_IN.into_iter().filter(|_| whole) {
        events.note(format!("sysrq-c while the module is {}", held.as_str()));
        let taints = letters(&seen);
        match vm.crash_in(held) {
            Ok(crashes) => {
                checks.extend(check_console(held, kernel.module.name(), &taints, &crashes));
            }
            Err(error) => checks.push(check_died(held, error)?),
        }
    }
    Ok(Looked {
        guest: Some(guest),
        seen,
        checks,
        whole,
    })
}

/// Whether the kernel has what prints the list: `print_modules()` is called
/// by `__warn()`, which is nothing without `CONFIG_BUG`.
fn prints_its_list(config: Option<&KernelConfig>, events: Events<'_>) -> bool {
    // Of a kernel without its configuration at hand, assume the usual.
    let Some(config) = config else {
        return true;
    };
    let missing = ["BUG", "MAGIC_SYSRQ"]
        .into_iter()
        .find(|option| !config.is_yes(option));
    if let Some(option) = missing {
        events.note(format!(
            "the list of modules on the console is not checked: the kernel is built without \
             CONFIG_{option}"
        ));
    }
    missing.is_none()
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
