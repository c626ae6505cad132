//! Lines of the module list that cannot be: what the readers found while
//! racing, counted and with the first examples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lines that no kernel in order prints, by what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LineCounts {
    /// A state that cannot follow the one seen before of the same load.
    pub out_of_order: u64,
    /// Fields that contradict each other or the module's own taint.
    pub contradictory: u64,
    /// Lines that are not whole.
    pub torn: u64,
    /// Modules listed twice by one read.
    pub duplicate: u64,
    /// Lines which prove that `free_module()` set `MODULE_STATE_UNFORMED`
    /// inside `m_show()`: at most one in a load/unload cycle.
    pub near_misses: u64,
}

impl LineCounts {
    /// Whether every line was in order.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Lines that were not in order, near misses included.
    pub fn total(&self) -> u64 {
        [
            self.contradictory,
            self.torn,
            self.duplicate,
            self.near_misses,
        ]
        .iter()
        .fold(self.out_of_order, |sum, count| sum.saturating_add(*count))
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineFault {
    /// See [`LineCounts::out_of_order`].
    OutOfOrder,
    /// See [`LineCounts::contradictory`].
    Contradictory,
    /// See [`LineCounts::torn`].
    Torn,
    /// See [`LineCounts::duplicate`].
    Duplicate,
    /// See [`LineCounts::near_misses`].
    NearMiss,
}

/// An example of such a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BadLine {
    /// What is wrong with it.
    pub fault: LineFault,
    /// The line as it was read; a short read has only its beginning.
    pub line: String,
    /// Why it cannot be.
    pub why: String,
}
