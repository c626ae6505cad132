//! What a level came to, counted.

use std::collections::HashMap;
use std::time::Instant;

use crate::interleave::arch::WaitKind;
use crate::interleave::machine::LOADER;
use crate::interleave::round::{Round, Wait};
use crate::interleave::standing::Standing;
use crate::model::{
    Blocked, BlockedCount, ExploredLevel, LevelKind, OutcomeCount, PlaceCount, ScheduleOutcome, Who,
};

/// Schedules in which no task was preempted, after which none will be.
const HOPELESS: u64 = 40;
/// Reasons that a level keeps, the commonest.
const KEPT: usize = 10;

/// Counts of a level on the way.
#[derive(Debug)]
pub(super) struct Tally {
    kind: LevelKind,
    places: [u64; 2],
    planned: u64,
    outcomes: HashMap<ScheduleOutcome, u64>,
    blocked: HashMap<Blocked, u64>,
    waited: HashMap<String, u64>,
    spent: f64,
}

impl Tally {
    pub(super) fn new(kind: LevelKind, places: [u64; 2], planned: u64) -> Self {
        Self {
            kind,
            places,
            planned,
            outcomes: HashMap::new(),
            blocked: HashMap::new(),
            waited: HashMap::new(),
            spent: 0.0,
        }
    }

    /// Which level it is.
    pub(super) fn kind(&self) -> LevelKind {
        self.kind
    }

    /// Counts an outcome of a schedule that was begun then.
    pub(super) fn count(&mut self, outcome: ScheduleOutcome, begun: Instant) {
        *self.outcomes.entry(outcome).or_default() += 1;
        self.spent += begun.elapsed().as_secs_f64();
    }

    /// Counts what a round with stops came to.
    pub(super) fn take(&mut self, first: usize, round: &Round, begun: Instant) {
        let outcome = if round.crashed {
            ScheduleOutcome::Crashed
        } else if round.hung.is_some() {
            ScheduleOutcome::Hung
        } else {
            self.judge(first, round)
        };
        self.count(outcome, begun);
    }

    fn judge(&mut self, first: usize, round: &Round) -> ScheduleOutcome {
        match (&round.first, &round.second, &round.resumed) {
            (Wait::Ended, ..) => ScheduleOutcome::NotReached,
            (Wait::Stopped, Some(Wait::Ended), _) if self.kind == LevelKind::TwoStops => {
                ScheduleOutcome::PassedBy
            }
            (Wait::Stopped | Wait::Preempted, Some(Wait::Ended), _)
            | (Wait::Stopped, Some(Wait::Stopped), Some(Wait::Ended)) => {
                ScheduleOutcome::RanThrough
            }
            (Wait::Stopped | Wait::Preempted, Some(Wait::Standing(standing)), _) => {
                self.stood(1 - first, false, standing)
            }
            (Wait::Stopped, Some(Wait::Stopped), Some(Wait::Standing(standing))) => {
                self.stood(first, true, standing)
            }
            _ => {
                let place = round.where_it_waited().unwrap_or_default();
                *self.waited.entry(place).or_default() += 1;
                ScheduleOutcome::NotDecided
            }
        }
    }

    fn stood(&mut self, side: usize, both_stopped: bool, standing: &Standing) -> ScheduleOutcome {
        let blocked = Blocked {
            side: if side == LOADER {
                Who::Loader
            } else {
                Who::Reader
            },
            both_stopped,
            function: standing.function.clone(),
            caller: standing.caller.clone(),
            lock: standing
                .lock
                .clone()
                .filter(|_| standing.kind == WaitKind::Lock),
        };
        *self.blocked.entry(blocked).or_default() += 1;
        ScheduleOutcome::Impossible
    }

    /// Whether it was tried often and no schedule of it could be.
    pub(super) fn is_hopeless(&self) -> bool {
        let came = |outcome| self.outcomes.get(&outcome).copied().unwrap_or(0);
        let tried: u64 = self.outcomes.values().sum();
        tried >= HOPELESS && came(ScheduleOutcome::NotReached) == tried
    }

    /// The record.
    pub(super) fn level(self) -> ExploredLevel {
        let mut outcomes: Vec<OutcomeCount> = self
            .outcomes
            .into_iter()
            .map(|(outcome, schedules)| OutcomeCount { outcome, schedules })
            .collect();
        outcomes.sort_by_key(|row| std::cmp::Reverse(row.schedules));
        let mut blocked: Vec<BlockedCount> = self
            .blocked
            .into_iter()
            .map(|(blocked, schedules)| BlockedCount { blocked, schedules })
            .collect();
        blocked.sort_by_key(|row| std::cmp::Reverse(row.schedules));
        blocked.truncate(KEPT);
        let mut not_decided: Vec<PlaceCount> = self
            .waited
            .into_iter()
            .map(|(place, schedules)| PlaceCount { place, schedules })
            .collect();
        not_decided.sort_by_key(|row| std::cmp::Reverse(row.schedules));
        not_decided.truncate(KEPT);
        ExploredLevel {
            kind: self.kind,
            places: self.places,
            planned: self.planned,
            forced: outcomes.iter().map(|row| row.schedules).sum(),
            outcomes,
            blocked,
            not_decided,
            seconds: self.spent,
        }
    }
}
