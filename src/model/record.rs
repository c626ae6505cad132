//! The report: one run, all its trials, and what follows from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Assurance, AtPanic, BadLine, Comparison, Crash, Environment, Exploration, LineCounts,
    ModuleRecord, Outcome, Proof, Run, Settings, Source, Start, StartStats, StateCheck, Terms,
    TrialPhase, Verdict, Vmcore,
};

/// The schema that this version writes.
pub const SCHEMA: &str = "modrace/report/1";

/// One run. With a `baseline`, this is the run of the candidate, and the verdict
/// is about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The schema's name and version.
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// What the run says about the kernel.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub verdict_reason: String,
    /// What stands behind a pass.
    #[serde(default)]
    pub assurance: Assurance,
    /// The run's own name: 128 random bits, in hexadecimal. Empty in reports of
    /// versions that had none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run_id: String,
    /// False while the run is under way, and for ever when it was cut short.
    pub complete: bool,
    /// Start of the run, RFC 3339, UTC.
    pub started: String,
    /// Last change of this file, RFC 3339, UTC.
    pub updated: String,
    /// The command that made it.
    pub command: Vec<String>,
    /// The run's seed; each trial's derives from it.
    pub seed: u64,
    /// Where it took place.
    pub environment: Environment,
    /// The module that was loaded and unloaded.
    pub module: Option<ModuleRecord>,
    /// What was asked for.
    pub settings: Settings,
    /// What else the verdict hangs on.
    #[serde(default, skip_serializing_if = "Terms::is_default")]
    pub terms: Terms,
    /// The module's states, as the kernel shows them, checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StateCheck>,
    /// Every interleaving of the race's two sides, where they were forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prove: Option<Proof>,
    /// What was searched for races that nobody has named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explore: Option<Exploration>,
    /// The trials, in order of their index.
    pub trials: Vec<Trial>,
    /// What the trials add up to.
    pub stats: RunStats,
    /// The run that this one is measured against: beside it (`ab`), or a
    /// positive control from an earlier report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Run>,
    /// What the two say together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// The rule by which the run was to stop, fixed before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_rule: Option<String>,
    /// The reports whose trials were pooled into this one; empty for a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<Source>,
}

/// What wrote a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// Always `modrace`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One trial: clean state → one outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Its place in the run, from 0.
    pub index: u32,
    /// Its seed.
    pub seed: u64,
    /// How its guest started; none on a bare machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Where it was made, if this report pools the trials of several runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub reason: String,
    /// Time raced, seconds: until the crash's first line, or until the end.
    pub exposure_s: f64,
    /// Time from the module's first load to the gate, seconds, on the kernel's
    /// own clock: what warming up and rehearsing took. A clone's is that of its
    /// template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_s: Option<f64>,
    /// Load/unload cycles completed.
    pub cycles: u64,
    /// Reads completed.
    pub reads: u64,
    /// From the start of the race to the crash's first line, seconds.
    pub time_to_crash_s: Option<f64>,
    /// Where the time to crash must lie, if no log tells it: between the last
    /// heartbeat that reached the disk and the next that did not. The value
    /// above is then the middle of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_crash_bounds_s: Option<Interval>,
    /// The cycle in which it crashed, counted from 1.
    pub cycles_to_crash: Option<u64>,
    /// Where the cycles to the crash must lie, if no counter tells them: between
    /// the last heartbeat that reached the disk and the next that did not. The
    /// value above is then missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles_to_crash_bounds: Option<Interval>,
    /// Where the trial was when the kernel crashed or hung. What happens before
    /// the race fails the kernel, but is not the race under test.
    #[serde(default, skip_serializing_if = "is_race")]
    pub phase: TrialPhase,
    /// The crash.
    pub crash: Option<Crash>,
    /// What each virtual CPU was at when the kernel panicked; empty where nobody
    /// could look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_panic: Vec<AtPanic>,
    /// The guest's memory at that moment, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmcore: Option<Vmcore>,
    /// What the kernel complained of during the trial without dying: warnings
    /// and lesser reports, each title once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// What else was counted.
    pub counters: Counters,
    /// The first examples of lines that cannot be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_lines: Vec<BadLine>,
    /// What `auto` was doing at the end, and what it had learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aim: Option<AimRecord>,
    /// The chaos techniques at work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chaos: Vec<String>,
    /// The signals that the outcome rests on.
    pub signals: Vec<String>,
    /// Things worth knowing that change no outcome.
    pub notes: Vec<String>,
    /// Path of the kept console log, relative to the report.
    pub console: Option<String>,
    /// Wall time of the trial with boot and shutdown, seconds.
    pub wall_s: f64,
}

impl Trial {
    /// A trial of which nothing is known but its end.
    pub fn new(index: u32, seed: u64, outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            index,
            seed,
            start: None,
            origin: None,
            outcome,
            reason: reason.into(),
            exposure_s: 0.0,
            prepared_s: None,
            cycles: 0,
            reads: 0,
            time_to_crash_s: None,
            time_to_crash_bounds_s: None,
            cycles_to_crash: None,
            cycles_to_crash_bounds: None,
            phase: TrialPhase::Race,
            crash: None,
            at_panic: Vec::new(),
            vmcore: None,
            warnings: Vec::new(),
            counters: Counters::default(),
            bad_lines: Vec::new(),
            aim: None,
            chaos: Vec::new(),
            signals: Vec::new(),
            notes: Vec::new(),
            console: None,
            wall_s: 0.0,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_race(phase: &TrialPhase) -> bool {
    *phase == TrialPhase::Race
}

/// The run and the place in it that a pooled trial comes from: with them it is
/// the same trial in whatever report it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// That run's `run_id`.
    pub run_id: String,
    /// The trial's index there.
    pub index: u32,
}

/// A report that the kernel printed in a trial and lived on after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// The normalised line, as of a crash.
    pub title: String,
    /// How often it came in this trial.
    pub count: u64,
    /// Its line as the log had it the first time.
    pub first_line: String,
}

/// What a reader of `auto` was doing at the end of a trial. At a crash, that is
/// what hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AimRecord {
    /// The active arm.
    pub arm: String,
    /// The delay into an unload at which readers see the module going, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_ns: Option<u64>,
    /// The shortest unload, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unload_ns: Option<u64>,
}

/// What was counted in a trial besides cycles and reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counters {
    /// States of our module that the readers saw.
    pub sightings: Sightings,
    /// Failed loads and unloads, by reason.
    pub errors: ErrorCounts,
    /// Times that a reader no longer saw the module and opened the file anew.
    pub reopens: u64,
    /// Cycles in which a reader could see the module: it read a file that was not
    /// in doubt, because it was new or had just shown something. Absent where that
    /// is not noted: in other races, and where several loaders share a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_cycles: Option<u64>,
    /// Lines that cannot be, as the readers checked them on the way.
    #[serde(default, skip_serializing_if = "LineCounts::is_clean")]
    pub lines: LineCounts,
}

/// States of our module that readers saw, in reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sightings {
    /// `Live`.
    pub live: u64,
    /// `Loading`.
    pub loading: u64,
    /// `Unloading`.
    pub unloading: u64,
    /// Reads in which our module was not to be seen.
    pub absent: u64,
}

/// Failed loads and unloads while racing, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorCounts {
    /// `EBUSY`.
    pub ebusy: u64,
    /// `EEXIST`: still or again loaded.
    pub eexist: u64,
    /// `ENOENT`: already unloaded.
    pub enoent: u64,
    /// `EWOULDBLOCK`: in use.
    pub ewouldblock: u64,
    /// Any other.
    pub other: u64,
    /// The last of those others, as `errno` names it by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_errno: Option<u64>,
}

/// What the trials of a run add up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStats {
    /// Time raced in all trials, seconds; in those that broke, until then.
    pub exposure_s: f64,
    /// Load/unload cycles in the same trials.
    pub cycles: u64,
    /// Reads in the same trials.
    pub reads: u64,
    /// Trials that crashed.
    pub crashes: u32,
    /// Near misses in the same trials: see `LineCounts::near_misses`. With
    /// `cycles` they are a Poisson rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub near_misses: u64,
    /// Trials that hung. Censored in the times to crash, but never clean.
    #[serde(default)]
    pub hangs: u32,
    /// Trials that survived.
    #[serde(default)]
    pub survived: u32,
    /// Time to crash, seconds; none without a crash.
    pub time_to_crash_s: Option<Summary>,
    /// Cycles to crash; none without a crash.
    pub cycles_to_crash: Option<Summary>,
    /// Which limits `ci95` of the times to crash are; none without a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// How the trials started; none on a bare machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<StartStats>,
    /// Without a crash: the mean time to crash is longer than this, seconds,
    /// at 95 %, if the race can be hit at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_above_s: Option<f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What ended a run, which decides about exact or conservative limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Termination {
    /// Every trial ended with a crash: exact limits.
    Failure,
    /// Time ended at least one trial: conservative limits.
    Time,
}

/// A summary of the trials that crashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Time by which half of the trials crashed (Kaplan–Meier, so trials that
    /// did not crash count). None when fewer did.
    pub median: Option<f64>,
    /// Exposure per crash, S/r: counts the trials that did not crash.
    pub mean: f64,
    /// Time by which 95 % of the trials crashed. None when fewer did.
    pub p95: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// 95 % confidence interval of the mean, by χ².
    pub ci95: Interval,
    /// 95 % confidence interval of the median. None when its lower end is not
    /// reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_ci95: Option<Interval>,
    /// 95 % confidence interval of the 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ci95: Option<Interval>,
}

/// An interval. No upper end: unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: Option<f64>,
}

impl Report {
    /// What tells this run from every other: its `run_id`, or for reports that
    /// have none, the seed and the start.
    pub fn identity(&self) -> String {
        run_identity(&self.run_id, self.seed, &self.started)
    }
}

/// See [`Report::identity`].
pub(super) fn run_identity(run_id: &str, seed: u64, started: &str) -> String {
    if run_id.is_empty() {
        format!("{seed}@{started}")
    } else {
        run_id.to_owned()
    }
}
