//! From what was typed to what will be done: every limit is checked here, once,
//! before anything is built or booted.

use std::hash::{BuildHasher, Hasher};

use super::Failure;
use super::args::{MachineArgs, RaceArgs};
use crate::model::{Accel, DEFAULT_TARGET, ExitCode, MAX_SEED, Oracle, Settings};
use crate::procfs::cpus::CpuList;
use crate::recorder::MAX_WORKERS;

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
fn check_race(race: &RaceArgs, default_duration_s: f64) -> Result<f64, Failure> {
    at_least_one(&[
        ("--trials", race.trials.unwrap_or(DEFAULT_TRIALS)),
        ("--loaders", race.loaders),
        ("--readers", race.readers),
    ])?;
    let duration_s = race
        .duration
        .map_or(default_duration_s, |duration| duration.as_secs_f64());
    if !(0.1..=MAX_DURATION_S).contains(&duration_s) {
        return usage(format!(
            "--duration {duration_s} s: between 100ms and a year, please"
        ));
    }
    let workers = u64::from(race.loaders) + u64::from(race.readers);
    if workers > MAX_WORKERS as u64 {
        return usage(format!(
            "--loaders {} and --readers {}: at most {MAX_WORKERS} workers in all",
            race.loaders, race.readers
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
    if Oracle::from(race.oracle) == Oracle::NearMiss && !race.target.prints_m_show {
        return usage(format!(
            "--oracle near-miss with --target {}: near misses are read off the lines that \
             m_show() prints, and only {DEFAULT_TARGET} has them",
            race.target.name
        ));
    }
    Ok(duration_s)
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
    let duration_s = check_race(race, default_duration_s)?;
    Ok(Settings {
        trials: race.trials.unwrap_or(DEFAULT_TRIALS),
        duration_s,
        jobs: 1,
        smp: 0,
        cpus: Vec::new(),
        mem_mib: 0,
        accel: Accel::None,
        loaders: race.loaders,
        readers: race.readers,
        strategy: race.strategy,
        chaos: race.chaos.clone(),
        arms: race.arms.clone(),
        background_modules: race.background_modules,
        append: String::new(),
        oracle: race.oracle.into(),
        target: race.target.name.to_owned(),
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
    at_least_one(&[
        ("--smp", machine.smp),
        ("--jobs", machine.jobs.unwrap_or(1)),
    ])?;
    if machine.smp > 255 {
        return usage(format!(
            "--smp {}: QEMU's pc machine has at most 255",
            machine.smp
        ));
    }
    if machine.mem_mib < 64 {
        return usage(format!(
            "--mem-mib {}: a guest needs at least 64",
            machine.mem_mib
        ));
    }
    let guests: Vec<usize> = (0..machine.smp as usize).collect();
    Ok(Settings {
        jobs: machine.jobs.unwrap_or_else(|| default_jobs(machine.smp)),
        smp: machine.smp,
        cpus: check_cpus(race, &guests, "the guest has", "--smp gives it more")?,
        mem_mib: machine.mem_mib,
        accel: machine.accel.into(),
        append: machine.append.clone(),
        ..settings
    })
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
