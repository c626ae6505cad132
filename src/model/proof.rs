//! The record of `prove`: two sides, their points, every schedule that was
//! forced, and what came of each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Crash;

/// Every interleaving of a race's two sides, on one kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// The race.
    pub race: String,
    /// The side that unloads: its points are L1, L2, …
    pub loader: ProofSide,
    /// The side that reads: its points are R1, R2, …
    pub reader: ProofSide,
    /// Forms of the module that were loaded.
    pub forms: Vec<ProofForm>,
    /// Schedules that there are, forced or not.
    pub schedules_planned: u64,
    /// The schedules that were forced, in that order.
    pub schedules: Vec<Schedule>,
    /// Instructions of the two sides that never ran, in any round.
    pub never_ran: Vec<NeverRan>,
    /// What crashed, told step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ProofFailure>,
    /// From QEMU's start to the first schedule, seconds.
    pub boot_s: f64,
    /// From the first schedule to the last, seconds.
    pub schedules_s: f64,
    /// What this does not show.
    pub limits: Vec<String>,
}

/// One side of the race.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofSide {
    /// The function at which its call enters the kernel.
    pub call: String,
    /// The virtual CPU that it runs on.
    pub cpu: u32,
    /// The functions in which it is stopped.
    pub functions: Vec<String>,
    /// Where it is stopped, in the order in which it runs.
    pub points: Vec<ProofPoint>,
}

/// An instruction at which a side is stopped, before it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofPoint {
    /// `function+0xoffset`.
    pub place: String,
    /// `file:line`, where there is debug information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The instruction, with the name of the function that it calls.
    pub instruction: String,
    /// What it does to the module's state, where it touches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateTouch>,
    /// Whether it takes or gives back a lock.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lock: bool,
    /// The module's form whose rounds it was seen in, by its index.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub form: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What an instruction does to the module's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateTouch {
    /// Reads it.
    Read,
    /// Writes it.
    Write,
}

/// A form of the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofForm {
    /// What it is.
    pub name: String,
    /// Whether the two sides run other instructions with it than with the
    /// first form, so that it has schedules of its own.
    pub differs: bool,
}

/// A side of the race.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The side that unloads.
    #[default]
    Loader,
    /// The side that reads.
    Reader,
}

impl Who {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Reader => "reader",
        }
    }
}

/// One schedule: the first side stops at its point, the other one begins and
/// stops at its point, the first goes on as far as it can, then the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Schedule {
    /// Which side stops first.
    pub first: Who,
    /// The loader's point, from 1.
    pub loader: usize,
    /// The reader's point, from 1.
    pub reader: usize,
    /// The module's form, by its index.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub form: u64,
    /// What came of it.
    pub outcome: ScheduleOutcome,
    /// What kept a side from going on, for an impossible one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The schedule (from 1) whose round decided this one too: they are the
    /// same up to where the side was blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<usize>,
}

/// What came of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleOutcome {
    /// Both sides stopped at their points, and the first one's call came back
    /// while the other one stood.
    RanThrough,
    /// With the first side stopped at its point, the other one's call came back
    /// without coming to its own.
    PassedBy,
    /// A side could not go on because the other one held a lock, or its CPU.
    Impossible,
    /// The first side did not come to its point.
    NotReached,
    /// A limit was hit, and nothing showed that the side stood still.
    #[default]
    NotDecided,
    /// The kernel crashed or warned.
    Crashed,
    /// A call did not come back.
    Hung,
}

impl ScheduleOutcome {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RanThrough => "ran through",
            Self::PassedBy => "passed by",
            Self::Impossible => "impossible",
            Self::NotReached => "not reached",
            Self::NotDecided => "not decided",
            Self::Crashed => "crashed",
            Self::Hung => "hung",
        }
    }

    /// Whether both sides' points were stopped at: (first, second).
    pub fn stops(self) -> (bool, bool) {
        match self {
            Self::RanThrough | Self::Crashed | Self::Hung => (true, true),
            Self::PassedBy | Self::Impossible => (true, false),
            Self::NotReached | Self::NotDecided => (false, false),
        }
    }
}

/// What kept a side from going on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// The side that could not go on.
    pub side: Who,
    /// Both sides stood at their points before; else the second side was
    /// blocked on its way to its point.
    pub both_stopped: bool,
    /// The function that waits.
    pub function: String,
    /// Who called it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The lock, held by the other side. None: every CPU is waited for, and the
    /// other side's does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

/// An instruction that no round ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NeverRan {
    /// Its side.
    pub side: Who,
    /// `function+0xoffset`.
    pub place: String,
    /// `file:line`, where there is debug information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The instruction.
    pub instruction: String,
    /// Why that leaves the question open; none: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matters: Option<String>,
}

/// What crashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofFailure {
    /// The schedule as `--schedule` takes it, with the fewest stops.
    pub schedule: String,
    /// Stops in it.
    pub stops: u32,
    /// The number of the schedule that first crashed, from 1.
    pub found_at: usize,
    /// From the first schedule to the crash, seconds.
    pub found_after_s: f64,
    /// Whether it crashed again on a guest booted anew.
    pub repeated: bool,
    /// The crash, if the kernel reported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Crash>,
    /// The file that the reader's calls were done to; none: `/proc/modules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What each side did, in order.
    pub steps: Vec<ProofStep>,
}

/// A step of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofStep {
    /// Who did it.
    pub side: Who,
    /// On which virtual CPU.
    pub cpu: u32,
    /// What it did.
    pub text: String,
    /// Where it stands after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// `file:line`, where there is debug information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The module's state after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Who holds the readers' lock after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

impl ProofFailure {
    /// Of a kernel that failed with nothing forced.
    pub fn undisturbed(title: &str, crash: Option<Crash>) -> Self {
        Self {
            schedule: String::new(),
            stops: 0,
            found_at: 0,
            found_after_s: 0.0,
            repeated: false,
            crash,
            file: None,
            steps: vec![ProofStep::new(
                Who::Loader,
                format!("with nothing forced: {title}"),
            )],
        }
    }
}

impl ProofStep {
    /// What a side did, with nothing known of where. Each side is pinned to the
    /// virtual CPU of its own number.
    pub fn new(side: Who, text: String) -> Self {
        Self {
            side,
            cpu: u32::from(side == Who::Reader),
            text,
            place: None,
            source: None,
            state: None,
            holder: None,
        }
    }
}

impl Proof {
    /// A side's record.
    pub fn side(&self, who: Who) -> &ProofSide {
        match who {
            Who::Loader => &self.loader,
            Who::Reader => &self.reader,
        }
    }

    /// How many schedules came to that.
    pub fn count(&self, outcome: ScheduleOutcome) -> usize {
        self.schedules
            .iter()
            .filter(|schedule| schedule.outcome == outcome)
            .count()
    }

    /// Points of a side, from 1, that no schedule stopped at.
    pub fn unreached(&self, who: Who) -> Vec<usize> {
        let mut reached = vec![false; self.side(who).points.len()];
        for schedule in self.schedules.iter().filter(|one| one.same_as.is_none()) {
            let (first, second) = schedule.outcome.stops();
            let both = schedule
                .blocked
                .as_ref()
                .is_some_and(|blocked| blocked.both_stopped);
            let stopped = if schedule.first == who {
                first
            } else {
                second || both
            };
            let index = match who {
                Who::Loader => schedule.loader,
                Who::Reader => schedule.reader,
            };
            if stopped && let Some(seen) = index.checked_sub(1).and_then(|at| reached.get_mut(at)) {
                *seen = true;
            }
        }
        reached
            .iter()
            .enumerate()
            .filter(|(_, seen)| !**seen)
            .map(|(index, _)| index + 1)
            .collect()
    }
}
