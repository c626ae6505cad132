//! The module's states as a kernel shows them: what was seen, and what a check
//! of it came to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a module is held, to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// In its init function: `MODULE_STATE_COMING`.
    Init,
    /// Loaded: `MODULE_STATE_LIVE`.
    Live,
    /// Loaded, while the kernel is told to hide addresses
    /// (`kernel.kptr_restrict` = 2).
    LiveHidden,
    /// In its exit function: `MODULE_STATE_GOING`.
    Exit,
    /// Unloaded.
    Unloaded,
}

impl Held {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "in init",
            Self::Live => "live",
            Self::LiveHidden => "live, addresses hidden",
            Self::Exit => "in exit",
            Self::Unloaded => "unloaded",
        }
    }
}

/// What a kernel shows of the module in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Where the module was held.
    pub held: Held,
    /// Its lines of `/proc/modules`: one, or none when it is unloaded.
    pub lines: Vec<String>,
    /// `/sys/module/NAME/initstate`.
    pub initstate: Option<String>,
    /// `/sys/module/NAME/taint`.
    pub taint: Option<String>,
    /// `/sys/module/NAME/refcnt`.
    pub refcnt: Option<String>,
    /// `/proc/sys/kernel/tainted` now.
    pub tainted: u64,
    /// The same before the first load.
    pub tainted_before: u64,
    /// `/proc/sys/kernel/kptr_restrict`; none where there is none.
    pub kptr_restrict: Option<u64>,
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
}

/// Where the kernel showed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateSource {
    /// `/proc/modules`.
    ProcModules,
    /// `/sys/module/NAME`.
    Sysfs,
    /// `Modules linked in:`, in the kernel's own report on the console.
    Console,
}

impl StateSource {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProcModules => "/proc/modules",
            Self::Sysfs => "/sys/module",
            Self::Console => "console",
        }
    }
}

/// One thing that was expected of a state, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateCheck {
    /// Where the module was held.
    pub held: Held,
    /// Where the kernel shows it.
    pub source: StateSource,
    /// What was checked.
    pub what: String,
    /// What a kernel in order shows.
    pub expected: String,
    /// What this kernel showed.
    pub seen: String,
    /// The line that it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Whether the two agree.
    pub ok: bool,
}
