//! What a run says while it is under way: the whole interface between those
//! who run trials and those who show them.

use crate::model::Trial;
use crate::recorder::Phase;

/// Something happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// A trial began.
    Started {
        /// Its index.
        index: u32,
    },
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
    },
    /// A trial ended.
    Finished(Box<Trial>),
    /// Something that the user should know now.
    Note(String),
}
