//! `modrace run`: races the kernel that it runs on. This file is what was
//! typed, the guard rails, and what is said before anything is done; `course`
//! makes the trials.

mod candidate;
pub(super) mod course;
pub(super) mod tuning;
pub(super) mod unit;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::candidate::Candidate;
use self::course::Course;
use self::tuning::OnCrash;
use super::args::RaceArgs;
use super::control::ControlArgs;
use super::ui::Ui;
use super::{Failure, OrFail, plan, recover, session, stop};
use crate::kernel::preflight::{Facts, running_config};
use crate::kernel::{affinity, uname};
use crate::model::{Environment, ExitCode, Report, Settings, Strategy};
use crate::report::write::ReportFile;
use crate::trial::bare::journal::{self, Begin, FORMAT, JOURNAL_FOLDER, Journal, Record};

/// Race the kernel that this machine runs: meant to crash it
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
#[command(mut_arg("trials", |arg| {
    arg.default_value("1").help("Trials, each from a clean state")
}))]
#[command(mut_arg("duration", |arg| {
    arg.default_value("60s").help("Longest time raced in one trial, such as 30s, 5m or 1h")
}))]
pub(super) struct Args {
    #[command(flatten)]
    race: RaceArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// This machine may crash and lose what is not on its disk
    #[arg(long, env = "MODRACE_DISPOSABLE", value_parser = clap::builder::FalseyValueParser::new())]
    disposable: bool,
    /// The running kernel's build tree [default: /lib/modules/RELEASE/build]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["module", "module_name"])]
    kdir: Option<PathBuf>,
    /// Race this installed module, with its dependencies in place
    #[arg(long, value_name = "NAME", conflicts_with = "module")]
    module_name: Option<String>,
    /// What the kernel does at an oops [default: as the machine has it]
    #[arg(long, value_enum)]
    on_crash: Option<OnCrash>,
    /// Make the remaining trials after each reboot
    #[arg(long)]
    rearm: bool,
    /// Install the systemd unit that does so, for the time of the run
    #[arg(long, requires = "rearm")]
    install_unit: bool,
    /// Where the journal is kept
    #[arg(long, value_name = "DIR", default_value = JOURNAL_FOLDER)]
    journal: PathBuf,
    /// Time between two heartbeats in the journal
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    heartbeat: Duration,
    /// Put back what a run that was killed has left behind, and race nothing
    #[arg(long)]
    cleanup: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    if args.cleanup {
        return recover::cleanup(&args.journal, args.race.json, ui);
    }
    let stop = stop::on_signals()?;
    let facts = Facts::gather(args.disposable);
    // Who may not race need not be told what is wrong with the module.
    if facts.root && facts.disposable {
        settings(args, 0)?;
    }
    refuse(&facts, true)?;
    nothing_unfinished(&args.journal)?;
    let machine = uname::environment("");
    let release = machine.kernel.release.clone().unwrap_or_default();
    let named = candidate::named(args, &release)?;
    refuse(
        &facts,
        named.as_ref().is_some_and(|named| named.image.signed()),
    )?;
    let candidate = match named {
        Some(candidate) => candidate,
        None => candidate::dummy(args, &release, &stop)?,
    };
    let begin = begin(args, &release, machine, &candidate)?;
    let control = args.control.read(&begin.report.settings)?;
    announce(&begin, args, ui);
    if args.install_unit {
        unit::install(&args.journal)?;
    } else if args.rearm {
        ui.note(&format!(
            "after each reboot run `modrace recover --resume --journal {}`; a systemd unit that \
             does it: modrace recover --print-unit",
            args.journal.display()
        ));
    }
    let mut journal = Journal::create(&args.journal).or_fail(ExitCode::Broken)?;
    let file = begin.report_path.clone().map(ReportFile::resume);
    if let Some(file) = &file {
        // An unwritable place is found now, not after an hour of racing.
        file.save(&begin.report).or_fail(ExitCode::Broken)?;
    }
    journal
        .append(&Record::Begin(Box::new(begin.clone())))
        .or_fail(ExitCode::Broken)?;
    Course {
        report: begin.report.clone(),
        begin,
        journal,
        file,
        json: args.race.json,
        control,
    }
    .run(0, &stop, ui)
}

fn refuse(facts: &Facts, signed: bool) -> Result<(), Failure> {
    match facts.refusal(signed) {
        None => Ok(()),
        Some(refusal) => {
            let hint = refusal.hint();
            Err(Failure::new(ExitCode::Unsupported, refusal).hint(hint))
        }
    }
}

/// Nothing measured may be lost: what an earlier run has left is seen to first.
fn nothing_unfinished(folder: &Path) -> Result<(), Failure> {
    let left = journal::list(folder).or_fail(ExitCode::Broken)?;
    match left.first() {
        None => Ok(()),
        Some(path) => Err(Failure::message(
            ExitCode::Unsupported,
            format!("an earlier run has not ended: {}", path.display()),
        )
        .hint(format!(
            "complete its report first: modrace recover --journal {}",
            folder.display()
        ))),
    }
}

fn settings(args: &Args, mem_mib: u32) -> Result<Settings, Failure> {
    let allowed = affinity::allowed_cpus().or_fail(ExitCode::Broken)?;
    plan::bare_settings(&args.race, &allowed, mem_mib)
}

fn begin(
    args: &Args,
    release: &str,
    machine: Environment,
    candidate: &Candidate,
) -> Result<Begin, Failure> {
    let heartbeat_s = args.heartbeat.as_secs_f64();
    if !(0.05..=60.0).contains(&heartbeat_s) {
        return Err(Failure::message(
            ExitCode::Usage,
            format!("--heartbeat {heartbeat_s} s: between 50ms and 60s, please"),
        ));
    }
    let started = SystemTime::now();
    let settings = settings(args, machine.mem_mib.unwrap_or_default())?;
    let tunables = tuning::plan(args.on_crash);
    let report: Report = session::blank(
        environment(release, machine),
        &candidate.image,
        settings,
        plan::seed(&args.race),
        started,
    );
    let report_path = session::report_file(&args.race, release, started)?
        .map(|file| std::path::absolute(file.path()))
        .transpose()
        .or_fail(ExitCode::Usage)?;
    Ok(Begin {
        format: FORMAT.to_owned(),
        report,
        report_path,
        module: candidate.path.clone(),
        dependencies: candidate.dependencies.clone(),
        rearm: args.rearm,
        heartbeat_s,
        tunables,
    })
}

fn environment(release: &str, mut machine: Environment) -> Environment {
    let config = running_config();
    release.clone_into(&mut machine.kernel.name);
    machine.accel = Some("none".to_owned());
    machine.host_cpus = machine.cpus;
    if let Some(config) = config {
        machine.kernel.config_sha256 = Some(config.sha256().to_owned());
        if let Some(word) = config.preemption() {
            machine.preemption = Some(word.to_owned());
        }
    }
    machine
}

/// What will happen, what will be changed, and how the result is found again.
fn announce(begin: &Begin, args: &Args, ui: &Ui) {
    let report = &begin.report;
    let settings = &report.settings;
    ui.note(&format!(
        "this run is meant to crash this machine ({}): {} trial(s) of at most {} s, on {} CPUs",
        report.environment.kernel.name, settings.trials, settings.duration_s, settings.smp
    ));
    if let Some(crowding) = settings.crowding() {
        ui.note(&crowding);
    }
    ui.note(&format!(
        "if the kernel has the bug: {}",
        tuning::prospect(&begin.tunables)
    ));
    let module = begin.module.file_stem().unwrap_or_default();
    let changed: Vec<&str> = begin
        .tunables
        .iter()
        .filter(|tunable| tunable.during != tunable.before)
        .map(|tunable| tunable.path.as_str())
        .collect();
    ui.note(&format!(
        "it loads and unloads {} (which taints the kernel until the next boot){}{}; unless the \
         machine dies, all else is put back",
        module.to_string_lossy(),
        if changed.is_empty() {
            String::new()
        } else {
            format!(", sets {}", changed.join(" and "))
        },
        match settings.strategy {
            Strategy::AsReported => "",
            _ => ", and sets what the chaos techniques need (modrace list chaos)",
        }
    ));
    let report_at = begin
        .report_path
        .as_ref()
        .map_or("stdout".to_owned(), |path| path.display().to_string());
    ui.note(&format!(
        "the report goes to {report_at}, the journal to {} every {} s; if the machine dies, \
         after the reboot: modrace recover{}",
        args.journal.display(),
        begin.heartbeat_s,
        if args.journal == Path::new(JOURNAL_FOLDER) {
            String::new()
        } else {
            format!(" --journal {}", args.journal.display())
        }
    ));
}
