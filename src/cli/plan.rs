//! From what was typed to what will be done: every limit is checked here, once,
//! before anything is built or booted.

use std::hash::{BuildHasher, Hasher};

use super::Failure;
use super::args::{MachineArgs, RaceArgs};
use super::driver::{self, Read};
use crate::model::{Accel, DEFAULT_TARGET, ExitCode, MAX_SEED, Oracle, Settings, Strategy};
use crate::procfs::cpus::CpuList;
use crate::race::action::{LoaderAction, ReaderAction};
use crate::recorder::MAX_WORKERS;

/// The target of a race that has no readers.
const NO_TARGET: &str = "nothing";
/// Trials of a run unless told otherwise.
const DEFAULT_TRIALS: u32 = 5;
/// Longest trial unless told otherwise, seconds.
pub(super) const DEFAULT_DURATION_S: f64 = 60.0;
/// Other modules that a guest may have loaded.
const MAX_BACKGROUND: u32 = 4000;
/// Longest race: beyond a year a typing error is likelier.
const MAX_DURATION_S: f64 = 366.0 * 86400.0;

fn usage<T>(text: String) -> Result<T, Failure> {
    Err(Failure::message(ExitCode::Usage, text))
}

fn at_least_one(options: &[(&str, u32)]) -> Result<(), Failure> {
    match options.iter().find(|(_, value)| *value == 0) {
        Some((option, _)) => usage(format!("{option} 0: at least 1 is needed")),
        None => Ok(()),
    }
}

/// Checks how to race, wherever that is. Returns the duration, seconds.
fn check_race(race: &RaceArgs, read: &Read, default_duration_s: f64) -> Result<f64, Failure> {
    let (loaders, readers) = workers(race, read);
    at_least_one(&[
        ("--trials", race.trials.unwrap_or(DEFAULT_TRIALS)),
        ("--loaders", loaders),
        ("--readers", race.readers.unwrap_or(1)),
    ])?;
    let duration_s = race
        .duration
        .map_or(default_duration_s, |duration| duration.as_secs_f64());
    if !(0.1..=MAX_DURATION_S).contains(&duration_s) {
        return usage(format!(
            "--duration {duration_s} s: between 100ms and a year, please"
        ));
    }
    if u64::from(loaders) + u64::from(readers) > MAX_WORKERS as u64 {
        return usage(format!(
            "--loaders {loaders} and --readers {readers}: at most {MAX_WORKERS} workers in all"
        ));
    }
    if race.background_modules > MAX_BACKGROUND {
        return usage(format!(
            "--background-modules {}: at most {MAX_BACKGROUND}",
            race.background_modules
        ));
    }
    if race.seed.is_some_and(|seed| seed > MAX_SEED) {
        return usage(format!(
            "--seed: at most {MAX_SEED} (2^53 - 1), so that JSON keeps it whole"
        ));
    }
    check_row(race)?;
    let shown = match read {
        Read::Row(target) if !target.prints_m_show => Some(target.name),
        Read::Driver(_) => Some("a driver's files"),
        Read::Row(_) => None,
    };
    if let (Oracle::NearMiss, Some(target)) = (Oracle::from(race.oracle), shown) {
        return usage(format!(
            "--oracle near-miss with --target {target}: near misses are read off the lines that \
             m_show() prints, and only {DEFAULT_TARGET} has them"
        ));
    }
    Ok(duration_s)
}

/// What a row of the table of races leaves to be chosen.
fn check_row(race: &RaceArgs) -> Result<(), Failure> {
    let row = race.race;
    if race.mended && !row.is_drivers() {
        return usage(format!(
            "--mended: --race {} is a kernel's, not a driver's mistake that could be mended",
            row.name
        ));
    }
    if row.is_default() {
        return Ok(());
    }
    if Oracle::from(race.oracle) == Oracle::NearMiss {
        return usage(format!(
            "--oracle near-miss with --race {}: only the default race shows near misses",
            row.name
        ));
    }
    if race.strategy != Strategy::Auto || !race.arms.is_empty() {
        return usage(format!(
            "--strategy and --arms are the default race's; --race {} has actions of its own",
            row.name
        ));
    }
    if row.loader == LoaderAction::Duel && race.loaders.is_some_and(|loaders| loaders != 2) {
        return usage(format!("--race {} takes two loaders", row.name));
    }
    if row.readers == 0 && race.readers.is_some() {
        return usage(format!("--race {} has no readers", row.name));
    }
    Ok(())
}

/// Loaders and readers: as many as were typed, or as the race has by itself.
fn workers(race: &RaceArgs, read: &Read) -> (u32, u32) {
    let readers = match read {
        Read::Driver(driver) if driver.action == ReaderAction::Nothing.as_str() => 0,
        Read::Driver(_) => 2,
        Read::Row(_) => race.race.readers,
    };
    (
        race.loaders.unwrap_or(race.race.loaders),
        race.readers.unwrap_or(readers),
    )
}

/// The CPUs asked for, of those that there are; empty: all.
fn check_cpus(
    race: &RaceArgs,
    there_are: &[usize],
    whose: &str,
    way_out: &str,
) -> Result<Vec<usize>, Failure> {
    let Some(typed) = &race.cpus else {
        return Ok(Vec::new());
    };
    let cpus = typed.as_slice();
    match cpus.iter().find(|cpu| !there_are.contains(cpu)) {
        None => Ok(cpus.to_vec()),
        Some(cpu) => usage(format!(
            "--cpus {typed}: there is no CPU {cpu}, {whose} CPUs {}",
            CpuList::from(there_are)
        ))
        .map_err(|failure| failure.hint(way_out)),
    }
}

/// What every race is asked, on a machine that is yet to be named.
fn settings(race: &RaceArgs, default_duration_s: f64) -> Result<Settings, Failure> {
    let read = driver::read(race)?;
    let duration_s = check_race(race, &read, default_duration_s)?;
    let (loaders, readers) = workers(race, &read);
    let row = race.race;
    let target = match &read {
        Read::Row(_) if !row.is_default() => row.targets.first().copied().unwrap_or(NO_TARGET),
        Read::Row(target) => target.name,
        Read::Driver(driver) => driver.targets.first().map_or(NO_TARGET, String::as_str),
    };
    let target = target.to_owned();
    Ok(Settings {
        trials: race.trials.unwrap_or(DEFAULT_TRIALS),
        duration_s,
        jobs: 1,
        smp: 0,
        cpus: Vec::new(),
        mem_mib: 0,
        accel: Accel::None,
        loaders,
        readers,
        strategy: race.strategy,
        chaos: race.chaos.clone(),
        arms: race.arms.clone(),
        background_modules: race.background_modules,
        append: String::new(),
        oracle: race.oracle.into(),
        target,
        race: row.name.to_owned(),
        driver: match read {
            Read::Driver(driver) => Some(driver),
            Read::Row(_) => None,
        },
    })
}

/// The settings of a run on this machine, of whose CPUs this process may use
/// those `allowed`.
pub(super) fn bare_settings(
    race: &RaceArgs,
    allowed: &[usize],
    mem_mib: u32,
) -> Result<Settings, Failure> {
    let settings = settings(race, DEFAULT_DURATION_S)?;
    let way_out = "cgroups and taskset decide about that";
    let cpus = check_cpus(race, allowed, "this process may use", way_out)?;
    let raced_on = if cpus.is_empty() { allowed } else { &cpus };
    Ok(Settings {
        // One trial may cost the machine; more of them are asked for.
        trials: race.trials.unwrap_or(1),
        smp: u32::try_from(raced_on.len()).unwrap_or(u32::MAX),
        cpus,
        mem_mib,
        ..settings
    })
}

/// The settings of a run in VMs.
pub(super) fn vm_settings(
    race: &RaceArgs,
    machine: &MachineArgs,
    default_duration_s: f64,
) -> Result<Settings, Failure> {
    let settings = settings(race, default_duration_s)?;
    let smp = machine.smp.unwrap_or(race.race.smp);
    at_least_one(&[
        ("--smp", smp),
        ("--jobs", machine.jobs.unwrap_or(1)),
    ])?;
    if smp > 255 {
        return usage(format!(
            "--smp {smp}: QEMU's pc machine has at most 255"
        ));
    }
    if machine.mem_mib < 64 {
        return usage(format!(
            "--mem-mib {}: a guest needs at least 64",
            machine.mem_mib
        ));
    }
    let guests: Vec<usize> = (0..smp as usize).collect();
    Ok(Settings {
        jobs: machine.jobs.unwrap_or_else(|| default_jobs(smp)),
        smp,
        cpus: check_cpus(race, &guests, "the guest has", "--smp gives it more")?,
        mem_mib: machine.mem_mib,
        accel: machine.accel.into(),
        append: appended(race.race.append, &machine.append),
        ..settings
    })
}

/// The row's words for the kernel before those typed, which so have the last
/// word.
fn appended(row: &str, typed: &str) -> String {
    [row, typed].join(" ").trim().to_owned()
}

fn default_jobs(smp: u32) -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cpus)
        .unwrap_or(u32::MAX)
        .div_euclid(smp)
        .max(1)
}

/// The run's seed: the one typed, or a new one.
pub(super) fn seed(race: &RaceArgs) -> u64 {
    // The standard library keys its hash maps at random; that is all we need.
    let fresh = || std::hash::RandomState::new().build_hasher().finish() & MAX_SEED;
    race.seed.unwrap_or_else(fresh)
}
