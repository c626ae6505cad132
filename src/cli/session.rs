//! What every command that races does alike: the report from blank to final,
//! where it goes, what is shown at the end, and the module that is raced.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::args::RaceArgs;
use super::ui::{Ui, summary};
use super::{Failure, OrFail, kernel_arg};
use crate::build::cache::Cache;
use crate::build::kbuild;
use crate::build::module_image::ModuleImage;
use crate::model::{
    Environment, ExitCode, ModuleRecord, Oracle, Outcome, Report, RunStats, SCHEMA, Settings, Tool,
    Trial,
};
use crate::report;
use crate::report::write::{ReportFile, to_json};
use crate::verdict::{run_stats, verdict_of_run};

/// A report before the first trial.
pub(super) fn blank(
    environment: Environment,
    module: &ModuleImage,
    settings: Settings,
    seed: u64,
    started: SystemTime,
) -> Report {
    let (verdict, verdict_reason) = verdict_of_run(&settings, &[], &[], true, None);
    Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: "modrace".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        verdict,
        verdict_reason,
        complete: false,
        started: humantime::format_rfc3339_millis(started).to_string(),
        updated: now(),
        command: std::env::args().collect(),
        seed,
        environment,
        module: Some(module_record(module)),
        settings,
        states: Vec::new(),
        prove: None,
        trials: Vec::new(),
        stats: RunStats::default(),
        baseline: None,
        comparison: None,
        stop_rule: None,
        merged_from: Vec::new(),
    }
}

/// A module before it was loaded.
pub(super) fn module_record(module: &ModuleImage) -> ModuleRecord {
    ModuleRecord {
        name: module.name().to_owned(),
        sha256: module.sha256().to_owned(),
        srcversion: module.srcversion().map(str::to_owned),
        vermagic: module.vermagic().map(str::to_owned),
        taints: String::new(),
    }
}

/// Brings what follows from the trials up to date.
pub(super) fn update(report: &mut Report) {
    report.stats = run_stats(&report.trials);
    report.updated = now();
    (report.verdict, report.verdict_reason) =
        verdict_of_run(&report.settings, &report.trials, &report.states, true, None);
}

/// Writes the last word into the report; returns the process's exit code.
pub(super) fn conclude(report: &mut Report, interrupted: bool) -> ExitCode {
    report.complete = !interrupted;
    report.updated = now();
    (report.verdict, report.verdict_reason) = verdict_of_run(
        &report.settings,
        &report.trials,
        &report.states,
        report.complete,
        None,
    );
    exit_code(report)
}

/// What scripts see of a finished report.
pub(super) fn exit_code(report: &Report) -> ExitCode {
    if !report.complete {
        return ExitCode::Interrupted;
    }
    let unsupported = |trial: &Trial| trial.outcome == Outcome::Unsupported;
    let baseline = report.baseline.iter().flat_map(|run| &run.trials);
    ExitCode::of(
        report.verdict,
        report.trials.iter().chain(baseline).any(unsupported),
    )
}

/// Prints the summary or the report, and gives the file its final name.
pub(super) fn show(
    race: &RaceArgs,
    report: &Report,
    file: Option<ReportFile>,
    ui: &Ui,
) -> Result<(), Failure> {
    show_as(race.json, report, file, ui)
}

/// The same, as JSON or as a summary.
pub(super) fn show_as(
    json: bool,
    report: &Report,
    file: Option<ReportFile>,
    ui: &Ui,
) -> Result<(), Failure> {
    if json || file.is_none() {
        let json = to_json(report).or_fail(ExitCode::Broken)?;
        ui.result(&String::from_utf8_lossy(&json));
    } else {
        // Two kernels want a table.
        ui.result(&match &report.baseline {
            Some(_) => report::show(report),
            None if report.prove.is_some() => report::proof_text(report),
            None => summary::text(report),
        });
    }
    if let Some(file) = file {
        let path = file.finish(report).or_fail(ExitCode::Broken)?;
        ui.note(&format!("report: {}", path.display()));
    }
    Ok(())
}

/// Where the report goes; none for stdout.
pub(super) fn report_file(
    race: &RaceArgs,
    kernel: &str,
    started: SystemTime,
) -> Result<Option<ReportFile>, Failure> {
    let file = match &race.report {
        Some(path) if path == Path::new("-") => return Ok(None),
        Some(path) => ReportFile::at(path.clone()),
        None => ReportFile::named(Path::new("reports"), kernel, started),
    };
    file.check().or_fail(ExitCode::Usage)?;
    Ok(Some(file))
}

/// The module to race: the one named, or the dummy module built for the kernel.
pub(super) fn module(
    named: Option<&Path>,
    oracle: Oracle,
    kdir: Option<&Path>,
    kernel: &str,
    cache: &Cache,
    stop: &AtomicBool,
) -> Result<ModuleImage, Failure> {
    let variant = match oracle {
        Oracle::Crash => kbuild::Variant::Dummy,
        Oracle::NearMiss => kbuild::Variant::Twin,
    };
    let path: PathBuf = match (named, kdir) {
        (Some(path), _) => path.to_owned(),
        (None, Some(kdir)) => {
            kbuild::build_variant(kdir, variant, cache, stop).map_err(kernel_arg::kbuild_failure)?
        }
        (None, None) => {
            let error = format!("{kernel}: no build tree to build the dummy module against");
            return Err(Failure::message(ExitCode::Usage, error)
                .hint("name it as BZIMAGE,KDIR, or give a module with --module"));
        }
    };
    ModuleImage::open(&path).or_fail(if named.is_some() {
        ExitCode::Usage
    } else {
        ExitCode::Broken
    })
}

/// Now, RFC 3339, UTC.
pub(super) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
