//! What a run was asked to do: everything needed to do it again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::StartChoice;

/// The target that readers read unless told otherwise: the one whose race
/// modrace is about. The others are rows of a table in `race`.
pub const DEFAULT_TARGET: &str = "/proc/modules";

/// The race that is run unless told otherwise: that of the bug report. The
/// others are rows of a table in `race`.
pub const DEFAULT_RACE: &str = "proc-modules-unformed";

/// The settings of a run. Two runs with equal settings are the same experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Trials asked for.
    pub trials: u32,
    /// Longest time raced in one trial, seconds.
    pub duration_s: f64,
    /// Trials under way at once. Changes time, not results.
    pub jobs: u32,
    /// Virtual CPUs of a guest; the CPUs raced on for a bare machine.
    pub smp: u32,
    /// The CPUs that workers sit on; empty: all that there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<usize>,
    /// Memory of a guest, MiB.
    pub mem_mib: u32,
    /// The accelerator asked for.
    pub accel: Accel,
    /// Loaders.
    pub loaders: u32,
    /// Readers.
    pub readers: u32,
    /// How the readers read.
    pub strategy: Strategy,
    /// Which chaos techniques perturb the race.
    pub chaos: ChaosChoice,
    /// Arms that `auto` chooses from; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<String>,
    /// Other modules loaded before the race, so that the list is as long as a
    /// real system's.
    pub background_modules: u32,
    /// Appended to the guest's kernel command line.
    pub append: String,
    /// What tells that the race was lost.
    #[serde(default, skip_serializing_if = "Oracle::is_crash")]
    pub oracle: Oracle,
    /// How trials start. Changes time, not results.
    #[serde(default, skip_serializing_if = "StartChoice::is_boot")]
    pub start: StartChoice,
    /// Clones of a template before the next is made; none where every guest
    /// boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew: Option<u32>,
    /// What the readers read, by its name in `modrace list targets`.
    #[serde(default = "default_target", skip_serializing_if = "is_default_target")]
    pub target: String,
    /// The race, by its name in `modrace list races`.
    #[serde(default = "default_race", skip_serializing_if = "is_default_race")]
    pub race: String,
    /// What is done to a driver of one's own; none for a race of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverSettings>,
}

/// What loaders and readers do to a driver of one's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriverSettings {
    /// What its readers open: paths and patterns, `{module}` for its name.
    pub targets: Vec<String>,
    /// What they do, by its name in `modrace list actions`.
    pub action: String,
    /// What the actions that write write.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The module's parameters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parameters: String,
    /// Modules that are loaded before it, by name, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// Whether what appears when it is loaded is raced as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discover: bool,
}

fn default_race() -> String {
    DEFAULT_RACE.to_owned()
}

fn is_default_race(race: &str) -> bool {
    race == DEFAULT_RACE
}

fn default_target() -> String {
    DEFAULT_TARGET.to_owned()
}

fn is_default_target(target: &str) -> bool {
    target == DEFAULT_TARGET
}

impl Settings {
    /// The target, if it is not [`DEFAULT_TARGET`]: then nobody called
    /// `m_show()`, and whatever is said of the run must say so. None where
    /// another race is run, which has targets of its own.
    pub fn other_target(&self) -> Option<&str> {
        Some(self.target.as_str())
            .filter(|target| !is_default_target(target) && !self.is_other_race())
    }

    /// Whether loaders and readers do something else than in the default race:
    /// what another row of the table says, or what a driver's author asked for.
    pub fn is_other_race(&self) -> bool {
        self.driver.is_some() || !is_default_race(&self.race)
    }

    /// A sentence about the race, with the race or the target named if it is
    /// another one.
    pub fn about(&self, sentence: String) -> String {
        if !is_default_race(&self.race) && !sentence.contains(&self.race) {
            return format!("race {}: {sentence}", self.race);
        }
        match self.other_target() {
            Some(target) if !sentence.contains(target) => {
                format!("readers of {target}: {sentence}")
            }
            _ => sentence,
        }
    }

    /// What is worth knowing where workers outnumber their CPUs: it is allowed,
    /// and may even help, but it is another race.
    pub fn crowding(&self) -> Option<String> {
        let workers = u64::from(self.loaders) + u64::from(self.readers);
        let cpus = match self.cpus.len() as u64 {
            0 => u64::from(self.smp),
            asked => asked,
        };
        let s = if cpus == 1 { "" } else { "s" };
        (workers > cpus).then(|| {
            format!("{workers} workers on {cpus} CPU{s}: not all of them run at the same time")
        })
    }
}

/// What tells that the race was lost.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Oracle {
    /// The kernel's own `BUG_ON` in `module_flags()`, which `m_show()` calls
    /// for a tainted module only. One measurement per boot.
    #[default]
    Crash,
    /// A line of an untainted twin of the module that only an unformed module
    /// can give. The kernel lives on: thousands of measurements per boot.
    NearMiss,
}

impl Oracle {
    /// Whether it is the crash, of which reports say nothing.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    pub fn is_crash(&self) -> bool {
        *self == Self::Crash
    }

    /// The word used on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How readers read the module list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Strategy {
    /// The best mix known.
    Auto,
    /// Only the first record: the module just loaded stands there.
    Head,
    /// The whole file.
    Full,
    /// The bug report's own recipe: `insmod`, `rmmod` and `cat` in loops.
    AsReported,
}

impl Strategy {
    /// Every strategy with its help text.
    pub const TABLE: &[(Self, &str, &str)] = &[
        (Self::Auto, "auto", "the best mix known"),
        (
            Self::Head,
            "head",
            "read only the first record: the module just loaded",
        ),
        (Self::Full, "full", "read the whole file"),
        (
            Self::AsReported,
            "as-reported",
            "the bug report's shell loops: insmod, rmmod, cat",
        ),
    ];

    /// The word used on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Which chaos techniques perturb the race.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChaosChoice {
    /// Those that suit the strategy; none for `as-reported`.
    Auto,
    /// None.
    None,
    /// Those named.
    These(Vec<String>),
}

/// What runs a guest's instructions.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Accel {
    /// KVM if a guest proves that it works, else TCG.
    Auto,
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's translator.
    Tcg,
    /// No guest: the machine itself.
    None,
}

impl Accel {
    /// The word used on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_outnumber_their_cpus_are_told() {
        let mut settings: Settings = serde_json::from_value(serde_json::json!({
            "trials": 1, "duration_s": 1.0, "jobs": 1, "smp": 4, "mem_mib": 256,
            "accel": "tcg", "loaders": 1, "readers": 3, "strategy": "head",
            "chaos": "auto", "background_modules": 0, "append": ""
        }))
        .unwrap();
        assert_eq!(settings.crowding(), None);
        settings.cpus = vec![1, 2];
        let told = settings.crowding().unwrap();
        assert!(told.starts_with("4 workers on 2 CPUs: "), "{told}");
        settings.cpus.clear();
        settings.smp = 1;
        let told = settings.crowding().unwrap();
        assert!(told.starts_with("4 workers on 1 CPU: "), "{told}");
    }
}
