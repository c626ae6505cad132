//! `modrace ab`: a kernel without a fix against one with it, interleaved, until
//! the evidence is enough by a rule fixed beforehand.

use std::sync::atomic::Ordering;

use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::prepared_kernel::{Preparation, PreparedKernel};
use super::request::{DEFAULT_CONFIDENCE, Request, check_confidence};
use super::{record, states};
use crate::model::{Oracle, Outcome, Report, Run, RunStats, Trial, Verdict};
use crate::report::write::ReportFile;
use crate::trial::{Event, Schedule, Turn, VmTrial, campaign};
use crate::verdict::{Next, Plan, UnderWay, compare, run_stats, verdict_of_run};

/// Longest trial, seconds. Many short trials see more clean states than one
/// long one.
pub const DEFAULT_DURATION_S: f64 = 15.0;
/// Crashes of the baseline to wait for.
pub const DEFAULT_CRASHES: u32 = 10;
/// Trials of one kernel in a row without a result, after which more of them
/// would show no more.
const BROKEN_IN_A_ROW: usize = 3;

/// What is compared, and when it is enough.
#[derive(Clone, Debug)]
pub struct PairedRequest {
    /// The kernel without the fix, as it is typed.
    pub baseline: String,
    /// The kernel with the fix, as it is typed.
    pub candidate: String,
    /// Crashes of the baseline to wait for.
    pub crashes: u32,
    /// How sure to be, between 0.5 and 1.
    pub confidence: f64,
    /// The most exposure that either kernel gets, seconds.
    pub max_exposure_s: f64,
    /// The most trials of either kernel; none: as many as the stop rule wants.
    pub cap: Option<u32>,
    /// Look at the candidate's module states first.
    pub states: bool,
}

impl PairedRequest {
    /// One with the usual limits.
    pub fn new(baseline: impl Into<String>, candidate: impl Into<String>) -> Self {
        Self {
            baseline: baseline.into(),
            candidate: candidate.into(),
            crashes: DEFAULT_CRASHES,
            confidence: DEFAULT_CONFIDENCE,
            max_exposure_s: 3600.0,
            cap: None,
            states: true,
        }
    }

    fn stop_rule(&self, seed: u64) -> Result<Plan, Failure> {
        if self.crashes == 0 {
            return Err(Failure::usage(
                "--crashes 0: without a crash there is no positive control",
            ));
        }
        check_confidence(self.confidence)?;
        if self.max_exposure_s <= 0.0 {
            return Err(Failure::usage("--max-exposure 0s: some exposure is needed"));
        }
        Ok(Plan {
            crashes: self.crashes,
            confidence: self.confidence,
            max_exposure_s: self.max_exposure_s,
            seed,
        })
    }
}

/// Races the two kernels. The report is saved after each trial.
pub fn run(
    request: Request,
    pair: &PairedRequest,
    events: Events<'_>,
) -> Result<Finished, Failure> {
    let preparation = Preparation::new(request, events)?;
    let file = preparation.report_file(&pair.candidate)?;
    let plan = pair.stop_rule(preparation.request.seed)?;
    let logs = |of: &str| file.as_ref().map(|file| file.logs().join(of));
    let baseline = preparation.prepare(&pair.baseline, logs("baseline"))?;
    let candidate = preparation.prepare(&pair.candidate, logs("candidate"))?;

    let mut report = preparation.report(&candidate);
    report.stop_rule = Some(plan.sentence());
    // A fix that breaks what /proc/modules and oopses show is no fix. Another
    // module than ours cannot be held in a state.
    let ours = preparation.request.module.is_none() && report.settings.oracle == Oracle::Crash;
    if ours && pair.states {
        report.states = states::look(&candidate, &preparation, logs("states"))?.checks;
    }
    events.note(format!("stop rule, {}", plan.sentence()));
    let control = Run {
        source: None,
        environment: baseline.environment.clone(),
        module: Some(record::module_record(&baseline.module)),
        settings: report.settings.clone(),
        trials: Vec::new(),
        stats: RunStats::default(),
    };
    let mut schedule = Paired {
        plan,
        baseline: &baseline,
        candidate: &candidate,
        control,
        report,
        started: [0; 2],
        under_way: UnderWay::default(),
        cap: pair.cap,
        file: file.as_ref(),
        events,
        over: None,
        failed: None,
    };
    // An unwritable place is found now, not after an hour of racing.
    schedule.save()?;
    race(&preparation, &mut schedule)?;
    schedule.report.complete = !preparation.stop.load(Ordering::Relaxed);
    schedule.update()?;
    let report = schedule.report;
    let exit = record::exit_code(&report);
    Ok(Finished::new(report, exit, file))
}

fn race(preparation: &Preparation<'_>, schedule: &mut Paired<'_>) -> Result<(), Failure> {
    let (baseline, candidate) = (schedule.baseline, schedule.candidate);
    let (jobs, stop) = (schedule.report.settings.jobs, &*preparation.stop);
    preparation.events.emit(Event::RunStarted {
        name: "ab".to_owned(),
        trials: 0,
    });
    campaign::run(jobs, stop, schedule, |(which, index), give_up, tell| {
        let kernel = match which {
            Which::Baseline => baseline,
            Which::Candidate => candidate,
        };
        kernel.trials.run(VmTrial { index }, give_up, tell)
    })?;
    preparation.events.emit(Event::RunEnded);
    match schedule.failed.take() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Which of the two kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
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
struct Paired<'a> {
    plan: Plan,
    baseline: &'a PreparedKernel,
    candidate: &'a PreparedKernel,
    control: Run,
    report: Report,
    /// Trials started, of baseline and candidate.
    started: [u32; 2],
    under_way: UnderWay,
    /// The most trials of either kernel.
    cap: Option<u32>,
    file: Option<&'a ReportFile>,
    events: Events<'a>,
    /// Why no more trials are wanted, when the stop rule did not say it. The
    /// first reason counts: what comes after it may follow from it.
    over: Option<String>,
    /// Why the run cannot go on, the first time.
    failed: Option<Failure>,
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
    fn update(&mut self) -> Result<(), Failure> {
        let report = &mut self.report;
        self.candidate
            .learn(&mut report.environment, &mut report.module);
        self.baseline
            .learn(&mut self.control.environment, &mut self.control.module);
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

    fn save(&self) -> Result<(), Failure> {
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
