//! A crash as data: what the scanner found in a kernel log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One crash found in a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Crash {
    /// The name of the signature that matched, from the table.
    pub signature: String,
    /// What sort of report it is.
    pub kind: CrashKind,
    /// How bad it is.
    pub severity: Severity,
    /// How it relates to the race that modrace provokes.
    pub class: CrashClass,
    /// The normalised line: the same crash on another day or machine has the
    /// same title.
    pub title: String,
    /// The function that a kernel developer would look at first.
    pub function: Option<String>,
    /// The function that the instruction pointer was in.
    pub faulting_function: Option<String>,
    /// The CPU that reported it.
    pub cpu: Option<u32>,
    /// The process that it happened in.
    pub pid: Option<u32>,
    /// That process's name.
    pub comm: Option<String>,
    /// Frames, innermost first.
    pub call_trace: Vec<Frame>,
    /// The log's own time of the first line, seconds since boot, if it had one.
    pub log_time_s: Option<f64>,
    /// Line number of the first line in the log, from 1.
    pub line: u64,
    /// Offset in bytes of the first line in the log.
    pub offset: u64,
    /// The report's lines as they stood.
    pub excerpt: Vec<String>,
}

/// A frame of a call trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// The function's name.
    pub function: String,
    /// Offset into the function, bytes.
    pub offset: Option<u64>,
    /// The function's size, bytes.
    pub size: Option<u64>,
    /// The module that it is in; none for the kernel itself.
    pub module: Option<String>,
    /// False for the `?` frames: found on the stack, perhaps left over.
    pub reliable: bool,
}

/// What sort of report the kernel printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CrashKind {
    /// `kernel BUG at …`: a `BUG()` or `BUG_ON()`.
    Bug,
    /// Another oops.
    Oops,
    /// A panic that no report came before.
    Panic,
    /// A report by KASAN.
    Kasan,
    /// A soft or hard lockup.
    Lockup,
    /// An RCU stall.
    Stall,
    /// A task blocked for too long.
    HungTask,
    /// A `WARN()`.
    Warning,
}

/// How bad a crash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The kernel cannot go on, or is not to be trusted.
    Fatal,
    /// Something is broken, though the kernel goes on.
    Error,
    /// Worth a look.
    Warning,
}

/// How a crash relates to the race that modrace provokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CrashClass {
    /// `module_flags()` hit `MODULE_STATE_UNFORMED` below `m_show()`.
    Target,
    /// The same through `print_modules()`, which takes no mutex.
    Sibling,
    /// Elsewhere in the module loader.
    ModuleRelated,
    /// Something else.
    Unrelated,
}
