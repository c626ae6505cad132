//! What a run says while it is under way: the whole interface between those
//! who run trials and those who show them.

use crate::model::{LoadedModule, Sightings, Trial, Tunable};
use crate::recorder::{Phase, Snapshot};
use crate::vm::protocol::Racing;

/// Something happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// Trials are about to be made.
    RunStarted {
        /// Of what.
        name: String,
        /// How many; 0 if that is not known yet.
        trials: u32,
    },
    /// A trial began.
    Started {
        /// Its index.
        index: u32,
    },
    /// The module was loaded once; its taint letters.
    Module(LoadedModule),
    /// What the race had set, and whether it is as it was before.
    Tunables(Vec<Tunable>),
    /// All is armed, and the race is about to start.
    Racing(Racing),
    /// A trial is under way.
    Progress {
        /// Its index.
        index: u32,
        /// Where it is.
        phase: Phase,
        /// Time raced so far, seconds.
        raced_s: f64,
        /// Load/unload cycles so far.
        cycles: u64,
        /// Reads so far.
        reads: u64,
        /// The states in which the readers saw the module so far.
        sightings: Sightings,
    },
    /// A message of the kernel under test.
    Kernel(String),
    /// The first line of a crash, on the machine itself. The journal has it;
    /// the report must follow at once, since the machine may be gone any moment.
    Crashed(Box<Trial>),
    /// A trial ended.
    Finished(Box<Trial>),
    /// No more trials are made.
    RunEnded,
    /// Something that the user should know now.
    Note(String),
    /// An event of one of the kernels that are compared.
    Of {
        /// Which kernel.
        kernel: &'static str,
        /// What happened.
        event: Box<Event>,
    },
}

impl Event {
    /// How far the trial `index` is.
    pub fn progress(index: u32, seen: &Snapshot) -> Self {
        Self::Progress {
            index,
            phase: seen.phase,
            raced_s: seen.raced_s(),
            cycles: seen.cycles,
            reads: seen.reads,
            sightings: seen.counters.sightings.clone(),
        }
    }
}
