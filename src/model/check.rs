//! A check: every known race against one kernel, as `modrace check` records it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Report, Tool, Verdict};

/// The schema of a check that this version writes.
pub const CHECK_SCHEMA: &str = "modrace/check/1";

/// A check of one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// The schema's name and version.
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// The worst verdict of the races that were run.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub verdict_reason: String,
    /// False while the check is under way, and for ever when it was cut short.
    pub complete: bool,
    /// Start of the check, RFC 3339, UTC.
    pub started: String,
    /// Last change of this file, RFC 3339, UTC.
    pub updated: String,
    /// The command that made it.
    pub command: Vec<String>,
    /// The check's seed; each race's derives from it.
    pub seed: u64,
    /// The kernel, as it was named.
    pub kernel: String,
    /// Its release, once a guest has said it.
    pub release: Option<String>,
    /// The races, in the order of the table.
    pub races: Vec<RaceResult>,
}

/// What came of one race.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RaceResult {
    /// Its name in `modrace list races`.
    pub race: String,
    /// What goes wrong in it.
    pub help: String,
    /// Where it is known from.
    pub reference: String,
    /// What it says about the kernel; none where it could not be run.
    pub verdict: Option<Verdict>,
    /// Why, in one sentence.
    pub reason: String,
    /// What stands behind it: the control that crashed, or none.
    pub behind: String,
    /// Load/unload cycles.
    pub cycles: u64,
    /// Time raced, seconds.
    pub exposure_s: f64,
    /// Wall time with boots and shutdowns, without the control's, seconds.
    pub wall_s: f64,
    /// The run, with its control as baseline; none where it could not be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

impl RaceResult {
    /// The verdict in a word; `skip` where the race could not be run.
    pub fn word(&self) -> &'static str {
        self.verdict.map_or("skip", Verdict::as_str)
    }
}
