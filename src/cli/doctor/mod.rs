//! `modrace doctor`: what this machine can do, what is missing, how to get it.
//! It looks and changes nothing.

mod host;
mod look;
mod vm;

use serde::Serialize;

use super::ui::Ui;
use crate::build::cache::Cache;
use crate::model::ExitCode;
use crate::session::Failure;

/// Say what this machine can do, what is missing, and how to get it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Area {
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
enum State {
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
    fn as_str(self) -> &'static str {
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
struct Finding {
    area: Area,
    what: String,
    state: State,
    /// What was found, or what its absence means.
    detail: String,
    /// The command or step that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Finding {
    fn found(area: Area, what: &str, detail: impl Into<String>) -> Self {
        Self::new(area, what, State::Found, detail.into(), None)
    }

    fn missing(area: Area, what: &str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(area, what, State::Missing, detail.into(), Some(mend.into()))
    }

    fn lacking(area: Area, what: &str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(area, what, State::Lacking, detail.into(), Some(mend.into()))
    }

    fn untested(area: Area, what: &str, detail: impl Into<String>) -> Self {
        Self::new(area, what, State::Untested, detail.into(), None)
    }

    fn new(area: Area, what: &str, state: State, detail: String, mend: Option<String>) -> Self {
        Self {
            area,
            what: what.to_owned(),
            state,
            detail,
            mend,
        }
    }
}

/// What the areas can do, for scripts.
#[derive(Serialize)]
struct Diagnosis<'a> {
    vm: bool,
    lab: bool,
    run: bool,
    findings: &'a [Finding],
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
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
    let diagnosis = Diagnosis {
        vm: able(Area::Vm),
        lab: able(Area::Lab),
        run: able(Area::Run),
        findings: &findings,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&diagnosis)?;
        ui.result(&(text + "\n"));
    } else {
        ui.result(&text(&diagnosis));
    }
    Ok(if diagnosis.vm {
        ExitCode::Survived
    } else {
        ExitCode::Unsupported
    })
}

fn text(diagnosis: &Diagnosis<'_>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (area, title, able) in [
        (Area::Vm, "modrace vm: race kernels in VMs", diagnosis.vm),
        (Area::Lab, "modrace lab: build kernels", diagnosis.lab),
        (
            Area::Run,
            "modrace run: race this very kernel",
            diagnosis.run,
        ),
    ] {
        let verdict = if able { "can work" } else { "cannot work yet" };
        let _infallible = writeln!(text, "{title} — {verdict}");
        for finding in diagnosis.findings.iter().filter(|f| f.area == area) {
            let _infallible = writeln!(
                text,
                "  {:8}  {:<26}  {}",
                finding.state.as_str(),
                finding.what,
                finding.detail
            );
            if let Some(mend) = &finding.mend {
                let _infallible = writeln!(text, "            -> {mend}");
            }
        }
    }
    text
}
