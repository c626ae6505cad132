//! How long a control and the kernel are raced.

use std::time::Instant;

use crate::model::{Outcome, Report, Trial};
use crate::session::events::Events;
use crate::session::exit::Failure;
use crate::session::prepared_kernel::PreparedKernel;
use crate::session::record;
use crate::trial::{Event, Schedule, Turn, VmTrial};
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
    /// Trials under way, and how long they may race, seconds.
    pub(super) under_way: u32,
    pub(super) under_way_s: f64,
    pub(super) started: u32,
    /// When the first trial could begin.
    pub(super) began: Instant,
    pub(super) failed: Option<Failure>,
}

impl UntilClean<'_> {
    fn raced_s(&self) -> f64 {
        self.report.stats.exposure_s + self.under_way_s
    }
}

impl Schedule for UntilClean<'_> {
    type Key = VmTrial;

    fn next(&mut self) -> Turn<VmTrial> {
        if self.failed.is_some() || hopeless(&self.report.trials).is_some() {
            return Turn::Stop;
        }
        let mut duration_s = self.report.settings.duration_s;
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
                // As long as the rule asks for: several short ones may be worth
                // more than a long one. Half a trial more than the most is no
                // reason for another one.
                Ok(Next::Start(Start {
                    kernel: Kernel::Candidate,
                    duration_s: asked_s,
                })) => {
                    duration_s = asked_s.min(duration_s);
                    self.raced_s() + duration_s / 2.0 > self.plan.max_exposure_s
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
        self.under_way_s += duration_s;
        Turn::Start(VmTrial {
            index: self.started - 1,
            duration_s: Some(duration_s),
        })
    }

    fn hear(&mut self, key: VmTrial, event: Event) -> bool {
        self.events.emit(event.clone());
        if let Event::Finished(trial) = event {
            self.under_way -= 1;
            self.under_way_s -= key.duration_s.unwrap_or_default();
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
