//! The trials of a run on this machine, one after the other, the report saved
//! after each, everything put back at the end. A run begins here, and goes on
//! here after a reboot.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};

use super::{SYNC_PATIENCE, tunables, unit};
use crate::bare::{BareTrials, Begin, Done, Journal, JournalError, Record};
use crate::disk;
use crate::kernel::preflight::{TAINT_DIE, taint};
use crate::kernel::udev;
use crate::model::{Outcome, Report, Trial, Tunable};
use crate::report::write::{ReportFile, WriteError};
use crate::session::control::Control;
use crate::session::events::Events;
use crate::session::exit::Failure;
use crate::session::finished::Finished;
use crate::session::{kernel_names, record};
use crate::trial::Event;
use crate::verdict::exit_code;

/// Longest wait for udevd to catch up with the race.
const UDEV_PATIENCE: Duration = Duration::from_secs(30);
/// What is left to do where the kernel has crashed and lives on.
const REBOOT_ADVICE: &str = "this kernel is not to be trusted any more, and whatever touches \
     modules may hang: reboot this machine by `reboot -f`, since an orderly shutdown would wait \
     for the dead worker; --reboot does it by itself";

/// A run on this machine.
#[derive(Debug)]
pub(in crate::session) struct RunLoop<'a> {
    pub(in crate::session) begin: Begin,
    pub(in crate::session) report: Report,
    pub(in crate::session) journal: Journal,
    /// The report's file; none for stdout.
    pub(in crate::session) file: Option<ReportFile>,
    /// The positive control of a run that is not cut short.
    pub(in crate::session) control: Option<Control>,
    pub(in crate::session) events: Events<'a>,
    /// Whether to reboot at the end if the kernel has crashed.
    pub(in crate::session) reboot: bool,
}

/// A run whose report is final: until it is closed, it can be recovered.
#[derive(Debug)]
pub struct OpenRun {
    journal: Journal,
    /// Whether the run has installed the unit.
    unit: bool,
}

impl OpenRun {
    /// Ends it: no unit of the run's own, no journal.
    pub(in crate::session) fn close(mut self, report: &Report) -> Result<(), Failure> {
        if self.unit {
            unit::remove();
        }
        self.journal.append(&Record::End {
            how: report.verdict.as_str().to_owned(),
        })?;
        let folder = self.journal.path().parent().map(Path::to_owned);
        self.journal.remove()?;
        // Only if nothing else is in it.
        let _ = folder.map(fs::remove_dir);
        Ok(())
    }
}

impl RunLoop<'_> {
    /// Makes the trials from `first` on, and concludes the run.
    pub(in crate::session) fn run(
        mut self,
        first: u32,
        stop: &AtomicBool,
    ) -> Result<Finished, Failure> {
        let mut ended = None;
        let raced = self.trials(first, stop, &mut ended);
        let reboot_needed = ended.as_ref().is_some_and(|done| done.reboot_needed);
        self.put_back();
        merge(
            &mut self.report.environment.tunables,
            tunables::set(&self.begin.tunables),
        );
        raced?;
        if !reboot_needed && udev::is_running() && !udev::settle(UDEV_PATIENCE) {
            self.events.note(
                "systemd-udevd is still at work on the loads and unloads that it was told of, and \
                 the kernel keeps them until then: `udevadm settle` waits for it; --stop-udev \
                 spares the next run",
            );
        }
        if reboot_needed && self.begin.rearm {
            let trials_left = self.report.trials.len() < self.report.settings.trials as usize;
            self.events.note(if trials_left {
                "rebooting, to make the remaining trials from a clean state"
            } else {
                "rebooting, to complete the report on a kernel that is in order"
            });
            return Err(restart());
        }
        let interrupted = ended.is_some_and(|done| done.interrupted);
        let cost = self.journal.cost();
        if cost.records > 0 {
            self.events.note(format!(
                "journal: {} records synced, {:.1} ms each on average, {:.1} ms at most",
                cost.records,
                (cost.total / cost.records).as_secs_f64() * 1e3,
                cost.longest.as_secs_f64() * 1e3
            ));
        }
        let self_reboots = self.reboot;
        let mut finished = self.conclude(interrupted)?;
        finished.advice = (reboot_needed && !self_reboots).then_some(REBOOT_ADVICE);
        finished.reboot = reboot_needed && self_reboots;
        Ok(finished)
    }

    /// Makes the report final.
    pub(in crate::session) fn conclude(mut self, interrupted: bool) -> Result<Finished, Failure> {
        let crashes = self.report.trials.iter_mut();
        kernel_names::decode_installed(
            &self.report.environment.kernel,
            taint() & TAINT_DIE == 0,
            crashes.filter_map(|trial| trial.crash.as_mut()),
        );
        record::update(&mut self.report);
        let mut exit = record::conclude(&mut self.report, interrupted);
        if let Some(control) = self.control.take().filter(|_| !interrupted) {
            self.report = control.apply(self.report)?;
            exit = exit_code(&self.report);
        }
        let open = OpenRun {
            journal: self.journal,
            unit: self.begin.unit,
        };
        Ok(Finished::new(self.report, exit, self.file).of_open_run(open))
    }

    /// Puts back what the run has set, and tells what could not be.
    pub(in crate::session) fn put_back(&self) {
        for path in tunables::put_back(&self.begin.tunables) {
            self.events.note(format!("{path} could not be put back"));
        }
        if self.begin.stop_udev
            && let Err(error) = udev::start()
        {
            self.events
                .note(format!("systemd-udevd could not be started again: {error}"));
        }
    }

    /// What stands in the way of the report does not cost what was measured.
    fn keep(&self, lost: Option<JournalError>) -> Result<(), Failure> {
        let hint = "what was measured until then is kept: make room, then: modrace recover";
        let saved = self.save().map_err(|error| Failure::from(error).hint(hint));
        match lost {
            None => saved,
            // The report may have the trial all the same.
            Some(error) => Err(Failure::from(error).hint(hint)),
        }
    }

    fn trials(
        &mut self,
        first: u32,
        stop: &AtomicBool,
        ended: &mut Option<Done>,
    ) -> Result<(), Failure> {
        tunables::apply(&self.begin.tunables)?;
        if self.begin.stop_udev {
            udev::stop()?;
        }
        let asked = self.report.settings.trials;
        self.events.emit(Event::RunStarted {
            name: self.report.environment.kernel.name.clone(),
            trials: asked,
        });
        for index in first..asked {
            let mut done = self.trial(index, stop)?;
            self.events
                .emit(Event::Finished(Box::new(done.trial.clone())));
            replace(&mut self.report.trials, done.trial.clone());
            record::update(&mut self.report);
            self.keep(done.lost.take())?;
            let go_on = matches!(done.trial.outcome, Outcome::Survived)
                && !done.interrupted
                && !done.reboot_needed;
            *ended = Some(done);
            if !go_on {
                break;
            }
        }
        self.events.emit(Event::RunEnded);
        Ok(())
    }

    fn trial(&mut self, index: u32, stop: &AtomicBool) -> Result<Done, Failure> {
        let (report, file, events) = (&mut self.report, self.file.as_ref(), self.events);
        let mut lost: Option<WriteError> = None;
        let mut tell = |event: Event| {
            match &event {
                Event::Module(loaded) => {
                    if let Some(module) = &mut report.module {
                        module.learn(loaded);
                    }
                }
                Event::Racing(racing) => {
                    merge(&mut report.environment.tunables, racing.tunables.clone());
                }
                Event::Tunables(ended) => {
                    merge(&mut report.environment.tunables, ended.clone());
                }
                Event::Crashed(trial) => {
                    // Nothing comes before this: the machine may not be there for
                    // anything else.
                    replace(&mut report.trials, (**trial).clone());
                    record::update(report);
                    lost = file.and_then(|file| file.save(report).err());
                }
                _ => {}
            }
            events.emit(event);
        };
        let mut trials = BareTrials {
            begin: &self.begin,
            folder: copies(self.journal.path()),
            journal: &mut self.journal,
        };
        let done = trials.run(index, stop, &mut tell)?;
        match lost {
            Some(error) => Err(Failure::from(error).hint("the journal has it: modrace recover")),
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
pub(in crate::session) fn copies(journal: &Path) -> PathBuf {
    journal.with_extension("modules")
}

/// Puts a trial in its place; what was known of it before gives way.
pub(in crate::session) fn replace(trials: &mut Vec<Trial>, trial: Trial) {
    trials.retain(|other| other.index != trial.index);
    trials.push(trial);
    trials.sort_by_key(|trial| trial.index);
}

/// Adds tunables; what was known of the same ones before gives way.
pub(in crate::session) fn merge(known: &mut Vec<Tunable>, new: Vec<Tunable>) {
    for tunable in new {
        known.retain(|other| other.path != tunable.path);
        known.push(tunable);
    }
}

/// Reboots at once: services that are to be stopped first may hang in the dead
/// kernel. Returns only if that failed.
pub(in crate::session) fn restart() -> Failure {
    // What was measured is on the disk; this is for everybody else's files. In
    // a dead kernel it may never return.
    disk::sync_machine(SYNC_PATIENCE);
    let refused = reboot(RebootMode::RB_AUTOBOOT);
    Failure::broken(format!(
        "cannot reboot: {}",
        refused.err().unwrap_or(nix::Error::EIO)
    ))
    .hint("reboot this machine, then: modrace recover --resume")
}
