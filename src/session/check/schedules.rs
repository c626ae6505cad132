//! How long a control and the kernel are raced.

use std::time::Instant;

use crate::model::{Outcome, Report, Trial};
use crate::session::events::Events;
use crate::session::exit::Failure;
use crate::session::prepared_kernel::PreparedKernel;
use crate::session::record;
use crate::trial::{Event, Schedule, Turn};
use crate::verdict::{Kernel, Next, Plan, Seen, Start, UnderWay, hopeless};

/// Trials of a control at most, for each crash that is wanted.
const TRIALS_FOR_A_CRASH: u32 = 2;

/// The schedule of a control: until it has crashed often enough.
pub(super) struct UntilCrashes<'a> {
    pub(super) prepared: &'a PreparedKernel,
    pub(super) report: &'a mut Report,
    pub(super) events: Events<'a>,
    pub(super) started: u32,
    pub(super) wanted: u32,
}

impl Schedule for UntilCrashes<'_> {
    type Key = u32;

    fn next(&mut self) -> Turn<u32> {
        let crashes = self.report.stats.crashes;
        if crashes >= self.wanted || hopeless(&self.report.trials).is_some() {
            return Turn::Stop;
        }
        if self.started >= self.wanted * TRIALS_FOR_A_CRASH {
            return Turn::Stop;
        }
        self.started += 1;
        Turn::Start(self.started - 1)
    }

    fn hear(&mut self, _: u32, event: Event) -> bool {
        self.events.emit(event.clone());
        if let Event::Finished(trial) = event {
            keep(self.report, self.prepared, *trial);
        }
        true
    }
}

/// The schedule of the kernel: until its clean exposure is enough beside the
/// control, or it has had the most that it may get, or it crashed.
pub(super) struct UntilClean<'a> {
    pub(super) plan: Plan,
    pub(super) control: &'a [Trial],
    pub(super) prepared: &'a PreparedKernel,
    pub(super) report: &'a mut Report,
    pub(super) events: Events<'a>,
    pub(super) under_way: u32,
    pub(super) started: u32,
    /// When the first trial could begin.
    pub(super) began: Instant,
    pub(super) failed: Option<Failure>,
}

impl UntilClean<'_> {
    fn raced_s(&self) -> f64 {
        self.report.stats.exposure_s + f64::from(self.under_way) * self.report.settings.duration_s
    }
}

impl Schedule for UntilClean<'_> {
    type Key = u32;

    fn next(&mut self) -> Turn<u32> {
        if self.failed.is_some() || hopeless(&self.report.trials).is_some() {
            return Turn::Stop;
        }
        let unclean = |trial: &Trial| matches!(trial.outcome, Outcome::Crashed | Outcome::Hung);
        let enough = if self.control.is_empty() {
            self.report.trials.iter().any(unclean) || self.raced_s() >= self.plan.max_exposure_s
        } else {
            let under_way = UnderWay {
                baseline: 0,
                candidate: self.under_way,
            };
            let next = self.plan.next(&Seen {
                settings: &self.report.settings,
                baseline: self.control,
                candidate: &self.report.trials,
                under_way,
                elapsed_s: self.began.elapsed().as_secs_f64(),
            });
            match next {
                // Half a trial more than the most is no reason for another one.
                Ok(Next::Start(Start {
                    kernel: Kernel::Candidate,
                    ..
                })) => {
                    self.raced_s() + self.report.settings.duration_s / 2.0
                        > self.plan.max_exposure_s
                }
                Ok(Next::Wait) => return Turn::Wait,
                Ok(Next::Start(_) | Next::Stop(_)) => true,
                Err(error) => {
                    self.failed = Some(error.into());
                    true
                }
            }
        };
        if enough {
            return Turn::Stop;
        }
        self.started += 1;
        self.under_way += 1;
        Turn::Start(self.started - 1)
    }

    fn hear(&mut self, _: u32, event: Event) -> bool {
        self.events.emit(event.clone());
        if let Event::Finished(trial) = event {
            self.under_way -= 1;
            keep(self.report, self.prepared, *trial);
        }
        true
    }
}

fn keep(report: &mut Report, prepared: &PreparedKernel, trial: Trial) {
    report.trials.push(trial);
    report.trials.sort_by_key(|trial| trial.index);
    prepared.learn(&mut report.environment, &mut report.module);
    record::update(report);
}
