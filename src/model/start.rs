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
