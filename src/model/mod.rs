//! The records that the whole program speaks in: what a run was asked to do,
//! what each trial did, what a crash looked like. Data and its serialised
//! form only; nothing here reads a clock, a file or a kernel.

mod check;
mod comparison;
mod crash;
mod environment;
mod exploration;
mod lines;
mod outcome;
mod proof;
mod record;
mod seed;
mod settings;
mod start;
mod states;

pub use check::{CHECK_SCHEMA, CheckReport, RaceResult};
pub use comparison::{
    Comparison, Conclusion, Detectable, Evidence, ExponentialityRecord, FisherRecord,
    LogRankRecord, NearMissRecord, Run, Source,
};
pub use crash::{
    AtPanic, CodeInstruction, Crash, CrashClass, CrashKind, FollowOn, Frame, LinkedModule,
    Severity, Vmcore,
};
pub use environment::{CHOSEN, Environment, KernelRecord, LoadedModule, ModuleRecord, Tunable};
pub use exploration::{
    BlockedCount, Exploration, ExploredLevel, LevelKind, OutcomeCount, PlaceCount,
};
pub use lines::{BadLine, LineCounts, LineFault};
pub use outcome::{Assurance, ExitCode, Outcome, SILENT_BOOT, Terms, TrialPhase, Verdict};
pub use proof::{
    Blocked, NeverRan, Proof, ProofFailure, ProofForm, ProofPoint, ProofSide, ProofStep, Schedule,
    ScheduleOutcome, StateTouch, Who,
};
pub use record::{
    AimRecord, Counters, ErrorCounts, Interval, Origin, Report, RunStats, SCHEMA, Sightings,
    Summary, Termination, Tool, Trial, Warning,
};
pub use seed::{Domain, MAX_SEED, derive};
pub use settings::{
    Accel, ChaosChoice, DEFAULT_RACE, DEFAULT_TARGET, DriverSettings, Oracle, Settings, Strategy,
};
pub use start::{DEFAULT_RENEW, Start, StartChoice, StartStats, StartedBy, TemplateStats};
pub use states::{Held, Observed, StateCheck, StateSource};
