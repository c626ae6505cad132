//! A trial on the machine that this process runs on: starts a racer, follows
//! the kernel's log and the racer's counts, and keeps the journal. At the first
//! line of a crash the racer is killed and the journal synced; from then on
//! nothing here touches a module or their list. It judges nothing (`witness`
//! does) and prints nothing.

pub mod journal;
mod monitor;
pub mod recovery;
mod stall_detector;
#[cfg(test)]
mod tests;
mod watch_loop;
pub mod worker_process;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use thiserror::Error;

use self::journal::{Begin, Journal, JournalError, Record, TrialStart, unix_ms};
use self::monitor::{Ended, Monitor};
use self::stall_detector::StallDetector;
use self::watch_loop::WatchLoop;
use self::worker_process::{WorkerPlan, WorkerProcess};
use crate::kernel::kmsg::Kmsg;
use crate::kernel::preflight::taint;
use crate::kernel::pstore::{self, Pstore};
use crate::kernel::uname::boot_id;
use crate::model::{Trial, trial_seed};
use crate::trial::{Event, record};
use crate::vm::protocol::{Task, TrialPlan};

/// Why a trial could not be made or kept.
#[derive(Debug, Error)]
pub enum BareError {
    /// The kernel's log.
    #[error("cannot follow the kernel's log")]
    Kmsg(#[source] io::Error),
    /// The racer.
    #[error("cannot start the racer")]
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
        let start = Instant::now();
        let seed = trial_seed(self.begin.report.seed, index);
        // Opened first: what the kernel says from here on is this trial's.
        let mut kmsg = Kmsg::open().map_err(BareError::Kmsg)?;
        let old_logs = pstore::inventory();
        let _made_again_below = fs::create_dir_all(&self.folder);
        let mut racer = WorkerProcess::start(&WorkerPlan {
            trial: TrialPlan {
                settings: self.begin.report.settings.clone(),
                seed,
                probe: false,
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
            pstore: Pstore::backend(),
            racer: racer.group(),
        }))?;
        // Held back until the line above was on the disk.
        racer.go().map_err(BareError::WorkerProcess)?;
        let mut watch = WatchLoop {
            index,
            seed,
            witness: Monitor::default(),
            kmsg: &mut kmsg,
            racer: &mut racer,
            journal: self.journal,
            heartbeat: Duration::from_secs_f64(self.begin.heartbeat_s),
            pace: StallDetector::new(start),
            asked_to_stop: None,
            crashed: false,
            unmarked: None,
        };
        let settings = &self.begin.report.settings;
        let duration_s = settings.duration_s;
        let ended = watch.until_ended(Duration::from_secs_f64(duration_s), stop, tell)?;
        let reboot_needed = matches!(ended, Ended::Sign | Ended::Stalled(_));
        watch.let_it_finish(&ended, tell)?;
        let last = watch.racer.snapshot();
        let witness = std::mem::take(&mut watch.witness);
        let bad_lines = witness
            .finished()
            .map(|finished| finished.bad_lines.clone())
            .unwrap_or_default();
        let conclusion = witness.conclude(&ended, &last, taint() & !taint_before, duration_s);
        let mut trial = Trial {
            wall_s: start.elapsed().as_secs_f64(),
            bad_lines,
            ..record::trial(index, seed, conclusion, &last)
        };
        trial.notes.extend(self.begin.report.settings.crowding());
        trial.reason = record::reason(settings, trial.outcome, trial.reason);
        self.journal
            .append(&Record::Outcome(Box::new(trial.clone())))?;
        // Plain files: a dead racer that has them open does not mind.
        let _left_for_cleanup = fs::remove_dir_all(&self.folder);
        Ok(Done {
            trial,
            interrupted: ended == Ended::Interrupted,
            reboot_needed,
        })
    }
}
