//! What a journal holds, record by record.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Counters, LoadedModule, Report, Trial, Tunable};
use crate::vm::protocol::{Finished, Racing};

/// The format, first thing in the first record.
pub const FORMAT: &str = "modrace/journal/1";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A run begins. Always the first record.
    Begin(Box<Begin>),
    /// A trial begins.
    Trial(TrialStart),
    /// The module was loaded once.
    Module(LoadedModule),
    /// All is armed: the gate opens once this is on the disk.
    Armed(Racing),
    /// The race is on.
    Racing(RacingMark),
    /// The machine is alive, and has got so far.
    Beat(Beat),
    /// The first line of a crash.
    Sign(SignRecord),
    /// The worker process's result.
    #[serde(rename = "word")]
    Result(Box<Finished>),
    /// A trial has its outcome.
    Outcome(Box<Trial>),
    /// The run is over and its report is written; nothing is left to recover.
    End {
        /// How.
        how: String,
    },
}

/// What the run is, for whoever has to finish it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// [`FORMAT`].
    pub format: String,
    /// The report before the first trial; settings and seed stand in it.
    pub report: Report,
    /// Where the report goes, absolute; none: it was to go to stdout.
    pub report_path: Option<PathBuf>,
    /// The module file that is raced, absolute.
    pub module: PathBuf,
    /// Modules that are loaded for the time of the run, in this order.
    pub dependencies: Vec<PathBuf>,
    /// Names of the modules that were loaded before the run.
    #[serde(default)]
    pub loaded_before: Vec<String>,
    /// Whether the remaining trials are to be made after a reboot.
    pub rearm: bool,
    /// Whether the run installs the unit that makes them, and so removes it.
    #[serde(default)]
    pub unit: bool,
    /// Whether udevd is stopped for the time of the run.
    #[serde(default)]
    pub stop_udev: bool,
    /// Time between two heartbeats, seconds.
    pub heartbeat_s: f64,
    /// Settings of the kernel that the run may change, with the values that
    /// they had before it: whatever kills the run, they can be put back.
    #[serde(rename = "knobs")]
    pub tunables: Vec<Tunable>,
}

/// The start of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialStart {
    /// Its index.
    pub index: u32,
    /// Its seed.
    pub seed: u64,
    /// The boot that it is made in, `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Wall clock, ms since 1970.
    pub unix_ms: u64,
    /// The taint word.
    pub taint: u64,
    /// Logs of dead kernels that lay about before: not of this trial.
    pub old_logs: Vec<PathBuf>,
    /// What would keep a panic's log, in words.
    #[serde(default)]
    pub crash_log: String,
    /// The worker process's group.
    #[serde(rename = "racer")]
    pub worker: u32,
}

/// The start of a race.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RacingMark {
    /// What the worker process said.
    pub racing: Racing,
    /// The kernel log's clock at that moment, seconds; none: its mark was not
    /// to be found.
    pub log_start_s: Option<f64>,
}

/// A heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Wall clock, ms since 1970.
    pub unix_ms: u64,
    /// Time raced, seconds.
    pub raced_s: f64,
    /// Load/unload cycles.
    pub cycles: u64,
    /// Reads.
    pub reads: u64,
    /// Seconds since a load/unload cycle last came back.
    pub idle_s: f64,
    /// The rest of the counts.
    pub counters: Counters,
}

/// The first line of a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignRecord {
    /// The record of `/dev/kmsg`.
    pub line: String,
    /// The log's clock, seconds.
    pub log_time_s: Option<f64>,
    /// The counts at that moment.
    pub beat: Beat,
}
