//! What `modrace run` needs of the kernel that runs here: the facts by which it
//! refuses, told one by one before it does.

use super::{Area, Finding};
use crate::kernel::crash_log::CrashLog;
use crate::kernel::preflight::{Facts, Refusal, TAINT_DIE, running_kdir};
use crate::kernel::{affinity, udev, uname};

/// Clock sources that are read from a device, not from the CPU.
const SLOW_CLOCKS: &[&str] = &["hpet", "acpi_pm"];

pub(super) fn findings() -> Vec<Finding> {
    // That it may crash is declared for a run, and not found on the machine.
    let facts = Facts::gather(true);
    let when = |is_so: bool, refusal| is_so.then_some(refusal);
    let died = facts.taint & TAINT_DIE != 0;
    let mut findings = vec![
        check(
            "root",
            when(!facts.root, Refusal::NotRoot),
            "modules may be loaded",
        ),
        check(
            "a kernel of its own",
            facts.container.clone().map(Refusal::Container),
            "not a container",
        ),
        check(
            "loadable modules",
            when(!facts.modules, Refusal::NoModules),
            "/proc/modules is there",
        ),
        unload(&facts),
        headers(),
        check(
            "lockdown",
            facts.lockdown.clone().map(Refusal::Lockdown),
            "off",
        ),
        check(
            "module signatures",
            when(facts.signatures, Refusal::Signatures),
            "not enforced",
        ),
    ];
    // Rare enough to be told only where they stand in the way.
    let rare = [
        (
            "module loading",
            when(facts.modules_disabled, Refusal::ModulesDisabled),
        ),
        ("a clean state", when(died, Refusal::Died)),
    ];
    let rare = rare.into_iter().filter(|(_, refusal)| refusal.is_some());
    findings.extend(rare.map(|(what, refusal)| check(what, refusal, "")));
    findings.push(crash_log());
    findings.extend(slow());
    findings
}

/// A fact that `run` would refuse for, or does not mind.
fn check(what: &str, refusal: Option<Refusal>, detail: &str) -> Finding {
    match refusal {
        None => Finding::found(Area::Run, what, detail),
        Some(refusal) => Finding::missing(Area::Run, what, refusal.to_string(), refusal.hint()),
    }
}

/// What would tell of a panic after the reboot.
fn crash_log() -> Finding {
    let (log, what) = (CrashLog::gather(), "a panic's log");
    if log.is_kept() {
        return Finding::found(Area::Run, what, log.to_string());
    }
    Finding::lacking(
        Area::Run,
        what,
        log.to_string(),
        "race with --on-crash stay, or set up pstore (modprobe ramoops) or kdump (apt-get install \
         kdump-tools)",
    )
}

/// What makes a race slower on this machine than it could be.
fn slow() -> Vec<Finding> {
    let mut findings = Vec::new();
    if udev::is_running() {
        findings.push(Finding::lacking(
            Area::Run,
            "speed: udev",
            "systemd-udevd hears of each load and unload; a third of the cycles where CPUs are few",
            "modrace run --stop-udev stops it for the time of a run",
        ));
    }
    let clock = uname::clock_source().filter(|name| SLOW_CLOCKS.contains(&name.as_str()));
    if let Some(name) = clock {
        findings.push(Finding::lacking(
            Area::Run,
            "speed: clock source",
            format!("{name}: each look at the time is an access to a device"),
            "where the CPUs' counters can be trusted: tsc=reliable on the kernel's command line",
        ));
    }
    let cpus = affinity::allowed_cpus().map_or(0, |cpus| cpus.len());
    if cpus == 1 {
        findings.push(Finding::lacking(
            Area::Run,
            "speed: CPUs",
            "one: loader and reader take turns",
            "race on a machine with two or more",
        ));
    }
    findings
}

fn unload(facts: &Facts) -> Finding {
    let what = "module unloading";
    match facts.unload {
        Some(true) => check(what, None, "CONFIG_MODULE_UNLOAD=y"),
        Some(false) => check(what, Some(Refusal::NoUnload), ""),
        None => Finding::untested(
            Area::Run,
            what,
            "the running kernel's configuration is nowhere to be read",
        ),
    }
}

fn headers() -> Finding {
    let what = "headers";
    let release = uname::environment("").kernel.release.unwrap_or_default();
    let kdir = running_kdir(&release);
    if kdir.join("Makefile").is_file() {
        Finding::found(Area::Run, what, kdir.display().to_string())
    } else {
        Finding::missing(
            Area::Run,
            what,
            format!("no {}", kdir.display()),
            format!("apt-get install linux-headers-{release}, or give --module FILE.ko"),
        )
    }
}
