//! How a trial starts: its guest boots, or goes on where another was saved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clones of a template before the next is made, unless told otherwise.
pub const DEFAULT_RENEW: u32 = 50;

/// How the trials of a run are to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartChoice {
    /// Every guest boots.
    #[default]
    Boot,
    /// Every trial is a clone.
    Clone,
    /// Clones, once one has shown that it works here and ends as boots do; else
    /// boots.
    Auto,
}

impl StartChoice {
    /// Whether every guest boots, of which reports say nothing.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    pub fn is_boot(&self) -> bool {
        *self == Self::Boot
    }

    /// The word used on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Clone => "clone",
            Self::Auto => "auto",
        }
    }
}

/// How one trial started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    /// By a boot of its own, or as a clone.
    pub how: StartedBy,
    /// The template that it is a clone of, from 0 in the order in which they
    /// were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<u32>,
    /// Memory that the clone had for itself at its end, MiB: what it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_mib: Option<f64>,
    /// Why it is no clone, where one was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a trial's guest begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartedBy {
    /// A boot.
    Boot,
    /// The state of a template.
    Clone,
}

impl Start {
    /// A boot.
    pub fn boot() -> Self {
        Self {
            how: StartedBy::Boot,
            template: None,
            private_mib: None,
            reason: None,
        }
    }

    /// A clone of template `number`.
    pub fn clone_of(number: u32) -> Self {
        Self {
            how: StartedBy::Clone,
            template: Some(number),
            private_mib: None,
            reason: None,
        }
    }
}

/// How the trials of a run started, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartStats {
    /// Trials whose guest booted.
    pub boots: u32,
    /// Trials that were clones.
    pub clones: u32,
    /// The templates that they were clones of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<TemplateStats>,
    /// The most memory that a clone had for itself, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_mib_max: Option<f64>,
    /// Median time from the module's first load to the gate, seconds, of boots
    /// and templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_s: Option<f64>,
}

/// What the clones of one template add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateStats {
    /// The template.
    pub template: u32,
    /// Its clones with an outcome that counts.
    pub clones: u32,
    /// Those that crashed.
    pub crashes: u32,
    /// Their load/unload cycles.
    pub cycles: u64,
    /// Chance that crashes per cycle differ as much from those of the other
    /// templates' clones, were the rates equal (conditional binomial test); none
    /// where there is nothing to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_same: Option<f64>,
}
