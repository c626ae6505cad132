//! The records that the whole program speaks in: what a run was asked to do,
//! what each trial did, what a crash looked like. Data and its serialised
//! form only; nothing here reads a clock, a file or a kernel.

mod comparison;
mod crash;
mod environment;
mod event;
#[path = "../../plugin/page.rs"]
pub mod instrument;
mod lines;
mod lock_step;
mod outcome;
mod record;
mod recorder;
mod seed;
mod settings;
mod states;

pub use comparison::{
    Comparison, Conclusion, Evidence, ExponentialityRecord, FisherRecord, LogRankRecord,
    NearMissRecord, Run, Source,
};
pub use crash::{Crash, CrashClass, CrashKind, FollowOn, Frame, LinkedModule, Severity};
pub use environment::{Environment, KernelRecord, Knob, ModuleRecord};
pub use event::Event;
pub use lines::{BadLine, LineCounts, LineFault};
pub use lock_step::{LOCK_STEP_BYTES, LOCK_STEP_MAGIC, LockStep, NAMES_MODULE, NAMES_NOTHING};
pub use outcome::{ExitCode, Outcome, Verdict};
pub use record::{
    AimRecord, Counters, ErrorCounts, Interval, Report, RunStats, SCHEMA, Sightings, Summary,
    Termination, Tool, Trial,
};
pub use recorder::{
    MAX_WORKERS, Phase, RECORDER_BYTES, RECORDER_MAGIC, Recorder, Slot, Snapshot, Stage, bump,
};
pub use seed::{MAX_SEED, trial_seed};
pub use settings::{Accel, ChaosChoice, DEFAULT_TARGET, Oracle, Settings, Strategy};
pub use states::{Held, Observed, StateCheck, StateSource};
