//! `modrace recover`: after a machine died in a run, finds what is left of it,
//! works out what happened, completes the report, and goes on if told to.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::signal::killpg;
use nix::unistd::{Pid, geteuid};

use super::bare::run_loop::{self, RunLoop, copies};
use super::bare::tunables;
use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::{record, stop};
use crate::bare::{Journal, Machine, OpenTrial, Record, Recovery, journals, put_away};
use crate::disk;
use crate::kernel::preflight::{TAINT_DIE, taint};
use crate::kernel::pstore::{self, FoundLog};
use crate::kernel::uname::boot_id;
use crate::model::{ExitCode, Outcome};
use crate::report::write::ReportFile;

/// The memory of the kernel that crashed, in the one that saves it
/// (Documentation/admin-guide/kdump/kdump.rst).
const VMCORE: &str = "/proc/vmcore";

/// Completes each run that has left a journal in `folder`, and hands it to
/// `show`. With `resume`, makes the trials that are left. Returns the worst of
/// their exit codes. A journal that cannot be recovered keeps none of the others
/// from it; the first such failure is the result.
pub fn each(
    folder: &Path,
    resume: bool,
    events: Events<'_>,
    show: &mut dyn FnMut(Finished) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    if !geteuid().is_root() {
        return Err(
            Failure::unsupported("not root: what a run leaves behind is root's")
                .hint("sudo modrace recover"),
        );
    }
    if Path::new(VMCORE).exists() {
        return Err(Failure::unsupported(format!(
            "this is the kernel that saves a crash dump ({VMCORE} is there): what it saves is \
             looked at after the next boot"
        ))
        .hint("reboot, then: modrace recover"));
    }
    all(folder, resume, events, show)
}

fn all(
    folder: &Path,
    resume: bool,
    events: Events<'_>,
    show: &mut dyn FnMut(Finished) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let left = journals(folder)?;
    if left.is_empty() {
        events.note(format!(
            "nothing to recover: no journal in {}",
            folder.display()
        ));
    }
    let mut worst = ExitCode::Survived;
    let mut failed: Option<Failure> = None;
    for path in left {
        let done = one(&path, resume, events).and_then(|finished| {
            let Some(finished) = finished else {
                return Ok(());
            };
            worst = worst.worse(finished.exit);
            show(finished)
        });
        match (done, &failed) {
            (Ok(()), _) => {}
            (Err(failure), None) => failed = Some(failure),
            (Err(failure), Some(_)) => events.note(format!("{:#}", failure.error)),
        }
    }
    failed.map_or(Ok(worst), Err)
}

/// Completes one run; none if nothing is missing.
fn one(path: &Path, resume: bool, events: Events<'_>) -> Result<Option<Finished>, Failure> {
    let (journal, found) = Journal::resume(path)?;
    if found.torn_bytes > 0 {
        events.note(format!(
            "{}: the last {} bytes were torn off and are left out",
            path.display(),
            found.torn_bytes
        ));
    }
    let recovery = Recovery::read(found.records);
    let Some(mut recovery) = recovery.filter(|recovery| !recovery.ended) else {
        // Either nothing had begun, or all is in the report.
        events.note(format!("{}: nothing is missing", path.display()));
        journal.remove()?;
        return Ok(None);
    };
    let mut report = recovery.begin.report.clone();
    report.trials = std::mem::take(&mut recovery.trials);
    // What is known of the module, and of what was set, was learned under way.
    if let (Some(module), Some(loaded)) = (&mut report.module, &recovery.module) {
        module.learn(loaded);
    }
    let own = tunables::set(&recovery.begin.tunables);
    for set in [std::mem::take(&mut recovery.tunables), own] {
        run_loop::merge(&mut report.environment.tunables, set);
    }
    let next =
        u32::try_from(report.trials.len()).unwrap_or(u32::MAX) + u32::from(recovery.open.is_some());
    let file = match &recovery.begin.report_path {
        Some(path) => ReportFile::resume(path.clone()),
        // It was to go to stdout, which is gone.
        None => ReportFile::at(path.with_extension("json")),
    };
    let mut run = RunLoop {
        begin: recovery.begin,
        report,
        journal,
        file: Some(file),
        // Whoever resumes a run sets it against its control by
        // `report compare`.
        control: None,
        events,
        reboot: false,
    };
    if let Some(open) = recovery.open {
        settle(&mut run, &open)?;
    }
    let asked = run.report.settings.trials;
    let goes_on = run.report.trials.iter().all(|trial| {
        let outcome = trial.outcome;
        matches!(
            outcome,
            Outcome::Survived | Outcome::Crashed | Outcome::Died
        )
    });
    if resume && run.begin.rearm && next < asked && goes_on {
        if taint() & TAINT_DIE != 0 {
            return Err(
                Failure::unsupported("this kernel has crashed since it booted (taint D)")
                    .hint("reboot, then: modrace recover --resume"),
            );
        }
        events.note(format!("going on with trial {} of {asked}", next + 1));
        let stop = stop::on_signals()?;
        return run.run(next, &stop).map(Some);
    }
    // After a reboot they are as the machine sets them.
    let set = std::mem::take(&mut run.report.environment.tunables);
    run.report.environment.tunables = set.into_iter().map(tunables::looked_at).collect();
    run.conclude(false).map(Some)
}

/// Gives the open trial its outcome, on the evidence there is.
fn settle(run: &mut RunLoop<'_>, open: &OpenTrial) -> Result<(), Failure> {
    let same_boot = open.start.boot_id == boot_id();
    let taint = taint();
    let (machine, logs) = if same_boot {
        if taint & TAINT_DIE == 0 {
            put_back(run, open)?;
        }
        // The log of this boot is still in the kernel.
        (Machine::SameBoot { taint }, this_boot())
    } else {
        let mut logs = pstore::new_logs(open.old_logs());
        logs.extend(pstore::journald(&open.start.boot_id));
        (Machine::Rebooted, logs)
    };
    let (mut trial, showing) = open.decide(run.begin.heartbeat_s, &logs, machine);
    trial.notes.extend(run.report.settings.crowding());
    let showing: Vec<&FoundLog> = showing.into_iter().map(|index| &logs[index]).collect();
    if !showing.is_empty() {
        trial.console = keep(run, open.start.index, &showing)?;
    }
    run.events.note(format!(
        "trial {}: {}: {}",
        trial.index + 1,
        trial.outcome.as_str(),
        trial.reason
    ));
    run_loop::replace(&mut run.report.trials, trial.clone());
    record::update(&mut run.report);
    if let Some(file) = &run.file {
        file.save(&run.report)?;
    }
    run.journal.append(&Record::Outcome(Box::new(trial)))?;
    // Only now is the text safe elsewhere.
    for log in showing {
        if let Err(error) = pstore::remove(&log.records) {
            run.events
                .note(format!("a pstore record could not be removed: {error}"));
        }
    }
    // They may be gone.
    let _ = fs::remove_dir_all(copies(run.journal.path()));
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
fn keep(run: &RunLoop<'_>, index: u32, logs: &[&FoundLog]) -> Result<Option<String>, Failure> {
    let Some(file) = &run.file else {
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
        disk::sync(&folder)
    };
    write()?;
    let folder = folder.file_name().map(PathBuf::from).unwrap_or_default();
    let name = folder.join(path.file_name().unwrap_or_default());
    Ok(Some(name.display().to_string()))
}

/// Puts back what a run that was killed left changed. The kernel is in order.
fn put_back(run: &RunLoop<'_>, open: &OpenTrial) -> Result<(), Failure> {
    if let Ok(group) = i32::try_from(open.start.worker) {
        // It dies with its watcher; this waits for it.
        for _ in 0..100 {
            if killpg(Pid::from_raw(group), None).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let began = UNIX_EPOCH + Duration::from_millis(open.start.unix_ms);
    let found = put_away(&run.begin, began);
    for name in &found.unloaded {
        run.events.note(format!("unloaded {name}"));
    }
    for note in found.notes() {
        run.events.note(note);
    }
    run.put_back();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::bare::{Begin, FORMAT};
    use crate::model::{Environment, ModuleRecord, Trial};
    use crate::session::request::Request;

    /// The journal of a run that made one trial and then ended without a word.
    fn left_behind(folder: &Path, name: &str, outcome: Outcome) -> Journal {
        let mut request = Request::default();
        request.settings.trials = 1;
        let (environment, module) = (Environment::default(), ModuleRecord::default());
        let begin = Begin {
            format: FORMAT.to_owned(),
            report: record::blank(environment, module, &request, SystemTime::now()).unwrap(),
            report_path: Some(folder.join(name)),
            module: "/none.ko".into(),
            dependencies: Vec::new(),
            loaded_before: Vec::new(),
            rearm: false,
            unit: false,
            stop_udev: false,
            heartbeat_s: 1.0,
            tunables: Vec::new(),
        };
        // They are named after the moment.
        std::thread::sleep(Duration::from_millis(3));
        let mut journal = Journal::create(folder, 0).unwrap();
        journal.append(&Record::Begin(Box::new(begin))).unwrap();
        let trial = Trial::new(0, 1, outcome, "as told");
        journal.append(&Record::Outcome(Box::new(trial))).unwrap();
        journal
    }

    fn recover(folder: &Path) -> (Result<ExitCode, Failure>, Vec<ExitCode>) {
        let mut shown = Vec::new();
        let code = all(folder, false, Events::to(&|_| {}), &mut |finished| {
            shown.push(finished.exit);
            finished.close().map(drop)
        });
        (code, shown)
    }

    #[test]
    fn of_several_runs_the_worst_exit_code_is_returned() {
        let folder = tempfile::tempdir().unwrap();
        drop(left_behind(folder.path(), "a.json", Outcome::Crashed));
        drop(left_behind(folder.path(), "b.json", Outcome::Broken));
        let (code, shown) = recover(folder.path());
        assert_eq!(shown, [ExitCode::Crashed, ExitCode::Broken]);
        assert_eq!(code.unwrap(), ExitCode::Crashed);
        assert!(journals(folder.path()).unwrap().is_empty());
        assert!(folder.path().join("b.json").exists());
    }

    #[test]
    fn a_journal_in_use_keeps_no_other_from_being_recovered() {
        let folder = tempfile::tempdir().unwrap();
        let in_use = left_behind(folder.path(), "a.json", Outcome::Survived);
        drop(left_behind(folder.path(), "b.json", Outcome::Broken));
        let (code, shown) = recover(folder.path());
        assert_eq!(shown, [ExitCode::Broken]);
        let failure = code.unwrap_err();
        assert_eq!(failure.code, ExitCode::Unsupported);
        assert!(failure.error.to_string().contains("in use"));
        assert_eq!(journals(folder.path()).unwrap(), [in_use.path().to_owned()]);
    }
}
