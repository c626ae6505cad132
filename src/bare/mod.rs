//! A trial on the machine that this process runs on: starts a worker process,
//! follows the kernel's log and the worker's counts, and keeps the journal. At
//! the first line of a crash the worker is killed and the journal synced; from
//! then on nothing here touches a module or their list. After the machine's
//! death, `recovery` takes over. It judges nothing and prints nothing.

mod fold;
mod journal;
mod monitor;
#[cfg(test)]
mod one_judge_tests;
mod put_away;
mod recovery;
#[cfg(test)]
mod tests;
mod watch_loop;
mod worker_process;

pub use journal::{
    Beat, Begin, FORMAT, JOURNAL_FOLDER, Journal, JournalError, RacingMark, Record, SignRecord,
    TrialStart, list as journals,
};
pub use put_away::{PutAway, put_away};
pub use recovery::{Machine, OpenTrial, Recovery};
pub use worker_process::{COMMAND as WORKER_COMMAND, main as work};

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

use self::fold::Fold;
use self::journal::unix_ms;
use self::monitor::{Ended, Monitor};
use self::watch_loop::WatchLoop;
use self::worker_process::{WorkerPlan, WorkerProcess};
use crate::judge::evidence::Taint;
use crate::judge::record;
use crate::judge::stall_detector::{StallDetector, StallLimits};
use crate::kernel::crash_log::CrashLog;
use crate::kernel::kmsg::Kmsg;
use crate::kernel::preflight::taint;
use crate::kernel::pstore;
use crate::kernel::udev;
use crate::kernel::uname::boot_id;
use crate::model::{Domain, Outcome, Trial, derive};
use crate::trial::Event;
use crate::vm::protocol::{Task, TrialPlan};

/// Longest time without a heartbeat, or without a cycle, before it is a hang,
/// seconds.
const STILL_S: f64 = 30.0;
/// Longest set-up, and longest end, of a race, seconds.
const MARGIN_S: f64 = 90.0;

/// Why a trial could not be made or kept.
#[derive(Debug, Error)]
pub enum BareError {
    /// The kernel's log.
    #[error("cannot follow the kernel's log")]
    Kmsg(#[source] io::Error),
    /// The worker process.
    #[error("cannot start the worker process")]
    WorkerProcess(#[source] io::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// How a trial ended.
#[derive(Debug)]
pub struct Done {
    /// Its record.
    pub trial: Trial,
    /// Whether a signal ended it early.
    pub interrupted: bool,
    /// Whether the kernel must not be touched any more.
    pub reboot_needed: bool,
    /// The journal could not be written any more, and the trial was ended.
    pub lost: Option<JournalError>,
}

/// Share of a trial's wall time from which on udevd's CPU time is worth a word.
const UDEV_SHARE: f64 = 0.1;

/// What the exposure of a trial was made of, where this machine slows it down.
fn made_of(trial: &Trial, udev_before_s: Option<f64>) -> Option<String> {
    let took_s = udev::cpu_s()? - udev_before_s?;
    (took_s > UDEV_SHARE * trial.wall_s && trial.exposure_s > 0.0).then(|| {
        format!(
            "{:.0} load/unload cycles a second; systemd-udevd, which hears of each, took {took_s:.1} \
             s of CPU time meanwhile (--stop-udev stops it for the time of the run)",
            trial.cycles as f64 / trial.exposure_s
        )
    })
}

/// One trial after the other on this machine.
#[derive(Debug)]
pub struct BareTrials<'a> {
    /// What the run is.
    pub begin: &'a Begin,
    /// The journal; it has the run's beginning.
    pub journal: &'a mut Journal,
    /// Copies of the module go here.
    pub folder: PathBuf,
}

impl BareTrials<'_> {
    /// Makes trial `index`.
    pub fn run(
        &mut self,
        index: u32,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Done, BareError> {
        let (start, began) = (Instant::now(), SystemTime::now());
        let seed = derive(self.begin.report.seed, Domain::Trial, index.into());
        // Opened first: what the kernel says from here on is this trial's.
        let mut kmsg = Kmsg::open().map_err(BareError::Kmsg)?;
        let old_logs = pstore::inventory();
        // What cannot be made fails below, with its name.
        let _ = fs::create_dir_all(&self.folder);
        let mut worker = WorkerProcess::start(&WorkerPlan {
            trial: TrialPlan {
                settings: self.begin.report.settings.clone(),
                seed,
                probe: false,
                hold: false,
                task: Task::Race,
            },
            module: self.begin.module.clone(),
            dependencies: self.begin.dependencies.clone(),
            folder: self.folder.clone(),
        })
        .map_err(BareError::WorkerProcess)?;
        let taint_before = taint();
        self.journal.append(&Record::Trial(TrialStart {
            index,
            seed,
            boot_id: boot_id(),
            unix_ms: unix_ms(),
            taint: taint_before,
            old_logs,
            crash_log: CrashLog::gather().to_string(),
            worker: worker.group(),
        }))?;
        let udev_before_s = udev::cpu_s();
        // Held back until the line above was on the disk.
        worker.go().map_err(BareError::WorkerProcess)?;
        let settings = &self.begin.report.settings;
        let duration_s = settings.duration_s;
        let mut stall = StallDetector::new(StallLimits {
            setup_s: MARGIN_S,
            still_s: STILL_S,
            duration_s,
            settle_s: MARGIN_S,
        });
        stall.spoke(0.0);
        let mut watch = WatchLoop {
            index,
            seed,
            monitor: Monitor::default(),
            kmsg: &mut kmsg,
            worker: &mut worker,
            journal: self.journal,
            heartbeat: Duration::from_secs_f64(self.begin.heartbeat_s),
            stall,
            start,
            journaled: start,
            told: start,
            asked_to_stop: None,
            crashed: false,
            unmarked: None,
            lost: None,
            fold: Fold::default(),
        };
        let ended = watch.until_ended(stop, tell)?;
        let reboot_needed = matches!(ended, Ended::Sign | Ended::Stalled(_));
        watch.let_it_finish(&ended, tell)?;
        let last = watch.worker.snapshot();
        let monitor = std::mem::take(&mut watch.monitor);
        let (bad_lines, leaks) = monitor
            .finished()
            .map(|finished| (finished.bad_lines.clone(), finished.leaks.clone()))
            .unwrap_or_default();
        let taint = Taint {
            before: taint_before,
            after: taint(),
        };
        let conclusion = monitor.conclude(&ended, &last, taint, duration_s);
        let trial = record::trial(index, seed, conclusion, &last);
        let mut trial = Trial {
            wall_s: start.elapsed().as_secs_f64(),
            bad_lines,
            ..record::of_race(settings, trial, &last, &leaks)
        };
        trial.notes.extend(self.begin.report.settings.crowding());
        let mut lost = watch.lost.take();
        trial.notes.extend(made_of(&trial, udev_before_s));
        // Whoever waits for a module's lock may hold another for ever.
        let reboot_needed = reboot_needed || trial.outcome == Outcome::Hung;
        if !reboot_needed {
            trial.notes.extend(self.look_behind(began, tell));
        }
        if lost.is_none() {
            let outcome = Record::Outcome(Box::new(trial.clone()));
            lost = self.journal.append(&outcome).err();
        }
        // Plain files: a dead worker process that has them open does not mind.
        // What stays is left for --cleanup.
        let _ = fs::remove_dir_all(&self.folder);
        Ok(Done {
            trial,
            interrupted: ended == Ended::Interrupted && lost.is_none(),
            reboot_needed,
            lost,
        })
    }

    /// The end is looked at, not assumed: what is still loaded goes, and what does
    /// not go is told. Returns the notes for the trial's record.
    fn look_behind(&self, began: SystemTime, tell: &mut dyn FnMut(Event)) -> Vec<String> {
        let notes = put_away(self.begin, began).notes();
        for note in &notes {
            tell(Event::Note(note.clone()));
        }
        notes
    }
}
