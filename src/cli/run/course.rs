//! The course of a run on this machine: trial after trial, the report saved
//! after each, everything put back at the end. A run begins here, and goes on
//! here after a reboot.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot};

use super::{tuning, unit};
use crate::cli::control::Control;
use crate::cli::ui::Ui;
use crate::cli::ui::progress::Progress;
use crate::cli::{Failure, OrFail, session};
use crate::model::{ExitCode, Outcome, Report, Trial, Tunable};
use crate::recorder::Snapshot;
use crate::report::write::{ReportFile, WriteError};
use crate::trial::Event;
use crate::trial::bare::journal::{Begin, Journal, Record};
use crate::trial::bare::{BareTrials, Done, Told};

/// Longest wait for other files to reach the disk before a reboot.
const SYNC_PATIENCE: Duration = Duration::from_secs(5);

/// A run on this machine.
pub(in crate::cli) struct Course {
    pub(in crate::cli) begin: Begin,
    pub(in crate::cli) report: Report,
    pub(in crate::cli) journal: Journal,
    pub(in crate::cli) file: Option<ReportFile>,
    pub(in crate::cli) json: bool,
    /// The positive control of a run that is not cut short.
    pub(in crate::cli) control: Option<Control>,
}

impl Course {
    /// Makes the trials from `first` on, and ends the run.
    pub(in crate::cli) fn run(
        mut self,
        first: u32,
        stop: &AtomicBool,
        ui: &Ui,
    ) -> Result<ExitCode, Failure> {
        let mut ended = None;
        let raced = self.trials(first, stop, ui, &mut ended);
        let reboot_needed = ended.as_ref().is_some_and(|done| done.reboot_needed);
        let left_changed = tuning::put_back(&self.begin.tunables);
        for path in left_changed {
            ui.note(&format!("{path} could not be put back"));
        }
        raced?;
        let trials_left = self.report.trials.len() < self.report.settings.trials as usize;
        if reboot_needed && self.begin.rearm && trials_left {
            ui.note("rebooting, to make the remaining trials from a clean state");
            return Err(restart());
        }
        let interrupted = ended.is_some_and(|done| done.interrupted);
        let cost = self.journal.cost();
        if cost.records > 0 {
            ui.note(&format!(
                "journal: {} records synced, {:.1} ms each on average, {:.1} ms at most",
                cost.records,
                (cost.total / cost.records).as_secs_f64() * 1e3,
                cost.longest.as_secs_f64() * 1e3
            ));
        }
        let exit = self.conclude(interrupted, ui)?;
        if reboot_needed {
            ui.note(
                "this kernel is not to be trusted any more, and whatever touches modules may \
                 hang: reboot this machine",
            );
        }
        Ok(exit)
    }

    /// The last word: report, unit, journal.
    pub(in crate::cli) fn conclude(
        mut self,
        interrupted: bool,
        ui: &Ui,
    ) -> Result<ExitCode, Failure> {
        session::update(&mut self.report);
        let mut exit = session::conclude(&mut self.report, interrupted);
        if let Some(control) = self.control.take().filter(|_| !interrupted) {
            self.report = control.apply(self.report)?;
            exit = session::exit_code(&self.report);
        }
        session::show_as(self.json, &self.report, self.file.take(), ui)?;
        if self.begin.rearm {
            unit::remove();
        }
        self.journal
            .append(&Record::End {
                how: self.report.verdict.as_str().to_owned(),
            })
            .or_fail(ExitCode::Broken)?;
        let folder = self.journal.path().parent().map(Path::to_owned);
        self.journal.remove().or_fail(ExitCode::Broken)?;
        // Only if nothing else is in it.
        let _in_use = folder.map(fs::remove_dir);
        Ok(exit)
    }

    fn trials(
        &mut self,
        first: u32,
        stop: &AtomicBool,
        ui: &Ui,
        ended: &mut Option<Done>,
    ) -> Result<(), Failure> {
        tuning::apply(&self.begin.tunables).or_fail(ExitCode::Broken)?;
        let asked = self.report.settings.trials;
        let mut progress = Progress::new(ui, &self.report.environment.kernel.name, asked);
        for index in first..asked {
            let done = self.trial(index, stop, &mut progress)?;
            progress.hear(&Event::Finished(Box::new(done.trial.clone())));
            replace(&mut self.report.trials, done.trial.clone());
            session::update(&mut self.report);
            self.save().or_fail(ExitCode::Broken)?;
            let go_on = matches!(done.trial.outcome, Outcome::Survived)
                && !done.interrupted
                && !done.reboot_needed;
            *ended = Some(done);
            if !go_on {
                break;
            }
        }
        progress.end();
        Ok(())
    }

    fn trial(
        &mut self,
        index: u32,
        stop: &AtomicBool,
        progress: &mut Progress<'_>,
    ) -> Result<Done, Failure> {
        let (report, file) = (&mut self.report, self.file.as_ref());
        let mut lost: Option<WriteError> = None;
        let mut tell = |told: Told| match told {
            Told::Module(taints) => {
                if let Some(module) = &mut report.module {
                    module.taints = taints;
                }
            }
            Told::Racing(racing) => merge(&mut report.environment.tunables, racing.tunables),
            Told::Progress(seen) => progress.status(&status(index, &seen)),
            Told::Kernel(text) => progress.hear(&Event::Note(format!("kernel: {text}"))),
            Told::Crashed(trial) => {
                // Nothing comes before this: the machine may not be there for
                // anything else.
                replace(&mut report.trials, *trial);
                session::update(report);
                lost = file.and_then(|file| file.save(report).err());
            }
        };
        let mut trials = BareTrials {
            begin: &self.begin,
            folder: copies(self.journal.path()),
            journal: &mut self.journal,
        };
        let done = trials
            .run(index, stop, &mut tell)
            .or_fail(ExitCode::Broken)?;
        match lost {
            Some(error) => {
                Err(Failure::new(ExitCode::Broken, error)
                    .hint("the journal has it: modrace recover"))
            }
            None => Ok(done),
        }
    }

    fn save(&self) -> Result<(), WriteError> {
        self.file
            .as_ref()
            .map_or(Ok(()), |file| file.save(&self.report))
    }
}

/// Where copies of the module go: beside the journal, so that whoever finds
/// the one finds the other.
pub(in crate::cli) fn copies(journal: &Path) -> PathBuf {
    journal.with_extension("modules")
}

/// Puts a trial in its place; what was known of it before gives way.
pub(in crate::cli) fn replace(trials: &mut Vec<Trial>, trial: Trial) {
    trials.retain(|other| other.index != trial.index);
    trials.push(trial);
    trials.sort_by_key(|trial| trial.index);
}

fn merge(known: &mut Vec<Tunable>, new: Vec<Tunable>) {
    for tunable in new {
        known.retain(|other| other.path != tunable.path);
        known.push(tunable);
    }
}

fn status(index: u32, seen: &Snapshot) -> String {
    let raced_s = seen.raced_s();
    if raced_s <= 0.0 {
        return format!("trial {}: setting up", index + 1);
    }
    let states = &seen.counters.sightings;
    format!(
        "trial {}: {raced_s:.0} s raced, {:.0} cycles/s, {:.0} reads/s; seen: {} Live, {} \
         Loading, {} Unloading",
        index + 1,
        seen.cycles as f64 / raced_s,
        seen.reads as f64 / raced_s,
        states.live,
        states.loading,
        states.unloading
    )
}

/// Reboots at once: services that are to be stopped first may hang in the dead
/// kernel. Returns only if that failed.
fn restart() -> Failure {
    // What was measured is on the disk; this is for everybody else's files. In
    // a dead kernel it may never return.
    let synced = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&synced);
    let _nobody_waits_for_it = thread::Builder::new().spawn(move || {
        nix::unistd::sync();
        done.store(true, Ordering::Relaxed);
    });
    let deadline = Instant::now() + SYNC_PATIENCE;
    while !synced.load(Ordering::Relaxed) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    let refused = reboot(RebootMode::RB_AUTOBOOT);
    Failure::message(
        ExitCode::Broken,
        format!(
            "cannot reboot: {}",
            refused.err().unwrap_or(nix::Error::EIO)
        ),
    )
    .hint("reboot this machine, then: modrace recover --resume")
}
