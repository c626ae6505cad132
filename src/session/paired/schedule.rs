//! The schedule of a comparison: which kernel's trial is next, when it is
//! enough, and the report after each.

use crate::model::{Environment, ModuleRecord, Outcome, Report, Run, Trial, Verdict};
use crate::report::write::ReportFile;
use crate::session::events::Events;
use crate::session::exit::Failure;
use crate::session::record;
use crate::trial::{Event, Schedule, Turn};
use crate::verdict::{Next, Plan, UnderWay, compare, run_stats, verdict_of_run};

/// Trials of one kernel in a row without a result, after which more of them
/// would show no more.
const BROKEN_IN_A_ROW: usize = 3;

/// Which of the two kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Baseline,
    Candidate,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        }
    }
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
    pub(super) learn: &'a dyn Fn(Which, &mut Environment, &mut Option<ModuleRecord>),
    /// The report's file; none for stdout.
    pub(super) file: Option<&'a ReportFile>,
    pub(super) events: Events<'a>,
    /// Why no more trials are wanted, when the stop rule did not say it. The
    /// first reason counts: what comes after it may follow from it.
    pub(super) over: Option<String>,
    /// Why the run cannot go on, the first time.
    pub(super) failed: Option<Failure>,
}

impl Schedule for Paired<'_> {
    type Key = (Which, u32);

    fn next(&mut self) -> Turn<Self::Key> {
        if self.over.is_some() || self.failed.is_some() {
            return Turn::Stop;
        }
        let which = match self
            .plan
            .next(&self.control.trials, &self.report.trials, self.under_way)
        {
            Ok(Next::Baseline) => Which::Baseline,
            Ok(Next::Candidate) => Which::Candidate,
            Ok(Next::Wait) => return Turn::Wait,
            Ok(Next::Stop(_)) => return Turn::Stop,
            Err(error) => {
                self.failed.get_or_insert_with(|| error.into());
                return Turn::Stop;
            }
        };
        let started = &mut self.started[which as usize];
        if self.cap.is_some_and(|cap| *started >= cap) {
            return Turn::Stop;
        }
        *started += 1;
        match which {
            Which::Baseline => self.under_way.baseline += 1,
            Which::Candidate => self.under_way.candidate += 1,
        }
        Turn::Start((which, *started - 1))
    }

    fn hear(&mut self, (which, _): Self::Key, event: Event) -> bool {
        self.events.emit(Event::Of {
            kernel: which.name(),
            event: Box::new(event.clone()),
        });
        if let Event::Finished(trial) = event {
            self.finished(which, *trial);
        }
        self.failed.is_none() && self.over.is_none()
    }
}

impl Paired<'_> {
    fn finished(&mut self, which: Which, trial: Trial) {
        let (trials, under_way) = match which {
            Which::Baseline => (&mut self.control.trials, &mut self.under_way.baseline),
            Which::Candidate => (&mut self.report.trials, &mut self.under_way.candidate),
        };
        *under_way -= 1;
        trials.push(trial);
        trials.sort_by_key(|trial| trial.index);
        if let Some(why) = hopeless(trials) {
            self.over
                .get_or_insert_with(|| format!("{}: {why}", which.name()));
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
            Which::Candidate,
            &mut report.environment,
            &mut report.module,
        );
        (self.learn)(
            Which::Baseline,
            &mut control.environment,
            &mut control.module,
        );
        let made = |trials: &[Trial]| u32::try_from(trials.len()).unwrap_or(u32::MAX);
        report.settings.trials = made(&report.trials);
        self.control.settings.trials = made(&self.control.trials);
        report.stats = run_stats(&report.trials);
        self.control.stats = run_stats(&self.control.trials);
        let comparison = compare(
            &self.control.trials,
            &report.trials,
            self.plan.confidence,
            report.seed,
        )?;
        (report.verdict, report.verdict_reason) = verdict_of_run(
            &report.settings,
            &report.trials,
            &report.states,
            true,
            Some(&comparison),
        );
        if let Some(why) = &self.over {
            // No verdict follows from a kernel that could not be raced.
            if report.verdict != Verdict::Fail {
                let mut trials = self.control.trials.iter().chain(&report.trials);
                report.verdict = match trials.any(is_unsupported) {
                    true => Verdict::Inconclusive,
                    false => Verdict::Broken,
                };
                report.verdict_reason.clone_from(why);
            }
        }
        report.comparison = Some(comparison);
        report.baseline = Some(self.control.clone());
        report.updated = record::now();
        self.save()
    }

    pub(super) fn save(&self) -> Result<(), Failure> {
        if let Some(file) = self.file {
            file.save(&self.report)?;
        }
        Ok(())
    }
}

fn is_unsupported(trial: &Trial) -> bool {
    trial.outcome == Outcome::Unsupported
}

/// Why more trials of a kernel would show no more.
fn hopeless(trials: &[Trial]) -> Option<String> {
    if let Some(trial) = trials.iter().find(|trial| is_unsupported(trial)) {
        return Some(trial.reason.clone());
    }
    let last = trials.iter().rev().take(BROKEN_IN_A_ROW);
    let broken = last
        .filter(|trial| trial.outcome == Outcome::Broken)
        .count();
    (broken == BROKEN_IN_A_ROW).then(|| {
        format!(
            "{broken} trials in a row broke: {}",
            trials[trials.len() - 1].reason
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::session::request::Request;

    /// A comparison with two trials under way.
    fn compared(file: Option<&ReportFile>, check: impl FnOnce(Paired<'_>)) {
        let settings = Request::default().settings;
        let blank = || {
            let (environment, module) = (Environment::default(), ModuleRecord::default());
            record::blank(environment, module, settings.clone(), 1, SystemTime::now())
        };
        let paired = Paired {
            plan: Plan {
                crashes: 10,
                confidence: 0.999,
                max_exposure_s: 60.0,
                seed: 1,
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
            over: None,
            failed: None,
        };
        check(paired);
    }

    fn ended(outcome: Outcome, reason: &str) -> Event {
        Event::Finished(Box::new(Trial::new(0, 1, outcome, reason)))
    }

    #[test]
    fn the_first_reason_to_stop_is_the_one_reported() {
        compared(None, |mut paired| {
            let first = ended(Outcome::Unsupported, "no /proc/modules");
            assert!(!paired.hear((Which::Baseline, 0), first));
            let second = ended(Outcome::Unsupported, "no modules at all");
            assert!(!paired.hear((Which::Candidate, 0), second));
            assert_eq!(paired.report.verdict, Verdict::Inconclusive);
            let reason = &paired.report.verdict_reason;
            assert_eq!(reason, "baseline: no /proc/modules");
            assert_eq!(paired.next(), Turn::Stop);
        });
    }

    #[test]
    fn a_trial_that_ends_well_does_not_take_a_reason_to_stop_back() {
        compared(None, |mut paired| {
            let broken = ended(Outcome::Unsupported, "no /proc/modules");
            paired.hear((Which::Baseline, 0), broken);
            let fine = ended(Outcome::Survived, "no crash");
            assert!(!paired.hear((Which::Candidate, 0), fine));
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
            assert!(!paired.hear((Which::Baseline, 0), fine()));
            std::fs::remove_file(&reports).unwrap();
            assert!(!paired.hear((Which::Candidate, 0), fine()));
            let failure = paired.failed.unwrap();
            assert!(failure.error.to_string().contains("report.json"));
            assert!(failure.hint.unwrap().contains("intact"));
        });
    }
}
