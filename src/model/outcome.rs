//! The closed lists that scripts rely on: a trial's outcome, a run's verdict,
//! the process's exit code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// How one trial ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The kernel under test crashed while it was raced.
    Crashed,
    /// The race ran its time and the kernel was in order at the end.
    Survived,
    /// The kernel stopped making progress without saying why.
    Hung,
    /// The machine died while its kernel was raced, and nothing that it left says
    /// why: a crash that left no trace, or the power. Only where nobody watches
    /// from outside.
    Died,
    /// The set-up failed; nothing is known about the kernel.
    Broken,
    /// The kernel under test cannot be raced, for the reason given.
    Unsupported,
}

/// How the reason of a trial begins whose guest never spoke.
pub const SILENT_BOOT: &str = "the guest's init did not speak";

impl Outcome {
    /// The outcomes in the order in which they are reported.
    pub const ALL: [Self; 6] = [
        Self::Crashed,
        Self::Survived,
        Self::Hung,
        Self::Died,
        Self::Broken,
        Self::Unsupported,
    ];

    /// The word used in reports and on the terminal.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Where a trial was.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TrialPhase {
    /// The kernel booted; our first process had said nothing yet.
    Boot,
    /// The module was loaded, tried and warmed up; the gate was closed.
    Setup,
    /// The module was raced.
    #[default]
    Race,
    /// The time was over: workers ended, the kernel was looked at once more.
    Settle,
}

impl TrialPhase {
    /// The word used in reports and on the terminal.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether nothing had been raced yet: what happens here is not the race
    /// under test.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    pub fn is_before_race(&self) -> bool {
        *self < Self::Race
    }
}

/// What a whole run says about the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// Every trial survived the exposure that was asked for, and readers were
    /// seen where the race is lost.
    Pass,
    /// A trial crashed or hung.
    Fail,
    /// Not enough was shown either way.
    Inconclusive,
    /// The set-up failed; nothing is known about the kernel.
    Broken,
}

impl Verdict {
    /// The word used in reports, file names and on the terminal.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What stands behind a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// A kernel that crashed, raced beside the one under test.
    Compared,
    /// A kernel that crashed under the same settings, from an earlier report.
    Control,
    /// Nothing: the run survived, and what it could have missed is not known.
    /// Also where there is no pass.
    #[default]
    None,
}

impl Assurance {
    /// The word used in reports and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compared => "compared",
            Self::Control => "control",
            Self::None => "none",
        }
    }
}

/// What a verdict hangs on besides settings, trials and states.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Terms {
    /// The confidence that a comparison is made at, 1 − α.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Whether warnings of the kernel are no failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_warnings: bool,
    /// Whether a pass takes a positive control.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_control: bool,
    /// Why no more trials were made, where more of them would have shown no
    /// more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
    /// How many checks of the module's states were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states_checked: Option<u32>,
    /// Whether some of the module's states could not be looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub states_incomplete: bool,
}

impl Terms {
    /// Whether there is nothing to say of them.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The one list of exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Survived, or: the fix is confirmed, or: the command did what it was told.
    Survived = 0,
    /// A kernel crashed or hung.
    Crashed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The infrastructure failed; there is no verdict.
    Broken = 3,
    /// The machine or the kernel cannot do it, or modrace refuses to.
    Unsupported = 4,
    /// Not enough was shown.
    Inconclusive = 5,
    /// Stopped by a signal; a partial report was written.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code with its meaning, for the help text.
    pub const TABLE: &[(Self, &str)] = &[
        (Self::Survived, "survived (or: fix confirmed)"),
        (Self::Crashed, "crashed or hung"),
        (Self::Usage, "usage"),
        (Self::Broken, "broken: infrastructure trouble, no verdict"),
        (Self::Unsupported, "unsupported or refused"),
        (Self::Inconclusive, "inconclusive"),
        (
            Self::Interrupted,
            "interrupted (a partial report is written)",
        ),
    ];
}

impl ExitCode {
    /// What scripts see of a verdict. `unsupported`: no trial could be made,
    /// for a reason that lies in the kernel.
    pub fn of(verdict: Verdict, unsupported: bool) -> Self {
        match verdict {
            Verdict::Pass => Self::Survived,
            Verdict::Fail => Self::Crashed,
            Verdict::Inconclusive if unsupported => Self::Unsupported,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::Broken => Self::Broken,
        }
    }
}

impl ExitCode {
    /// The worse of two. A crash is what was looked for, and outranks all;
    /// then comes what leaves the least known.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        const BEST_FIRST: [ExitCode; 7] = [
            ExitCode::Survived,
            ExitCode::Inconclusive,
            ExitCode::Interrupted,
            ExitCode::Unsupported,
            ExitCode::Usage,
            ExitCode::Broken,
            ExitCode::Crashed,
        ];
        let rank = |code| BEST_FIRST.iter().position(|&other| other == code);
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
