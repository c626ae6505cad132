//! What may be typed, shared by the commands that race, and what it asks a
//! session for. Limits are checked there.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::model::{Accel, ChaosChoice, DEFAULT_RACE, Oracle, StartChoice, Strategy, Terms};
use crate::procfs::cpus::CpuList;
use crate::race::action::ReaderAction;
use crate::race::races::{self, RACES, RaceRow};
use crate::session::race_choice::ReadRequest;
use crate::session::request::{self, DEFAULT_CONFIDENCE, DEFAULT_MEM_MIB, DEFAULT_TRIALS};
use crate::session::{ControlRequest, Destination, Failure, Request};

/// How to race, wherever that is.
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub(super) struct RaceArgs {
    /// Longest time raced in one trial, such as 30s, 5m or 1h
    /// [default: 60s; ab: 15s]
    #[arg(short, long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) duration: Option<Duration>,
    /// Trials, each from a clean state [default: 5; ab: as many as the stop rule
    /// wants]
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) trials: Option<u32>,
    /// Let the kernel warn: its warnings are told, but fail it no more. Without
    /// this a warning fails the kernel, unless its baseline shows it too
    #[arg(long)]
    pub(super) allow_warnings: bool,
    /// What a PASS takes besides a clean run: without it the verdict is
    /// inconclusive
    #[arg(long, value_name = "WHAT")]
    pub(super) require: Option<Require>,
    /// The race, from `modrace list races`
    #[arg(long, value_name = "NAME", default_value = DEFAULT_RACE, value_parser = race)]
    pub(super) race: &'static RaceRow,
    /// With a race that is a driver's own mistake: race the module without it
    #[arg(long)]
    pub(super) mended: bool,
    /// Loaders: workers that load and unload the module [default: the race's
    /// own number, most often 1]
    #[arg(long, value_name = "N")]
    pub(super) loaders: Option<u32>,
    /// Readers: workers that read the target [default: the race's own number,
    /// most often 1 or 2]
    #[arg(long, value_name = "N")]
    pub(super) readers: Option<u32>,
    /// CPUs that the workers sit on, such as 0-3,8: the guest's, or for `run`
    /// this machine's [default: all]
    #[arg(long, value_name = "LIST")]
    pub(super) cpus: Option<CpuList>,
    #[command(flatten)]
    pub(super) read: ReadArgs,
    /// How the readers read: auto, head, full or as-reported
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = strategy)]
    pub(super) strategy: Strategy,
    /// Chaos techniques: auto, none, or names from `modrace list chaos`
    #[arg(long, value_name = "LIST", default_value = "auto", value_parser = chaos)]
    pub(super) chaos: ChaosChoice,
    /// Arms that `--strategy auto` chooses from, by name [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = arm)]
    pub(super) arms: Vec<String>,
    /// Load N other modules first, so that the list is as long as a real one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) background_modules: u32,
    /// What tells that the race was lost: the crash, or the near miss that an
    /// untainted twin of the module shows, again and again without a crash
    #[arg(long, value_enum, default_value_t = OracleArg::Crash)]
    pub(super) oracle: OracleArg,
    /// Seed of everything random; a new one each run unless given
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Race this module file (.ko, .ko.xz, .ko.zst, .ko.gz), not the dummy module
    #[arg(long, value_name = "FILE")]
    pub(super) module: Option<PathBuf>,
    /// Where the report goes; - for stdout
    /// [default: reports/<utc>-<kernel>-<verdict>.json]
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Print the report as JSON on stdout, not the summary
    #[arg(long)]
    pub(super) json: bool,
    /// Say nothing on the way
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// What readers do, and to which files.
#[derive(Debug, clap::Args)]
pub(super) struct ReadArgs {
    /// What the readers read: a name from `modrace list targets`, of which only
    /// /proc/modules shows the race of the bug report; or, with --action, any
    /// path of your driver's, with {module} for its name and wildcards *, ? and
    /// **, as often as you like [default: /proc/modules]
    #[arg(long, value_name = "NAME|PATH")]
    target: Vec<String>,
    /// What the readers do to your driver's files, from `modrace list actions`
    #[arg(long, value_name = "NAME", value_parser = action)]
    action: Option<ReaderAction>,
    /// What --action write and bind-unbind write
    #[arg(long, value_name = "TEXT", requires = "action")]
    text: Option<String>,
    /// Race what appears in /proc, /sys and /dev when your driver is loaded
    #[arg(long, requires = "module")]
    discover: bool,
    /// Parameters for your driver, as for insmod
    #[arg(
        long,
        value_name = "WORDS",
        requires = "module",
        allow_hyphen_values = true
    )]
    params: Option<String>,
    /// Load this module before your driver; as often as it needs, in this order
    #[arg(long, value_name = "FILE", requires = "module")]
    with: Vec<PathBuf>,
}

impl ReadArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> ReadRequest {
        ReadRequest {
            targets: self.target.clone(),
            action: self.action,
            text: self.text.clone(),
            parameters: self.params.clone(),
            with: self.with.clone(),
            discover: self.discover,
        }
    }
}

/// What a PASS may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Require {
    /// A kernel that crashed under the same settings: beside it, or by --control
    Control,
}

/// The machine that a guest gets.
#[derive(Debug, clap::Args)]
pub(super) struct MachineArgs {
    /// Trials under way at once [default: host CPUs / virtual CPUs]
    #[arg(short, long, value_name = "N")]
    pub(super) jobs: Option<u32>,
    /// Virtual CPUs; more than the host has helps: a paused virtual CPU is a
    /// paused reader [default: the race's own number, most often 4]
    #[arg(long, value_name = "N")]
    pub(super) smp: Option<u32>,
    /// Memory, MiB
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEM_MIB)]
    pub(super) mem_mib: u32,
    /// What runs the guest; auto takes KVM only if a guest proves that it works
    #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
    pub(super) accel: AccelArg,
    /// Append to the guest's kernel command line
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(super) append: String,
    /// The QEMU program [default: qemu-system-x86_64 on PATH]
    #[arg(long, value_name = "PATH")]
    pub(super) qemu: Option<PathBuf>,
    /// How trials start: boot; clone, from a guest that was booted, prepared and
    /// saved at the gate; or auto: clones, once one has shown that it works here
    #[arg(long, value_enum, default_value_t = StartArg::Auto)]
    pub(super) start: StartArg,
    /// Boot and save another guest after N clones, so that no result hangs on
    /// one boot [default: 50; ab: 5]
    #[arg(long, value_name = "N")]
    pub(super) renew: Option<u32>,
    /// Keep each trial's initramfs and QEMU command beside its console log;
    /// trials then boot
    #[arg(long)]
    pub(super) keep: bool,
}

impl RaceArgs {
    /// The request as far as it is typed here.
    pub(super) fn request(&self) -> Result<Request, Failure> {
        let mut request = Request {
            seed: self.seed.map_or_else(request::new_seed, Ok)?,
            module: self.module.clone(),
            report: Destination::typed(self.report.as_deref()),
            mended: self.mended,
            terms: Terms {
                allow_warnings: self.allow_warnings,
                require_control: self.require == Some(Require::Control),
                ..Terms::default()
            },
            ..Request::of_race(self.race)
        };
        request.read(self.read.request())?;
        let settings = &mut request.settings;
        settings.trials = self.trials.unwrap_or(DEFAULT_TRIALS);
        if let Some(duration) = self.duration {
            settings.duration_s = duration.as_secs_f64();
        }
        settings.loaders = self.loaders.unwrap_or(settings.loaders);
        settings.readers = self.readers.unwrap_or(settings.readers);
        if let Some(cpus) = &self.cpus {
            settings.cpus = cpus.as_slice().to_vec();
        }
        settings.strategy = self.strategy;
        settings.chaos = self.chaos.clone();
        settings.arms.clone_from(&self.arms);
        settings.background_modules = self.background_modules;
        settings.oracle = self.oracle.into();
        Ok(request)
    }
}

impl MachineArgs {
    /// Adds what is typed here to a request.
    pub(super) fn add_to(&self, request: &mut Request) {
        let settings = &mut request.settings;
        settings.smp = self.smp.unwrap_or(settings.smp);
        let jobs = || request::default_jobs(settings.smp);
        settings.jobs = self.jobs.unwrap_or_else(jobs);
        settings.mem_mib = self.mem_mib;
        settings.accel = self.accel.into();
        let start = StartChoice::from(self.start);
        // What is kept of a trial is a machine that boots.
        settings.start = match start {
            StartChoice::Auto if self.keep => StartChoice::Boot,
            other => other,
        };
        settings.renew = self.renew.filter(|_| settings.start != StartChoice::Boot);
        // The race's words come first, so that those typed have the last word.
        let append = [&*settings.append, &*self.append].join(" ");
        append.trim().clone_into(&mut settings.append);
        request.qemu.clone_from(&self.qemu);
        request.keep = self.keep;
    }
}

/// A positive control.
#[derive(Debug, clap::Args)]
pub(super) struct ControlArgs {
    /// The report of a run that crashed under the same settings: the positive
    /// control that a PASS needs
    #[arg(long, value_name = "REPORT")]
    control: Option<PathBuf>,
    /// How sure to be with a control, between 0.5 and 0.999999
    #[arg(long, value_name = "LEVEL", default_value_t = DEFAULT_CONFIDENCE)]
    confidence: f64,
}

impl ControlArgs {
    /// The control asked for.
    pub(super) fn request(&self) -> ControlRequest {
        ControlRequest {
            report: self.control.clone(),
            confidence: self.confidence,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OracleArg {
    Crash,
    NearMiss,
}

impl From<OracleArg> for Oracle {
    fn from(typed: OracleArg) -> Self {
        match typed {
            OracleArg::Crash => Self::Crash,
            OracleArg::NearMiss => Self::NearMiss,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AccelArg {
    Auto,
    Kvm,
    Tcg,
}

impl From<AccelArg> for Accel {
    fn from(typed: AccelArg) -> Self {
        match typed {
            AccelArg::Auto => Self::Auto,
            AccelArg::Kvm => Self::Kvm,
            AccelArg::Tcg => Self::Tcg,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum StartArg {
    Auto,
    Boot,
    Clone,
}

impl From<StartArg> for StartChoice {
    fn from(typed: StartArg) -> Self {
        match typed {
            StartArg::Auto => Self::Auto,
            StartArg::Boot => Self::Boot,
            StartArg::Clone => Self::Clone,
        }
    }
}

fn strategy(typed: &str) -> Result<Strategy, String> {
    let known = || {
        Strategy::TABLE
            .iter()
            .map(|&(_, name, _)| name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    Strategy::TABLE
        .iter()
        .find(|(_, name, _)| *name == typed)
        .map(|&(strategy, _, _)| strategy)
        .ok_or_else(|| format!("known strategies: {}", known()))
}

pub(super) fn race(typed: &str) -> Result<&'static RaceRow, String> {
    let known = || RACES.iter().map(|row| row.name).collect::<Vec<_>>();
    races::named(typed).ok_or_else(|| format!("known races: {}", known().join(", ")))
}

fn action(typed: &str) -> Result<ReaderAction, String> {
    let known = ReaderAction::TABLE.iter().map(|&(_, name, _)| name);
    let known: Vec<&str> = known.collect();
    ReaderAction::named(typed).ok_or_else(|| format!("known actions: {}", known.join(", ")))
}

fn arm(typed: &str) -> Result<String, String> {
    let known: Vec<&str> = crate::race::READ_POLICIES
        .iter()
        .map(|row| row.name)
        .collect();
    if known.contains(&typed) {
        Ok(typed.to_owned())
    } else {
        Err(format!("known arms: {}", known.join(", ")))
    }
}

fn chaos(typed: &str) -> Result<ChaosChoice, String> {
    match typed {
        "auto" => return Ok(ChaosChoice::Auto),
        "none" => return Ok(ChaosChoice::None),
        _ => {}
    }
    let known: Vec<&str> = crate::race::chaos::TECHNIQUES
        .iter()
        .map(|row| row.name)
        .collect();
    let names: Vec<String> = typed
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(ChaosChoice::These(names)),
        Some(unknown) => Err(format!(
            "no technique `{unknown}`; known: auto, none, or a list of {}",
            known.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_technique_lists_the_known_ones() {
        let error = chaos("preempter,nonsense").unwrap_err();
        assert!(
            error.contains("`nonsense`") && error.contains("preempter"),
            "{error}"
        );
        assert_eq!(chaos("none"), Ok(ChaosChoice::None));
        assert_eq!(
            chaos("preempter"),
            Ok(ChaosChoice::These(vec!["preempter".to_owned()]))
        );
    }
}
