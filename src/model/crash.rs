//! A crash as data: what the scanner found in a kernel log.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// One crash found in a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Offset of the instruction pointer into that function, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faulting_offset: Option<u64>,
    /// The instruction pointer as the report has it: with the compiler's suffixes
    /// of the function, which tell it from others of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faulting_frame: Option<Frame>,
    /// Whether the report is cut, interleaved or otherwise not to be trusted.
    #[serde(default)]
    pub corrupted: bool,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupted_reason: Option<String>,
    /// Whether a trial is over with this crash.
    #[serde(default)]
    pub ends_trial: bool,
    /// The CPU that reported it.
    pub cpu: Option<u32>,
    /// The process that it happened in.
    pub pid: Option<u32>,
    /// That process's name.
    pub comm: Option<String>,
    /// The kernel's release, as the report says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The machine, as the report says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// The kernel's taint letters at the time, without the blanks; empty where
    /// the report says that it was not tainted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tainted: Option<String>,
    /// What each of these letters means.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<String>,
    /// Frames, innermost first.
    pub call_trace: Vec<Frame>,
    /// Registers, as the report says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registers: BTreeMap<String, String>,
    /// The bytes around the faulting instruction, which stands in `<>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// These bytes as instructions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instructions: Vec<CodeInstruction>,
    /// The place of the instruction pointer in the source, from a vmlinux:
    /// functions that the compiler put into one another, innermost first, the
    /// one that they were put into last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faulting_at: Vec<Frame>,
    /// Why a vmlinux told nothing of the trace: it is another build's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_decoded: Option<String>,
    /// `Modules linked in:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<LinkedModule>,
    /// The module that was unloaded last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_unloaded: Option<String>,
    /// What KASLR added to the addresses of the kernel's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_offset: Option<u64>,
    /// What the kernel reported because of this crash, and close behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ons: Vec<FollowOn>,
    /// The log's own time of the first line, seconds since boot, if it had one.
    pub log_time_s: Option<f64>,
    /// Line number in the log, from 1, of the line that the signature matched.
    pub line: u64,
    /// Offset in bytes of that line in the log.
    pub offset: u64,
    /// What matched in that line: characters from its beginning, from 0.
    #[serde(default)]
    pub column: u32,
    /// How many characters matched.
    #[serde(default)]
    pub width: u32,
    /// Line number in the log of the excerpt's first line.
    #[serde(default)]
    pub excerpt_line: u64,
    /// The report's lines as they stood, without a gap.
    pub excerpt: Vec<String>,
}

impl Crash {
    /// The line that the signature matched, as the log had it.
    pub fn matched_line(&self) -> &str {
        let index = usize::try_from(self.line.saturating_sub(self.excerpt_line)).ok();
        index
            .and_then(|index| self.excerpt.get(index))
            .map_or(&self.title, String::as_str)
    }
}

/// A frame of a call trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// True for a function that the compiler put into its caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inlined: bool,
    /// `file:line`, if the report or a vmlinux says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The memory of a guest that panicked, kept as a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Vmcore {
    /// Its path, relative to the report.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Seconds that writing it took.
    pub took_s: f64,
}

/// An instruction near the faulting one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeInstruction {
    /// Bytes from the faulting instruction; 0 for that one.
    pub offset: i64,
    /// Its bytes, in hexadecimal.
    pub bytes: String,
    /// As an assembler writes it; where it jumps to by name, or as a distance
    /// from the faulting instruction, `.+0x10`.
    pub text: String,
}

/// A module in the line `Modules linked in:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkedModule {
    /// Its name.
    pub name: String,
    /// Taint letters and `+` or `-` (coming, going), if it had any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub flags: String,
}

/// A crash that stands close behind another and follows from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FollowOn {
    /// The name of the signature that matched.
    pub signature: String,
    /// What sort of report it is.
    pub kind: CrashKind,
    /// Its line, normalised.
    pub title: String,
    /// Line number in the log, from 1.
    pub line: u64,
}

/// What sort of report the kernel printed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum CrashKind {
    /// `kernel BUG at …`: a `BUG()` or `BUG_ON()`; or a line that says `BUG:`.
    Bug,
    /// An oops of another sort.
    #[default]
    Oops,
    /// A panic that no report came before.
    Panic,
    /// A general protection fault.
    GeneralProtection,
    /// An access to an address that is not mapped.
    PageFault,
    /// An access through a NULL pointer.
    NullDereference,
    /// A double fault, or a stack that ran over.
    StackOverflow,
    /// A stack that was written over.
    StackCorruption,
    /// A report by KASAN.
    Kasan,
    /// A report by KMSAN.
    Kmsan,
    /// A data race, reported by KCSAN.
    Kcsan,
    /// A report by UBSAN.
    Ubsan,
    /// A report by KFENCE.
    Kfence,
    /// A linked list whose pointers do not fit.
    ListCorruption,
    /// A reference count out of bounds.
    Refcount,
    /// A timer, work item or the like used against its life cycle.
    Odebug,
    /// Memory that nothing points to.
    MemoryLeak,
    /// A page, slab object or page table in a bad state.
    BadMemory,
    /// A soft or hard lockup.
    Lockup,
    /// An RCU stall.
    Stall,
    /// A task blocked for too long.
    HungTask,
    /// A lock used against the rules, or a deadlock that could happen.
    Locking,
    /// Sleeping or scheduling where that is forbidden.
    AtomicSleep,
    /// RCU used against the rules.
    Rcu,
    /// No memory, and no process left to kill.
    OutOfMemory,
    /// The machine began to boot again without having been told to.
    Reboot,
    /// The module loader's own trouble.
    ModuleLoader,
    /// A `WARN()`.
    Warning,
}

impl CrashKind {
    /// The word used in reports and on the terminal.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How bad a crash is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// The kernel cannot go on, or is not to be trusted.
    #[default]
    Fatal,
    /// Something is broken, though the kernel goes on.
    Error,
    /// Worth a look.
    Warning,
}

impl Severity {
    /// The word used in reports and on the terminal.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How a crash relates to the race that modrace provokes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum CrashClass {
    /// `module_flags()` hit `MODULE_STATE_UNFORMED` below `m_show()`.
    Target,
    /// A `BUG()` in `module_flags()` or `m_show()` of which the log does not
    /// show that it is the one that the race hits.
    TargetFunctions,
    /// `MODULE_STATE_UNFORMED` hit through `print_modules()`, which takes no
    /// mutex.
    Sibling,
    /// Elsewhere in the module loader.
    ModuleRelated,
    /// Something else.
    #[default]
    Unrelated,
}

impl CrashClass {
    /// The word used in reports and on the terminal.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a virtual CPU, or a task that slept, was at when the kernel panicked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AtPanic {
    /// The CPU's number; absent of a task that slept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The lock that the task slept on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The calls that it was in, the innermost first: `function+0xoffset`, or an
    /// address where the kernel's symbols are not known.
    pub frames: Vec<String>,
    /// It was in user space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
    /// Whether the calls are known. False for a kernel without frame pointers:
    /// the addresses lie on its stack, and some may be left over.
    pub sure: bool,
}
