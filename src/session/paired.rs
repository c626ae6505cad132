//! `modrace ab`: a kernel without a fix against one with it, interleaved, until
//! the evidence is enough by a rule fixed beforehand.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::prepared_kernel::{Preparation, PreparedKernel};
use super::request::{DEFAULT_CONFIDENCE, Request, check_confidence};
use super::{record, states};
use crate::model::{Oracle, Report, Run, RunStats, Trial};
use crate::report::write::ReportFile;
use crate::trial::{Event, Schedule, Turn, VmTrial, campaign};
use crate::verdict::{Kernel, Next, Plan, Seen, Start, UnderWay, exit_code, hopeless};

/// Longest trial, seconds. Many short trials see more clean states than one
/// long one.
pub const DEFAULT_DURATION_S: f64 = 15.0;
/// Crashes of the baseline to wait for.
pub const DEFAULT_CRASHES: u32 = 10;

/// What is compared, and when it is enough.
#[derive(Clone, Debug)]
pub struct PairedRequest {
    /// The kernel without the fix, as it is typed.
    pub baseline: String,
    /// The kernel with the fix, as it is typed.
    pub candidate: String,
    /// Crashes of the baseline to wait for.
    pub crashes: u32,
    /// How sure to be: see [`crate::verdict::CONFIDENCE`].
    pub confidence: f64,
    /// The most exposure that either kernel gets, seconds.
    pub max_exposure_s: f64,
    /// How long the trials may take in all, seconds; none: as long as they need.
    pub budget_s: Option<f64>,
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
            budget_s: None,
            cap: None,
            states: true,
        }
    }

    fn stop_rule(&self, longest_trial_s: f64) -> Result<Plan, Failure> {
        if self.crashes == 0 {
            return Err(Failure::usage(
                "--crashes 0: without a crash there is no positive control",
            ));
        }
        check_confidence(self.confidence)?;
        if self.max_exposure_s <= 0.0 {
            return Err(Failure::usage("--max-exposure 0s: some exposure is needed"));
        }
        if self.budget_s.is_some_and(|budget_s| budget_s <= 0.0) {
            return Err(Failure::usage("--budget 0s: some time is needed"));
        }
        Ok(Plan {
            crashes: self.crashes,
            confidence: self.confidence,
            longest_trial_s,
            max_exposure_s: self.max_exposure_s,
            budget_s: self.budget_s,
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
    let plan = pair.stop_rule(preparation.request.settings.duration_s)?;
    let logs = |of: &str| file.as_ref().map(|file| file.logs().join(of));
    // Of a driver's mistake the halves are the module's, not the kernel's.
    let mended = preparation.request.row()?.is_drivers();
    let baseline = preparation.prepare_half(&pair.baseline, false, logs("baseline"))?;
    let candidate = preparation.prepare_half(&pair.candidate, mended, logs("candidate"))?;

    let mut report = preparation.report(&candidate)?;
    report.terms.confidence = Some(plan.confidence);
    report.stop_rule = Some(plan.sentence());
    // A fix that breaks what /proc/modules and oopses show is no fix. Another
    // module than ours cannot be held in a state.
    let ours = preparation.request.module.is_none()
        && report.settings.oracle == Oracle::Crash
        && !report.settings.is_other_race();
    if ours && pair.states {
        let looked = states::look(&candidate, &preparation, logs("states"))?;
        record::note_states(&mut report, looked.checks, looked.whole);
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
        began: Instant::now(),
        failed: None,
    };
    // An unwritable place is found now, not after an hour of racing.
    schedule.save()?;
    race(&preparation, &mut schedule)?;
    schedule.report.complete = !preparation.stop.load(Ordering::Relaxed);
    schedule.update()?;
    let report = schedule.report;
    let exit = exit_code(&report);
    Ok(Finished::new(report, exit, file))
}

fn race(preparation: &Preparation<'_>, schedule: &mut Paired<'_>) -> Result<(), Failure> {
    let (baseline, candidate) = (schedule.baseline, schedule.candidate);
    let (jobs, stop) = (schedule.report.settings.jobs, &*preparation.stop);
    preparation.events.emit(Event::RunStarted {
        name: "ab".to_owned(),
        trials: 0,
    });
    campaign::run(jobs, stop, schedule, |(of, index), give_up, tell| {
        let kernel = match of {
            Kernel::Baseline => baseline,
            Kernel::Candidate => candidate,
        };
        kernel.trials.run(VmTrial { index }, give_up, tell)
    })?;
    preparation.events.emit(Event::RunEnded);
    match schedule.failed.take() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn name(of: Kernel) -> &'static str {
    match of {
        Kernel::Baseline => "baseline",
        Kernel::Candidate => "candidate",
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
    began: Instant,
    /// Why the run cannot go on, the first time.
    failed: Option<Failure>,
}

impl Schedule for Paired<'_> {
    type Key = (Kernel, u32);

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
        let Start { kernel, .. } = match next {
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
        Turn::Start((kernel, *started - 1))
    }

    fn hear(&mut self, (kernel, _): Self::Key, event: Event) -> bool {
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

    fn finished(&mut self, kernel: Kernel, trial: Trial) {
        let (trials, under_way) = match kernel {
            Kernel::Baseline => (&mut self.control.trials, &mut self.under_way.baseline),
            Kernel::Candidate => (&mut self.report.trials, &mut self.under_way.candidate),
        };
        *under_way -= 1;
        trials.push(trial);
        trials.sort_by_key(|trial| trial.index);
        // The first reason counts: what comes after it may follow from it.
        if let Some(why) = hopeless(trials) {
            let given_up = &mut self.report.terms.given_up;
            given_up.get_or_insert_with(|| format!("{}: {why}", name(kernel)));
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
        report.baseline = Some(self.control.clone());
        record::update(report);
        self.save()
    }

    fn save(&self) -> Result<(), Failure> {
        if let Some(file) = self.file {
            file.save(&self.report)?;
        }
        Ok(())
    }
}
