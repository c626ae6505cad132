//! `modrace vm`: trials of one kernel inside disposable virtual machines, the
//! same again and again.

use std::sync::atomic::Ordering;

use super::control::ControlRequest;
use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::prepared_kernel::{Preparation, PreparedKernel};
use super::record;
use super::request::Request;
use crate::model::{DEFAULT_RENEW, Environment, ModuleRecord, Report, StartChoice};
use crate::report::write::ReportFile;
use crate::trial::{Event, Schedule, Turn, VmTrial, campaign};
use crate::verdict::{exit_code, hopeless};

/// Races the kernel that an argument names. The report is saved after each
/// trial.
pub fn run(
    mut request: Request,
    kernel: &str,
    control: &ControlRequest,
    events: Events<'_>,
) -> Result<Finished, Failure> {
    request.check_for_vms()?;
    let settings = &mut request.settings;
    settings.jobs = settings.jobs.min(settings.trials);
    if settings.start != StartChoice::Boot {
        settings.renew.get_or_insert(DEFAULT_RENEW);
    }
    let control = control.read(settings)?;
    let preparation = Preparation::new(request, events)?;
    let file = preparation.report_file(kernel)?;
    let logs = file.as_ref().map(ReportFile::logs);
    let mut prepared = preparation.prepare(kernel, logs)?;
    prepared.trials.wanted = Some(preparation.request.settings.trials);
    let mut report = preparation.report(&prepared)?;
    if let Some(file) = &file {
        // An unwritable place is found now, not after an hour of racing.
        file.save(&report)?;
    }
    let interrupted = race(&preparation, &prepared, &mut report, file.as_ref())?;
    let mut exit = record::conclude(&mut report, interrupted);
    if let Some(control) = control.filter(|_| !interrupted) {
        report = control.apply(report)?;
        exit = exit_code(&report);
    }
    Ok(Finished::new(report, exit, file))
}

/// Performs the trials. True if a signal ended it early.
fn race(
    preparation: &Preparation<'_>,
    prepared: &PreparedKernel,
    report: &mut Report,
    file: Option<&ReportFile>,
) -> Result<bool, Failure> {
    let (trials, jobs) = (report.settings.trials, report.settings.jobs);
    let (stop, events) = (&*preparation.stop, preparation.events);
    events.emit(Event::RunStarted {
        name: report.environment.kernel.name.clone(),
        trials,
    });
    let mut schedule = Repeated {
        learn: &|environment, module| prepared.learn(environment, module),
        report,
        file,
        events,
        started: 0,
        trials,
        failed: None,
    };
    campaign::run(jobs, stop, &mut schedule, |index, give_up, tell| {
        prepared.trials.run(VmTrial::new(index), give_up, tell)
    })?;
    events.emit(Event::RunEnded);
    match schedule.failed {
        Some(failure) => Err(failure.hint("the report of the trials before this one is intact")),
        None => Ok(stop.load(Ordering::Relaxed)),
    }
}

/// The schedule: the same trial again and again.
struct Repeated<'a> {
    /// Brings what the guests said of themselves into the report.
    learn: &'a dyn Fn(&mut Environment, &mut Option<ModuleRecord>),
    report: &'a mut Report,
    file: Option<&'a ReportFile>,
    events: Events<'a>,
    started: u32,
    trials: u32,
    /// Why the report could not be saved, the first time.
    failed: Option<Failure>,
}

impl Schedule for Repeated<'_> {
    type Key = u32;

    fn next(&mut self) -> Turn<u32> {
        if self.started == self.trials || self.is_given_up() {
            return Turn::Stop;
        }
        self.started += 1;
        Turn::Start(self.started - 1)
    }

    fn hear(&mut self, _: u32, event: Event) -> bool {
        self.events.emit(event.clone());
        let Event::Finished(trial) = event else {
            return !self.is_given_up();
        };
        self.report.trials.push(*trial);
        self.report.trials.sort_by_key(|trial| trial.index);
        if self.started < self.trials {
            // The first reason counts: what comes after it may follow from it.
            let given_up = &mut self.report.terms.given_up;
            *given_up = given_up.take().or_else(|| hopeless(&self.report.trials));
        }
        (self.learn)(&mut self.report.environment, &mut self.report.module);
        record::update(self.report);
        if let Some(Err(error)) = self.file.map(|file| file.save(self.report)) {
            self.failed.get_or_insert_with(|| error.into());
        }
        !self.is_given_up()
    }
}

impl Repeated<'_> {
    /// Whether no more trials are wanted than were made.
    fn is_given_up(&self) -> bool {
        self.failed.is_some() || self.report.terms.given_up.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{Outcome, SILENT_BOOT, Trial};

    fn blank() -> Report {
        let (environment, module) = (Environment::default(), ModuleRecord::default());
        record::blank(environment, module, &Request::default(), SystemTime::now()).unwrap()
    }

    #[test]
    fn a_guest_that_never_speaks_is_not_waited_for_twice() {
        let mut report = blank();
        let mut schedule = Repeated {
            learn: &|_, _| {},
            report: &mut report,
            file: None,
            events: Events::to(&|_| {}),
            started: 1,
            trials: 20,
            failed: None,
        };
        let reason = format!("{SILENT_BOOT} within 120 s");
        let trial = Trial::new(0, 1, Outcome::Broken, &reason);
        assert!(!schedule.hear(0, Event::Finished(Box::new(trial))));
        assert_eq!(schedule.next(), Turn::Stop);
        assert_eq!(report.terms.given_up, Some(reason));
    }

    #[test]
    fn a_report_that_could_not_be_saved_once_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().join("reports");
        std::fs::write(&reports, "a file where a folder belongs").unwrap();
        let file = ReportFile::at(reports.join("report.json"));
        let mut report = blank();
        let mut schedule = Repeated {
            learn: &|_, _| {},
            report: &mut report,
            file: Some(&file),
            events: Events::to(&|_| {}),
            started: 2,
            trials: 5,
            failed: None,
        };
        let ended = |index| {
            let trial = Trial::new(index, 1, Outcome::Survived, "no crash");
            Event::Finished(Box::new(trial))
        };
        assert!(!schedule.hear(1, ended(1)));
        // The place is there again, and another trial ends.
        std::fs::remove_file(&reports).unwrap();
        assert!(!schedule.hear(0, ended(0)));
        assert_eq!(schedule.next(), Turn::Stop);
        let failure = schedule.failed.unwrap();
        assert!(failure.error.to_string().contains("report.json"));
        // In the order in which they started.
        assert_eq!(report.trials[0].index, 0);
        assert_eq!(report.trials.len(), 2);
    }
}
