//! `modrace recover`: after a machine died in a run, finds what is left of it,
//! works out what happened, completes the report, and goes on if told to.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::sys::signal::killpg;
use nix::unistd::{Pid, geteuid};

use super::run::course::{self, Course, copies};
use super::run::{tuning, unit};
use super::ui::Ui;
use super::{Failure, OrFail, session, stop};
use crate::kernel::module;
use crate::kernel::preflight::{TAINT_DIE, taint};
use crate::kernel::pstore::{self, FoundLog};
use crate::model::{ExitCode, Outcome};
use crate::report::write::ReportFile;
use crate::trial::bare::boot_id;
use crate::trial::bare::journal::{self, JOURNAL_FOLDER, Journal, JournalError, Record};
use crate::trial::bare::recovery::{Evidence, Machine, OpenTrial, Recovery};

/// Complete the report of a run that crashed this machine
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub(super) struct Args {
    /// Where the journal was kept
    #[arg(long, value_name = "DIR", default_value = JOURNAL_FOLDER)]
    journal: PathBuf,
    /// Then make the trials that are left
    #[arg(long)]
    resume: bool,
    /// Print the systemd unit that does this at each boot, and do nothing else
    #[arg(long)]
    print_unit: bool,
    /// Print the report as JSON on stdout, not the summary
    #[arg(long)]
    json: bool,
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.quiet);
    if args.print_unit {
        ui.result(&unit::text(&args.journal));
        return Ok(ExitCode::Survived);
    }
    each(&args.journal, args.resume, args.json, ui)
}

/// `modrace run --cleanup`: the same, for a run that was killed.
pub(super) fn cleanup(folder: &Path, json: bool, ui: &Ui) -> Result<ExitCode, Failure> {
    each(folder, false, json, ui)?;
    // Cleaning up is what was asked for; what the run came to is in its report.
    Ok(ExitCode::Survived)
}

fn each(folder: &Path, resume: bool, json: bool, ui: &Ui) -> Result<ExitCode, Failure> {
    if !geteuid().is_root() {
        return Err(Failure::message(
            ExitCode::Unsupported,
            "not root: what a run leaves behind is root's",
        )
        .hint("sudo modrace recover"));
    }
    let left = journal::list(folder).or_fail(ExitCode::Broken)?;
    if left.is_empty() {
        ui.note(&format!(
            "nothing to recover: no journal in {}",
            folder.display()
        ));
    }
    let mut exit = ExitCode::Survived;
    for path in left {
        exit = one(&path, resume, json, ui)?;
    }
    Ok(exit)
}

fn one(path: &Path, resume: bool, json: bool, ui: &Ui) -> Result<ExitCode, Failure> {
    let (journal, found) = Journal::resume(path).map_err(|error| match error {
        JournalError::InUse(_) => Failure::new(ExitCode::Unsupported, error)
            .hint("wait for its end, or end it: it cleans up on SIGTERM"),
        JournalError::Io { .. } => Failure::new(ExitCode::Broken, error),
    })?;
    if found.torn_bytes > 0 {
        ui.note(&format!(
            "{}: the last {} bytes were torn off and are left out",
            path.display(),
            found.torn_bytes
        ));
    }
    let recovery = Recovery::read(found.records);
    let Some(mut recovery) = recovery.filter(|recovery| !recovery.ended) else {
        // Either nothing had begun, or all is in the report.
        ui.note(&format!("{}: nothing is missing", path.display()));
        journal.remove().or_fail(ExitCode::Broken)?;
        return Ok(ExitCode::Survived);
    };
    let mut report = recovery.begin.report.clone();
    report.trials = std::mem::take(&mut recovery.trials);
    let next =
        u32::try_from(report.trials.len()).unwrap_or(u32::MAX) + u32::from(recovery.open.is_some());
    let mut course = Course {
        begin: recovery.begin,
        report,
        journal,
        file: None,
        json,
        // Whoever resumes a run sets it against its control by
        // `report compare`.
        control: None,
    };
    course.file = Some(match &course.begin.report_path {
        Some(path) => ReportFile::resume(path.clone()),
        // It was to go to stdout, which is gone.
        None => ReportFile::at(path.with_extension("json")),
    });
    if let Some(open) = recovery.open {
        settle(&mut course, &open, ui)?;
    }
    let asked = course.report.settings.trials;
    let goes_on = course
        .report
        .trials
        .iter()
        .all(|trial| matches!(trial.outcome, Outcome::Survived | Outcome::Crashed));
    if resume && course.begin.rearm && next < asked && goes_on {
        if taint() & TAINT_DIE != 0 {
            return Err(Failure::message(
                ExitCode::Unsupported,
                "this kernel has crashed since it booted (taint D)",
            )
            .hint("reboot, then: modrace recover --resume"));
        }
        ui.note(&format!("going on with trial {} of {asked}", next + 1));
        let stop = stop::on_signals()?;
        return course.run(next, &stop, ui);
    }
    course.conclude(false, ui)
}

/// Gives the open trial its outcome, on the evidence there is.
fn settle(course: &mut Course, open: &OpenTrial, ui: &Ui) -> Result<(), Failure> {
    let same_boot = open.start.boot_id == boot_id();
    let died = taint() & TAINT_DIE != 0;
    let (machine, logs) = if same_boot {
        if !died {
            put_back(course, open, ui)?;
        }
        // The log of this boot is still in the kernel.
        (Machine::SameBoot { died }, this_boot())
    } else {
        let mut logs = pstore::new_logs(open.old_logs());
        logs.extend(pstore::journald(&open.start.boot_id));
        (Machine::Rebooted, logs)
    };
    let evidence: Vec<Evidence<'_>> = logs
        .iter()
        .map(|log| Evidence {
            source: &log.source,
            bytes: &log.bytes,
        })
        .collect();
    let (mut trial, showing) = open.decide(course.begin.heartbeat_s, &evidence, machine);
    trial.notes.extend(course.report.settings.crowding());
    let showing: Vec<&FoundLog> = showing.into_iter().map(|index| &logs[index]).collect();
    if !showing.is_empty() {
        trial.console = keep(course, open.start.index, &showing)?;
    }
    ui.note(&format!(
        "trial {}: {}: {}",
        trial.index + 1,
        trial.outcome.as_str(),
        trial.reason
    ));
    course::replace(&mut course.report.trials, trial.clone());
    session::update(&mut course.report);
    if let Some(file) = &course.file {
        file.save(&course.report).or_fail(ExitCode::Broken)?;
    }
    course
        .journal
        .append(&Record::Outcome(Box::new(trial)))
        .or_fail(ExitCode::Broken)?;
    // Only now is the text safe elsewhere.
    for log in showing {
        if let Err(error) = pstore::remove(&log.records) {
            ui.note(&format!("a pstore record could not be removed: {error}"));
        }
    }
    let _absent = fs::remove_dir_all(copies(course.journal.path()));
    Ok(())
}

/// What is still in the kernel's own buffer.
fn this_boot() -> Vec<FoundLog> {
    let text = crate::kernel::kmsg::everything();
    text.ok()
        .map(|bytes| FoundLog {
            source: "kmsg".to_owned(),
            bytes,
            records: Vec::new(),
        })
        .into_iter()
        .collect()
}

/// Keeps the logs that show the crash beside the report, in one file, the one
/// that decided first. Returns its name there.
fn keep(course: &Course, index: u32, logs: &[&FoundLog]) -> Result<Option<String>, Failure> {
    let Some(file) = &course.file else {
        return Ok(None);
    };
    let folder = file.logs();
    let path = folder.join(format!("trial-{index:04}.console.log"));
    let write = || {
        fs::create_dir_all(&folder)?;
        let mut file = File::create(&path)?;
        for log in logs {
            writeln!(file, "# {}", log.source)?;
            file.write_all(&log.bytes)?;
        }
        file.sync_all()?;
        File::open(&folder)?.sync_all()
    };
    write().or_fail(ExitCode::Broken)?;
    let folder = folder.file_name().map(PathBuf::from).unwrap_or_default();
    let name = folder.join(path.file_name().unwrap_or_default());
    Ok(Some(name.display().to_string()))
}

/// Puts back what a run that was killed left changed. The kernel is in order.
fn put_back(course: &Course, open: &OpenTrial, ui: &Ui) -> Result<(), Failure> {
    if let Ok(group) = i32::try_from(open.start.racer) {
        // It dies with its watcher; this waits for it.
        for _ in 0..100 {
            if killpg(Pid::from_raw(group), None).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    let raced = course.report.module.as_ref().map(|module| &*module.name);
    for name in module::left_loaded(raced.unwrap_or_default()).or_fail(ExitCode::Broken)? {
        match module::unload_by_name(&name) {
            Ok(()) => ui.note(&format!("unloaded {name}")),
            Err(errno) => ui.note(&format!("{name} is still loaded: {errno}")),
        }
    }
    for path in tuning::put_back(&course.begin.tunables) {
        ui.note(&format!("{path} could not be put back"));
    }
    Ok(())
}
