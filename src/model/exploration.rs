//! The record of `explore`: what was searched, level by level, and what was
//! found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Blocked, ProofFailure, ScheduleOutcome};

/// A search for races that nobody has named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exploration {
    /// Whose calls: a race of the table, or a driver's files.
    pub race: String,
    /// The files that the reader's calls were done to.
    pub files: Vec<String>,
    /// What was forced, in this order.
    pub levels: Vec<ExploredLevel>,
    /// What was found: the search ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<ProofFailure>,
    /// The time that the search was given, seconds.
    pub budget_s: f64,
    /// From the start to the first schedule, seconds.
    pub boot_s: f64,
    /// What this does not show.
    pub limits: Vec<String>,
}

/// What was forced in one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExploredLevel {
    /// How.
    pub kind: LevelKind,
    /// Places of the loader's calls and of the reader's at which a side is
    /// stopped; for whole calls, the calls.
    pub places: [u64; 2],
    /// Schedules that there are.
    pub planned: u64,
    /// Those that were forced.
    pub forced: u64,
    /// What they came to.
    pub outcomes: Vec<OutcomeCount>,
    /// Why a side could not go on, where that was shown: the commonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<BlockedCount>,
    /// Where a side waited and it was not shown for what: the commonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_decided: Vec<PlaceCount>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// How sides are put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LevelKind {
    /// Whole calls, one after another, in every order.
    #[default]
    WholeCalls,
    /// One side stops at an instruction, the other makes its whole call.
    OneStop,
    /// One side's task is preempted at an instruction and its CPU lives on, the
    /// other makes its whole call.
    OnePreemption,
    /// Each side stops once.
    TwoStops,
}

impl LevelKind {
    /// The words used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WholeCalls => "whole calls",
            Self::OneStop => "one stop",
            Self::OnePreemption => "one preemption",
            Self::TwoStops => "two stops",
        }
    }
}

/// How many schedules came to something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeCount {
    /// What they came to.
    pub outcome: ScheduleOutcome,
    /// How many.
    pub schedules: u64,
}

/// How many schedules one lock made impossible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockedCount {
    /// What kept a side from going on.
    pub blocked: Blocked,
    /// How many.
    pub schedules: u64,
}

/// In how many schedules a side was seen to wait somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceCount {
    /// Where.
    pub place: String,
    /// How many.
    pub schedules: u64,
}

impl Exploration {
    /// Schedules that were forced, of all levels.
    pub fn forced(&self) -> u64 {
        self.levels.iter().map(|level| level.forced).sum()
    }

    /// Schedules that there are, of all levels.
    pub fn planned(&self) -> u64 {
        self.levels.iter().map(|level| level.planned).sum()
    }
}

impl ExploredLevel {
    /// How many schedules came to that.
    pub fn count(&self, outcome: ScheduleOutcome) -> u64 {
        let mut rows = self.outcomes.iter();
        rows.find(|row| row.outcome == outcome)
            .map_or(0, |row| row.schedules)
    }
}
