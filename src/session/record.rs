//! The report of a run, from blank to final, and where it goes.

use std::path::Path;
use std::time::SystemTime;

use super::exit::Failure;
use super::request::Destination;
use crate::build::module_image::ModuleImage;
use crate::model::{
    Environment, ExitCode, ModuleRecord, Outcome, Report, RunStats, SCHEMA, Settings, Tool, Trial,
};
use crate::report::write::ReportFile;
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

/// Where the report goes; none for stdout.
pub(super) fn report_file(
    destination: &Destination,
    kernel: &str,
    started: SystemTime,
) -> Result<Option<ReportFile>, Failure> {
    let file = match destination {
        Destination::Stdout => return Ok(None),
        Destination::File(path) => ReportFile::at(path.clone()),
        Destination::Named => ReportFile::named(Path::new("reports"), kernel, started),
    };
    file.check()
        .map_err(|error| Failure::from(error).code(ExitCode::Usage))?;
    Ok(Some(file))
}

/// Now, RFC 3339, UTC.
pub(super) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
