//! `modrace doctor`: shows what this machine can do, what is missing, how to
//! get it.

use std::fmt::Write;

use super::ui::Ui;
use crate::model::ExitCode;
use crate::session::Failure;
use crate::session::doctor::{Area, Diagnosis, diagnose};

/// Say what this machine can do, what is missing, and how to get it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let diagnosis = diagnose()?;
    if args.json {
        ui.result(&(serde_json::to_string_pretty(&diagnosis)? + "\n"));
    } else {
        ui.result(&text(&diagnosis));
    }
    Ok(if diagnosis.vm {
        ExitCode::Survived
    } else {
        ExitCode::Unsupported
    })
}

fn text(diagnosis: &Diagnosis) -> String {
    // Into memory: writing cannot fail.
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
        let _ = writeln!(text, "{title} — {verdict}");
        for finding in diagnosis.findings.iter().filter(|f| f.area == area) {
            let _ = writeln!(
                text,
                "  {:8}  {:<26}  {}",
                finding.state.as_str(),
                finding.what,
                finding.detail
            );
            if let Some(fix) = &finding.fix {
                let _ = writeln!(text, "            -> {fix}");
            }
        }
    }
    text
}
