//! `modrace ab`: a kernel without a fix against one with it, interleaved, until
//! the evidence is enough by a rule fixed beforehand.

mod schedule;

use std::sync::atomic::Ordering;
use std::time::Instant;

use self::schedule::Paired;
use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::prepared_kernel::{Preparation, PreparedKernel};
use super::request::{DEFAULT_CONFIDENCE, Request, check_confidence};
use super::{record, states};
use crate::model::{Oracle, Run, RunStats, StartChoice};
use crate::trial::{Event, VmTrial, campaign};
use crate::verdict::{Kernel, Plan, UnderWay, exit_code};

/// Longest trial, seconds. Many short trials see more clean states than one
/// long one.
pub const DEFAULT_DURATION_S: f64 = 15.0;
/// Clones of a template: ten trials of a kernel come from three boots.
const RENEW: u32 = 5;
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
    mut request: Request,
    pair: &PairedRequest,
    events: Events<'_>,
) -> Result<Finished, Failure> {
    let settings = &mut request.settings;
    if settings.oracle == Oracle::NearMiss && settings.start == StartChoice::Auto {
        // Near misses are counted by boots, and clones of one guest are one.
        settings.start = StartChoice::Boot;
        settings.renew = None;
    }
    if settings.start != StartChoice::Boot {
        settings.renew.get_or_insert(RENEW);
    }
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
    let kernel = |which| match which {
        Kernel::Baseline => &baseline,
        Kernel::Candidate => &candidate,
    };
    let learn = |which, environment: &mut _, module: &mut _| {
        kernel(which).learn(environment, module);
    };
    let mut schedule = Paired {
        plan,
        control,
        report,
        started: [0; 2],
        under_way: UnderWay::default(),
        cap: pair.cap,
        learn: &learn,
        file: file.as_ref(),
        events,
        began: Instant::now(),
        failed: None,
    };
    // An unwritable place is found now, not after an hour of racing.
    schedule.save()?;
    race(&preparation, &mut schedule, &kernel)?;
    schedule.report.complete = !preparation.stop.load(Ordering::Relaxed);
    schedule.update()?;
    let report = schedule.report;
    let exit = exit_code(&report);
    Ok(Finished::new(report, exit, file))
}

fn race<'a>(
    preparation: &Preparation<'_>,
    schedule: &mut Paired<'_>,
    kernel: &(dyn Fn(Kernel) -> &'a PreparedKernel + Sync),
) -> Result<(), Failure> {
    let (jobs, stop) = (schedule.report.settings.jobs, &*preparation.stop);
    preparation.events.emit(Event::RunStarted {
        name: "ab".to_owned(),
        trials: 0,
    });
    campaign::run(jobs, stop, schedule, |next, give_up, tell| {
        let trial = VmTrial {
            index: next.index,
            duration_s: Some(next.duration_s),
        };
        kernel(next.kernel).trials.run(trial, give_up, tell)
    })?;
    preparation.events.emit(Event::RunEnded);
    schedule.failed.take().map_or(Ok(()), Err)
}
