//! What a command is asked to do: plain values with their defaults, whoever
//! asks. Every limit is checked here, once, before anything is built or booted.

use std::path::{Path, PathBuf};

use super::exit::Failure;
use super::random;
use crate::model::{
    Accel, ChaosChoice, DEFAULT_RACE, DEFAULT_TARGET, MAX_SEED, Oracle, Settings, StartChoice,
    Strategy, Terms,
};
use crate::procfs::cpus::CpuList;
use crate::race::targets;
use crate::recorder::MAX_WORKERS;
use crate::trial::VmcoreChoice;
use crate::verdict;

/// Trials of a run.
pub const DEFAULT_TRIALS: u32 = 5;
/// Longest trial, seconds.
pub const DEFAULT_DURATION_S: f64 = 60.0;
/// Virtual CPUs of a guest.
pub const DEFAULT_SMP: u32 = 4;
/// Memory of a guest, MiB.
pub const DEFAULT_MEM_MIB: u32 = 512;
/// How sure to be of a comparison.
pub const DEFAULT_CONFIDENCE: f64 = 0.999;
/// Other modules that a guest may have loaded.
const MAX_BACKGROUND: u32 = 4000;
/// Longest race: beyond a year a typing error is likelier.
const MAX_DURATION_S: f64 = 366.0 * 86400.0;

/// What to race and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// How to race, and on what machine.
    pub settings: Settings,
    /// What the verdict hangs on besides them.
    pub terms: Terms,
    /// The run's seed.
    pub seed: u64,
    /// A module file to race; none: the dummy module, built for the kernel.
    pub module: Option<PathBuf>,
    /// Modules that are loaded before it, in this order.
    pub with: Vec<PathBuf>,
    /// With a race that is a driver's own mistake: its module without it.
    pub mended: bool,
    /// Where the report goes.
    pub report: Destination,
    /// The modrace that is a guest's PID 1; none: this program.
    pub program: Option<PathBuf>,
    /// The QEMU program; none: the one on `PATH`.
    pub qemu: Option<PathBuf>,
    /// Keep what is needed to boot a trial again by hand.
    pub keep: bool,
    /// Which guests that panicked leave their memory beside the report.
    pub vmcore: VmcoreChoice,
    /// A guest that panics is held for a debugger.
    pub debugger: bool,
}

/// Where a report goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// A file below `reports/`, named after the moment, the kernel and the
    /// verdict.
    #[default]
    Named,
    /// This file.
    File(PathBuf),
    /// Standard output, as JSON.
    Stdout,
}

impl Destination {
    /// From what was typed: a file, `-` for standard output, or nothing.
    pub fn typed(path: Option<&Path>) -> Self {
        match path {
            None => Self::Named,
            Some(path) if path.as_os_str() == "-" => Self::Stdout,
            Some(path) => Self::File(path.to_owned()),
        }
    }
}

impl Default for Request {
    fn default() -> Self {
        Self {
            settings: Settings {
                trials: DEFAULT_TRIALS,
                duration_s: DEFAULT_DURATION_S,
                jobs: 1,
                smp: DEFAULT_SMP,
                cpus: Vec::new(),
                mem_mib: DEFAULT_MEM_MIB,
                accel: Accel::Auto,
                loaders: 1,
                readers: 1,
                strategy: Strategy::Auto,
                chaos: ChaosChoice::Auto,
                arms: Vec::new(),
                background_modules: 0,
                append: String::new(),
                oracle: Oracle::Crash,
                target: DEFAULT_TARGET.to_owned(),
                start: StartChoice::Boot,
                renew: None,
                race: DEFAULT_RACE.to_owned(),
                driver: None,
            },
            terms: Terms::default(),
            seed: 0,
            module: None,
            with: Vec::new(),
            mended: false,
            report: Destination::Named,
            program: None,
            qemu: None,
            keep: false,
            vmcore: VmcoreChoice::None,
            debugger: false,
        }
    }
}

impl Request {
    /// Checks the request for disposable VMs.
    pub fn check_for_vms(&self) -> Result<(), Failure> {
        let settings = &self.settings;
        self.check_race()?;
        at_least_one(&[("--smp", settings.smp), ("--jobs", settings.jobs)])?;
        if settings.smp > 255 {
            return usage(format!(
                "--smp {}: QEMU's pc machine has at most 255",
                settings.smp
            ));
        }
        if settings.mem_mib < 64 {
            return usage(format!(
                "--mem-mib {}: a guest needs at least 64",
                settings.mem_mib
            ));
        }
        if settings.renew == Some(0) {
            return usage("--renew 0: at least 1 is needed".to_owned());
        }
        if self.keep && settings.start == StartChoice::Clone {
            return usage(
                "--keep with --start clone: what is kept boots, and a clone does not; leave \
                 --start out"
                    .to_owned(),
            );
        }
        let guests: Vec<usize> = (0..settings.smp as usize).collect();
        self.check_cpus(&guests, "the guest has", "--smp gives it more")
    }

    /// Checks the request for this machine, of whose CPUs this process may use
    /// those `allowed`, and notes what it is raced on.
    pub fn for_this_machine(mut self, allowed: &[usize], mem_mib: u32) -> Result<Self, Failure> {
        self.check_race()?;
        let way_out = "cgroups and taskset decide about that";
        self.check_cpus(allowed, "this process may use", way_out)?;
        let settings = &mut self.settings;
        let cpus = match settings.cpus.len() {
            0 => allowed.len(),
            asked => asked,
        };
        settings.smp = u32::try_from(cpus).unwrap_or(u32::MAX);
        settings.mem_mib = mem_mib;
        settings.jobs = 1;
        settings.accel = Accel::None;
        settings.start = StartChoice::Boot;
        settings.renew = None;
        settings.append.clear();
        Ok(self)
    }

    /// Checks how to race, wherever that is.
    fn check_race(&self) -> Result<(), Failure> {
        let settings = &self.settings;
        at_least_one(&[
            ("--trials", settings.trials),
            ("--loaders", settings.loaders),
        ])?;
        self.check_choice()?;
        let duration_s = settings.duration_s;
        if !(0.1..=MAX_DURATION_S).contains(&duration_s) {
            return usage(format!(
                "--duration {duration_s} s: between 100ms and a year, please"
            ));
        }
        let workers = u64::from(settings.loaders) + u64::from(settings.readers);
        if workers > MAX_WORKERS as u64 {
            return usage(format!(
                "--loaders {} and --readers {}: at most {MAX_WORKERS} workers in all",
                settings.loaders, settings.readers
            ));
        }
        if settings.background_modules > MAX_BACKGROUND {
            return usage(format!(
                "--background-modules {}: at most {MAX_BACKGROUND}",
                settings.background_modules
            ));
        }
        if self.seed > MAX_SEED {
            return usage(format!(
                "--seed: at most {MAX_SEED} (2^53 - 1), so that JSON keeps it whole"
            ));
        }
        let shows_lines =
            targets::named(&settings.target).is_some_and(|target| target.prints_m_show);
        if settings.oracle == Oracle::NearMiss && !shows_lines {
            return usage(format!(
                "--oracle near-miss with --target {}: near misses are read off the lines that \
                 m_show() prints, and only {DEFAULT_TARGET} has them",
                settings.target
            ));
        }
        Ok(())
    }

    /// Checks the CPUs asked for against those that there are.
    fn check_cpus(&self, there_are: &[usize], whose: &str, way_out: &str) -> Result<(), Failure> {
        let asked = &self.settings.cpus;
        match asked.iter().find(|cpu| !there_are.contains(cpu)) {
            None => Ok(()),
            Some(cpu) => Err(Failure::usage(format!(
                "--cpus {}: there is no CPU {cpu}, {whose} CPUs {}",
                CpuList::from(asked.as_slice()),
                CpuList::from(there_are)
            ))
            .hint(way_out)),
        }
    }
}

fn usage<T>(text: String) -> Result<T, Failure> {
    Err(Failure::usage(text))
}

fn at_least_one(options: &[(&str, u32)]) -> Result<(), Failure> {
    match options.iter().find(|(_, value)| *value == 0) {
        Some((option, _)) => usage(format!("{option} 0: at least 1 is needed")),
        None => Ok(()),
    }
}

/// Checks how sure to be of a comparison: in every command the same.
pub fn check_confidence(confidence: f64) -> Result<(), Failure> {
    verdict::check_confidence(confidence)
        .map_err(|wrong| Failure::usage(format!("--confidence: {wrong}")))
}

/// Trials at once that give each virtual CPU a host CPU, at least one.
pub fn default_jobs(smp: u32) -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    cpus.checked_div(smp).unwrap_or(1).max(1)
}

/// A seed that no other run has.
pub fn new_seed() -> Result<u64, Failure> {
    Ok(random::bits()? & MAX_SEED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExitCode;

    #[test]
    fn the_defaults_are_a_request_that_passes() {
        let request = Request::default();
        request.check_for_vms().unwrap();
        let here = request.for_this_machine(&[0, 2, 5], 256).unwrap();
        assert_eq!(here.settings.smp, 3);
        assert_eq!(here.settings.mem_mib, 256);
        assert_eq!(here.settings.accel, Accel::None);
    }

    #[test]
    fn a_limit_is_named_by_its_option() {
        type Change = fn(&mut Request);
        let cases: [(&str, Change); 9] = [
            ("--trials 0", |asked| asked.settings.trials = 0),
            ("--loaders 0", |asked| asked.settings.loaders = 0),
            ("--duration 0.05 s", |asked| {
                asked.settings.duration_s = 0.05;
            }),
            ("--loaders 1000000", |asked| {
                asked.settings.loaders = 1_000_000;
            }),
            ("--background-modules 4001", |asked| {
                asked.settings.background_modules = 4001;
            }),
            ("--seed", |asked| asked.seed = MAX_SEED + 1),
            ("--smp 256", |asked| asked.settings.smp = 256),
            ("--mem-mib 63", |asked| asked.settings.mem_mib = 63),
            ("--cpus 3-4: there is no CPU 4", |asked| {
                asked.settings.cpus = vec![4, 3];
            }),
        ];
        for (named, change) in cases {
            let mut request = Request::default();
            change(&mut request);
            let failure = request.check_for_vms().unwrap_err();
            assert_eq!(failure.code, ExitCode::Usage);
            let text = failure.error.to_string();
            assert!(text.contains(named), "{named}: {text}");
        }
    }

    #[test]
    fn trials_at_once_share_the_host() {
        assert_eq!(default_jobs(u32::MAX), 1);
        // Refused later, by name.
        assert_eq!(default_jobs(0), 1);
    }

    #[test]
    fn seeds_differ_and_fit_json() {
        let (one, other) = (new_seed().unwrap(), new_seed().unwrap());
        assert!(one != other && one.max(other) <= MAX_SEED);
    }
}
