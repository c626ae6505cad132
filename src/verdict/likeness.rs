//! What two runs must share to be one experiment but for the kernel, and what
//! may matter where it differs.

use std::collections::BTreeSet;

use super::trials::raced;
use crate::model::{Environment, ModuleRecord, Report, Run, Settings, Trial};

/// Share by which the memory that kernels report may differ: their own size is
/// not part of it.
const MEMORY_SLACK: f64 = 0.05;

/// A run as far as another is to be like it.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// What was asked for.
    pub settings: &'a Settings,
    /// Where it took place.
    pub environment: &'a Environment,
    /// What was loaded.
    pub module: Option<&'a ModuleRecord>,
    /// Its trials.
    pub trials: &'a [Trial],
}

impl<'a> From<&'a Report> for Machine<'a> {
    fn from(report: &'a Report) -> Self {
        Self {
            settings: &report.settings,
            environment: &report.environment,
            module: report.module.as_ref(),
            trials: &report.trials,
        }
    }
}

impl<'a> From<&'a Run> for Machine<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            settings: &run.settings,
            environment: &run.environment,
            module: run.module.as_ref(),
            trials: &run.trials,
        }
    }
}

/// A field in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path in a report.
    pub field: &'static str,
    /// Its value in the first run.
    pub first: String,
    /// Its value in the second.
    pub second: String,
}

/// The taints that say what a module is. E says that it has no signature, and is
/// set where the kernel looks for one (`load_module()` in kernel/module.c, under
/// `CONFIG_MODULE_SIG`): it is the kernel's, and makes no other race.
fn taints(module: &ModuleRecord) -> String {
    module.taints.replace('E', "")
}

type Field = (&'static str, fn(&Machine<'_>) -> Option<String>);

/// What matters to the race.
const MATTERS: &[Field] = &[
    ("environment.cpus", |m| number(m.environment.cpus)),
    ("environment.accel", |m| m.environment.accel.clone()),
    ("environment.cpu_model", |m| m.environment.cpu_model.clone()),
    ("environment.host_cpus", |m| number(m.environment.host_cpus)),
    ("environment.qemu", |m| m.environment.qemu.clone()),
    ("environment.preemption", |m| {
        // How a kernel came to its model makes no other race.
        m.environment.preemption_model().map(str::to_owned)
    }),
    ("environment.cmdline", |m| {
        m.environment.cmdline.as_deref().map(command_line)
    }),
];

/// What matters of the module.
const MODULE_MATTERS: &[Field] = &[
    ("module.name", |m| Some(m.module?.name.clone())),
    ("module.taints", |m| Some(taints(m.module?))),
];

/// What may matter.
const MAY_MATTER: &[Field] = &[
    ("environment.kernel.config_sha256", |m| {
        m.environment.kernel.config_sha256.clone()
    }),
    ("environment.kernel.compiler", |m| {
        m.environment.kernel.compiler.clone()
    }),
    ("environment.host_release", |m| {
        m.environment.host_release.clone()
    }),
    ("module.sha256", |m| Some(m.module?.sha256.clone())),
];

/// The first thing that forbids to compare the two: something that matters to
/// the race differs, or nothing does.
///
/// Where the race is a driver's own mistake its module is what is under test, on
/// one and the same kernel.
pub fn forbids(first: Machine<'_>, second: Machine<'_>) -> Option<Difference> {
    let one_kernel = one_kernel(first, second);
    let module = |machine: Machine<'_>| machine.module.map(|module| module.sha256.clone());
    if one_kernel.is_some() && first.settings.is_other_race() && module(first) != module(second) {
        return unlike_machines(first, second);
    }
    unlike(first, second).or(one_kernel)
}

/// What differs and may matter.
pub fn may_matter(first: Machine<'_>, second: Machine<'_>) -> Vec<Difference> {
    differing(MAY_MATTER, first, second)
}

/// The first thing that matters to the race and differs, the kernel itself
/// aside.
pub fn unlike(first: Machine<'_>, second: Machine<'_>) -> Option<Difference> {
    let module = differing(MODULE_MATTERS, first, second);
    unlike_machines(first, second)
        .or_else(|| module.into_iter().next())
        .or_else(|| sources(first, second))
}

/// The module's source, where both kernels' builds noted it (for modules without
/// a version that takes `CONFIG_MODULE_SRCVERSION_ALL`).
fn sources(first: Machine<'_>, second: Machine<'_>) -> Option<Difference> {
    let of = |machine: Machine<'_>| machine.module.and_then(|module| module.srcversion.clone());
    let (ours, theirs) = (of(first)?, of(second)?);
    (ours != theirs).then_some(Difference {
        field: "module.srcversion",
        first: ours,
        second: theirs,
    })
}

fn unlike_machines(first: Machine<'_>, second: Machine<'_>) -> Option<Difference> {
    differing(MATTERS, first, second)
        .into_iter()
        .next()
        .or_else(|| memory(first, second))
        .or_else(|| chaos_at_work(first, second))
}

/// The image's hash, if both runs had the same.
fn one_kernel(first: Machine<'_>, second: Machine<'_>) -> Option<Difference> {
    let image = |machine: Machine<'_>| machine.environment.kernel.image_sha256.clone();
    let (ours, theirs) = (image(first)?, image(second)?);
    (ours == theirs).then_some(Difference {
        field: SAME_IMAGE,
        first: ours,
        second: theirs,
    })
}

/// The field that must differ.
pub const SAME_IMAGE: &str = "environment.kernel.image_sha256";

fn differing(fields: &[Field], first: Machine<'_>, second: Machine<'_>) -> Vec<Difference> {
    let told = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    fields
        .iter()
        .map(|(field, of)| (*field, of(&first), of(&second)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(field, ours, theirs)| Difference {
            field,
            first: told(ours),
            second: told(theirs),
        })
        .collect()
}

fn memory(first: Machine<'_>, second: Machine<'_>) -> Option<Difference> {
    let of = |machine: Machine<'_>| machine.environment.mem_mib;
    let (ours, theirs) = (of(first), of(second));
    let near = match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            let more = f64::from(ours.max(theirs));
            f64::from(ours.abs_diff(theirs)) <= MEMORY_SLACK * more
        }
        _ => ours == theirs,
    };
    let told = |value: Option<u32>| number(value).unwrap_or_else(|| "unknown".to_owned());
    (!near).then(|| Difference {
        field: "environment.mem_mib",
        first: told(ours),
        second: told(theirs),
    })
}

fn number(value: Option<u32>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// A boot loader names the kernel's files on the command line; they differ as the
/// kernels do.
fn command_line(line: &str) -> String {
    let names_a_file = |word: &&str| word.starts_with("BOOT_IMAGE=") || word.starts_with("initrd=");
    let words: Vec<&str> = line
        .split_whitespace()
        .filter(|word| !names_a_file(word))
        .collect();
    words.join(" ")
}

/// The techniques that were really at work, where both runs raced.
fn chaos_at_work(first: Machine<'_>, second: Machine<'_>) -> Option<Difference> {
    let (ours, theirs) = (chaos(first.trials)?, chaos(second.trials)?);
    (ours != theirs).then_some(Difference {
        field: "trials[].chaos",
        first: ours,
        second: theirs,
    })
}

/// The techniques at work in any trial. None where nothing raced.
fn chaos(trials: &[Trial]) -> Option<String> {
    let mut raced = trials.iter().filter(|trial| raced(trial)).peekable();
    raced.peek()?;
    let names: BTreeSet<&str> = raced
        .flat_map(|trial| &trial.chaos)
        .map(String::as_str)
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    Some(if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    })
}
