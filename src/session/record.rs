//! The report of a run, from blank to final, and where it goes.

use std::path::Path;
use std::time::SystemTime;

use super::exit::Failure;
use super::random;
use super::request::{Destination, Request};
use crate::build::module_image::ModuleImage;
use crate::model::{
    Assurance, Environment, ExitCode, ModuleRecord, Report, RunStats, SCHEMA, StateCheck, Tool,
    Verdict,
};
use crate::report::write::ReportFile;
use crate::verdict::{exit_code, settle};

/// A report before the first trial.
pub(super) fn blank(
    environment: Environment,
    module: ModuleRecord,
    request: &Request,
    started: SystemTime,
) -> Result<Report, Failure> {
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: "modrace".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        verdict: Verdict::Inconclusive,
        verdict_reason: String::new(),
        assurance: Assurance::None,
        run_id: run_id()?,
        complete: false,
        started: humantime::format_rfc3339_millis(started).to_string(),
        updated: now(),
        command: std::env::args().collect(),
        seed: request.seed,
        environment,
        module: Some(module),
        settings: request.settings.clone(),
        terms: request.terms.clone(),
        states: Vec::new(),
        prove: None,
        explore: None,
        trials: Vec::new(),
        stats: RunStats::default(),
        baseline: None,
        comparison: None,
        stop_rule: None,
        merged_from: Vec::new(),
    };
    settle(&mut report);
    Ok(report)
}

/// The name that tells this run from every other: 128 random bits.
fn run_id() -> Result<String, Failure> {
    Ok(format!("{:016x}{:016x}", random::bits()?, random::bits()?))
}

/// A module before it was loaded.
pub(super) fn module_record(module: &ModuleImage) -> ModuleRecord {
    ModuleRecord {
        name: module.name().to_owned(),
        sha256: module.sha256().to_owned(),
        srcversion: module.srcversion().map(str::to_owned),
        vermagic: module.vermagic().map(str::to_owned),
        ..ModuleRecord::default()
    }
}

/// Brings what follows from the trials up to date.
pub(super) fn update(report: &mut Report) {
    report.updated = now();
    settle(report);
}

/// Makes the report final; returns the process's exit code.
pub(super) fn conclude(report: &mut Report, interrupted: bool) -> ExitCode {
    report.complete = !interrupted;
    update(report);
    exit_code(report)
}

/// Notes which checks of the module's states were made, and whether all could be.
pub(super) fn note_states(report: &mut Report, checks: Vec<StateCheck>, whole: bool) {
    report.terms.states_checked = u32::try_from(checks.len()).ok();
    report.terms.states_incomplete = !whole;
    report.states = checks;
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
