//! The schedule of a comparison: which kernel's trial is next, when it is
//! enough, and the report after each.

use std::time::Instant;

use crate::model::{Environment, ModuleRecord, Report, Run, Trial};
use crate::report::write::ReportFile;
use crate::session::events::Events;
use crate::session::exit::Failure;
use crate::session::record;
use crate::trial::{Event, Schedule, Turn};
use crate::verdict::{Kernel, Next, Plan, Seen, Start, UnderWay, hopeless};

fn name(of: Kernel) -> &'static str {
    match of {
        Kernel::Baseline => "baseline",
        Kernel::Candidate => "candidate",
    }
}

/// A trial that the stop rule wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NextTrial {
    /// Of which kernel.
    pub(super) kernel: Kernel,
    /// Its index among the trials of that kernel.
    pub(super) index: u32,
    /// How long it races at most, seconds.
    pub(super) duration_s: f64,
}

/// The schedule: keeps the trials of both, asks the stop rule, saves the report.
pub(super) struct Paired<'a> {
    pub(super) plan: Plan,
    pub(super) control: Run,
    pub(super) report: Report,
    /// Trials started, of baseline and candidate.
    pub(super) started: [u32; 2],
    pub(super) under_way: UnderWay,
    /// The most trials of either kernel.
    pub(super) cap: Option<u32>,
    /// Brings what the guests said of themselves into a run's records.
    pub(super) learn: &'a dyn Fn(Kernel, &mut Environment, &mut Option<ModuleRecord>),
    /// The report's file; none for stdout.
    pub(super) file: Option<&'a ReportFile>,
    pub(super) events: Events<'a>,
    /// When the first trial could begin.
    pub(super) began: Instant,
    /// Why the run cannot go on, the first time.
    pub(super) failed: Option<Failure>,
}

impl Schedule for Paired<'_> {
    type Key = NextTrial;

    fn next(&mut self) -> Turn<Self::Key> {
        if self.is_given_up() {
            return Turn::Stop;
        }
        let next = self.plan.next(&Seen {
            settings: &self.report.settings,
            baseline: &self.control.trials,
            candidate: &self.report.trials,
            under_way: self.under_way,
            elapsed_s: self.began.elapsed().as_secs_f64(),
        });
        let Start { kernel, duration_s } = match next {
            Ok(Next::Start(start)) => start,
            Ok(Next::Wait) => return Turn::Wait,
            Ok(Next::Stop(_)) => return Turn::Stop,
            Err(error) => {
                self.failed.get_or_insert_with(|| error.into());
                return Turn::Stop;
            }
        };
        let started = &mut self.started[kernel as usize];
        if self.cap.is_some_and(|cap| *started >= cap) {
            return Turn::Stop;
        }
        *started += 1;
        match kernel {
            Kernel::Baseline => self.under_way.baseline += 1,
            Kernel::Candidate => self.under_way.candidate += 1,
        }
        Turn::Start(NextTrial {
            kernel,
            index: *started - 1,
            duration_s,
        })
    }

    fn hear(&mut self, NextTrial { kernel, .. }: Self::Key, event: Event) -> bool {
        self.events.emit(Event::Of {
            kernel: name(kernel),
            event: Box::new(event.clone()),
        });
        if let Event::Finished(trial) = event {
            self.finished(kernel, *trial);
        }
        !self.is_given_up()
    }
}

impl Paired<'_> {
    /// Whether no more trials are wanted, when the stop rule did not say it.
    fn is_given_up(&self) -> bool {
        self.failed.is_some() || self.report.terms.given_up.is_some()
    }

    fn finished(&mut self, which: Kernel, trial: Trial) {
        let (trials, under_way) = match which {
            Kernel::Baseline => (&mut self.control.trials, &mut self.under_way.baseline),
            Kernel::Candidate => (&mut self.report.trials, &mut self.under_way.candidate),
        };
        *under_way -= 1;
        trials.push(trial);
        trials.sort_by_key(|trial| trial.index);
        // The first reason counts: what comes after it may follow from it.
        if let Some(why) = hopeless(trials) {
            let given_up = &mut self.report.terms.given_up;
            given_up.get_or_insert_with(|| format!("{}: {why}", name(which)));
        }
        if let Err(failure) = self.update() {
            let hint = "the report of the trials before this one is intact";
            self.failed.get_or_insert_with(|| failure.hint(hint));
        }
    }

    /// Brings all that follows from the trials up to date, and saves it.
    pub(super) fn update(&mut self) -> Result<(), Failure> {
        let report = &mut self.report;
        let control = &mut self.control;
        (self.learn)(
            Kernel::Candidate,
            &mut report.environment,
            &mut report.module,
        );
        (self.learn)(
            Kernel::Baseline,
            &mut control.environment,
            &mut control.module,
        );
        let made = |trials: &[Trial]| u32::try_from(trials.len()).unwrap_or(u32::MAX);
        report.settings.trials = made(&report.trials);
        self.control.settings.trials = made(&self.control.trials);
        report.baseline = Some(self.control.clone());
        record::update(report);
        self.save()
    }

    pub(super) fn save(&self) -> Result<(), Failure> {
        if let Some(file) = self.file {
            file.save(&self.report)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{Outcome, Verdict};
    use crate::session::request::Request;

    /// A comparison with two trials under way.
    fn compared(file: Option<&ReportFile>, check: impl FnOnce(Paired<'_>)) {
        let request = Request::default();
        let settings = &request.settings;
        let blank = || {
            let (environment, module) = (Environment::default(), ModuleRecord::default());
            record::blank(environment, module, &request, SystemTime::now()).unwrap()
        };
        let paired = Paired {
            plan: Plan {
                crashes: 10,
                confidence: 0.999,
                longest_trial_s: 15.0,
                max_exposure_s: 60.0,
                budget_s: None,
            },
            control: Run {
                source: None,
                environment: Environment::default(),
                module: None,
                settings: settings.clone(),
                trials: Vec::new(),
                stats: blank().stats,
            },
            report: blank(),
            started: [1; 2],
            under_way: UnderWay {
                baseline: 1,
                candidate: 1,
            },
            cap: None,
            learn: &|_, _, _| {},
            file,
            events: Events::to(&|_| {}),
            began: Instant::now(),
            failed: None,
        };
        check(paired);
    }

    fn first_of(kernel: Kernel) -> NextTrial {
        NextTrial {
            kernel,
            index: 0,
            duration_s: 1.0,
        }
    }

    fn ended(outcome: Outcome, reason: &str) -> Event {
        Event::Finished(Box::new(Trial::new(0, 1, outcome, reason)))
    }

    #[test]
    fn the_first_reason_to_stop_is_the_one_reported() {
        compared(None, |mut paired| {
            let first = ended(Outcome::Unsupported, "no /proc/modules");
            assert!(!paired.hear(first_of(Kernel::Baseline), first));
            let second = ended(Outcome::Unsupported, "no modules at all");
            assert!(!paired.hear(first_of(Kernel::Candidate), second));
            assert_eq!(paired.report.verdict, Verdict::Inconclusive);
            let reason = &paired.report.verdict_reason;
            assert!(reason.ends_with("baseline: no /proc/modules"), "{reason}");
            assert_eq!(paired.next(), Turn::Stop);
        });
    }

    #[test]
    fn a_trial_that_ends_well_does_not_take_a_reason_to_stop_back() {
        compared(None, |mut paired| {
            let broken = ended(Outcome::Unsupported, "no /proc/modules");
            paired.hear(first_of(Kernel::Baseline), broken);
            let fine = ended(Outcome::Survived, "no crash");
            assert!(!paired.hear(first_of(Kernel::Candidate), fine));
            assert_eq!(paired.report.verdict, Verdict::Inconclusive);
        });
    }

    #[test]
    fn a_report_that_could_not_be_saved_once_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().join("reports");
        std::fs::write(&reports, "a file where a folder belongs").unwrap();
        let file = ReportFile::at(reports.join("report.json"));
        compared(Some(&file), |mut paired| {
            let fine = || ended(Outcome::Survived, "no crash");
            assert!(!paired.hear(first_of(Kernel::Baseline), fine()));
            std::fs::remove_file(&reports).unwrap();
            assert!(!paired.hear(first_of(Kernel::Candidate), fine()));
            let failure = paired.failed.unwrap();
            assert!(failure.error.to_string().contains("report.json"));
            assert!(failure.hint.unwrap().contains("intact"));
        });
    }
}
