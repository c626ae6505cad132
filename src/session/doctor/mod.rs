//! `modrace doctor`: what this machine can do, what is missing, how to get it.
//! It looks and changes nothing.

mod host;
mod vm;

use serde::Serialize;

use super::exit::Failure;
use crate::build::cache::Cache;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Racing kernels in VMs.
    Vm,
    /// Building kernels.
    Lab,
    /// Racing the kernel that runs here.
    Run,
}

/// How a thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is there.
    Found,
    /// It is not, and its area cannot work without it.
    Missing,
    /// It is not, and something works less well for it.
    Lacking,
    /// It is there, and only its use will show whether it works.
    Untested,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Missing => "missing",
            Self::Lacking => "lacking",
            Self::Untested => "untested",
        }
    }
}

/// One thing that was looked for.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What needs it.
    pub area: Area,
    /// What was looked for.
    pub what: String,
    /// Whether it is there.
    pub state: State,
    /// What was found, or what its absence means.
    pub detail: String,
    /// The command or step that gets it.
    #[serde(rename = "mend", skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn found(area: Area, what: &str, detail: impl Into<String>) -> Self {
        Self::new(area, what, State::Found, detail.into(), None)
    }

    fn missing(area: Area, what: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(area, what, State::Missing, detail.into(), Some(fix.into()))
    }

    fn lacking(area: Area, what: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(area, what, State::Lacking, detail.into(), Some(fix.into()))
    }

    fn untested(area: Area, what: &str, detail: impl Into<String>) -> Self {
        Self::new(area, what, State::Untested, detail.into(), None)
    }

    fn new(area: Area, what: &str, state: State, detail: String, fix: Option<String>) -> Self {
        Self {
            area,
            what: what.to_owned(),
            state,
            detail,
            fix,
        }
    }
}

/// What this machine can do.
#[derive(Clone, Debug, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is an area of its own")]
pub struct Diagnosis {
    /// Whether kernels can be raced in VMs.
    pub vm: bool,
    /// Whether kernels can be built.
    pub lab: bool,
    /// Whether the kernel that runs here can be raced.
    pub run: bool,
    /// All that was looked for.
    pub findings: Vec<Finding>,
}

/// Looks at this machine.
pub fn diagnose() -> Result<Diagnosis, Failure> {
    let cache = Cache::from_env()?;
    let findings: Vec<Finding> = vm::findings(&cache)
        .into_iter()
        .chain(vm::lab_findings(&cache))
        .chain(host::findings())
        .collect();
    let able = |area| {
        !findings
            .iter()
            .any(|finding| finding.area == area && finding.state == State::Missing)
    };
    Ok(Diagnosis {
        vm: able(Area::Vm),
        lab: able(Area::Lab),
        run: able(Area::Run),
        findings,
    })
}
