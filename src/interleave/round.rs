//! What one forced order is, and what it came to: values, no machine.

use std::time::Duration;

use super::machine::{Ran, Setting};
use super::standing::Standing;

/// Longest wait for a side, where nothing shows that it stands still.
pub const WAIT: Duration = Duration::from_secs(5);

/// Where a side is stopped: before an instruction, at one of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// The instruction's address.
    pub address: u64,
    /// Which of the call's runs of it, from 1.
    pub pass: u64,
}

/// What is forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The side that begins.
    pub first: usize,
    /// Where each side is stopped; none: nowhere.
    pub stops: [Option<At>; 2],
    /// The first side's task is preempted at its stop, and its CPU lives on;
    /// else the CPU stands.
    pub preempts: bool,
    /// What is prepared, and which calls are made.
    pub setting: Setting,
}

/// How a wait for a side ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// It stands at its stop.
    Stopped,
    /// Its task was preempted, and another one has its CPU.
    Preempted,
    /// Its call came back.
    Ended,
    /// It is shown to stand still.
    Standing(Standing),
    /// It sleeps, or turns in a loop for a lock that names no owner, for longer
    /// than the driver is patient with that; where. Who keeps it waiting is not
    /// shown.
    Waits(String),
    /// Its CPU is taken by another task that waits for the stopped CPU; where.
    /// Says nothing of the side: by chance, another time it is not so.
    HeldUp(String),
    /// The limit was hit; where the side was last seen.
    Limit(String),
    /// The kernel crashed.
    Crash,
}

/// What is known after a side's turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Whose turn it was.
    pub side: usize,
    /// How it ended.
    pub wait: Wait,
    /// The last instruction of its functions that it ran; of a side that
    /// stands at its stop, the one that it stands before.
    pub at: u64,
    /// The module's state, where that can be read.
    pub state: Option<u32>,
    /// The side that holds the readers' lock. None: no side does, or it is not
    /// known where the lock is.
    pub holder: Option<usize>,
    /// Somebody holds it.
    pub held: Option<bool>,
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The wait for the first side to stop or to end.
    pub first: Wait,
    /// The wait for the other one, the first being stopped.
    pub second: Option<Wait>,
    /// The wait for the first one, the other being stopped.
    pub resumed: Option<Wait>,
    /// The kernel crashed.
    pub crashed: bool,
    /// A side's call did not come back within its limit, with nothing stopped.
    pub hung: Option<String>,
    /// What each side ran.
    pub traces: [Vec<Ran>; 2],
    /// Address of the module that was loaded.
    pub module: Option<u64>,
    /// The module's bytes from its code on, where the driver keeps addresses.
    pub code: Vec<u8>,
    /// After each side's turn.
    pub moments: Vec<Moment>,
}

impl Round {
    pub(super) fn new(module: Option<u64>) -> Self {
        Self {
            first: Wait::Ended,
            second: None,
            resumed: None,
            crashed: false,
            hung: None,
            traces: [Vec::new(), Vec::new()],
            module,
            code: Vec::new(),
            moments: Vec::new(),
        }
    }

    fn waits(&self) -> impl Iterator<Item = &Wait> {
        [
            Some(&self.first),
            self.second.as_ref(),
            self.resumed.as_ref(),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether chance held a side up, so that the round shows nothing.
    pub fn held_up(&self) -> bool {
        self.waits().any(|wait| matches!(wait, Wait::HeldUp(_)))
    }

    /// Where a side was when its limit was hit.
    pub fn where_it_waited(&self) -> Option<String> {
        self.waits().find_map(|wait| match wait {
            Wait::Limit(place) => Some(format!("shows no progress within {WAIT:?}: {place}")),
            Wait::HeldUp(place) => Some(format!("was kept from its CPU by another task: {place}")),
            Wait::Waits(place) => Some(format!("waits in {place}")),
            _ => None,
        })
    }
}
