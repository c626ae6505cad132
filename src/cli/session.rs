//! What every command that races does alike: the report from blank to final,
//! where it goes, what is shown at the end, and the module that is raced.

use std::hash::{BuildHasher, Hasher, RandomState};
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
    Assurance, Environment, ExitCode, ModuleRecord, Oracle, Report, RunStats, SCHEMA, Settings,
    Terms, Tool, Verdict,
};
use crate::report;
use crate::report::write::{ReportFile, to_json};
use crate::verdict::{exit_code, settle};

/// A report before the first trial.
pub(super) fn blank(
    environment: Environment,
    module: &ModuleImage,
    settings: Settings,
    terms: Terms,
    seed: u64,
    started: SystemTime,
) -> Report {
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: "modrace".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        verdict: Verdict::Inconclusive,
        verdict_reason: String::new(),
        assurance: Assurance::None,
        run_id: run_id(),
        complete: false,
        started: humantime::format_rfc3339_millis(started).to_string(),
        updated: now(),
        command: std::env::args().collect(),
        seed,
        environment,
        module: Some(module_record(module)),
        settings,
        terms,
        states: Vec::new(),
        trials: Vec::new(),
        stats: RunStats::default(),
        baseline: None,
        comparison: None,
        stop_rule: None,
        merged_from: Vec::new(),
    };
    settle(&mut report);
    report
}

/// 128 random bits: the name that tells this run from every other.
fn run_id() -> String {
    // The standard library keys its hash maps at random.
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
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
    report.updated = now();
    settle(report);
}

/// Writes the last word into the report; returns the process's exit code.
pub(super) fn conclude(report: &mut Report, interrupted: bool) -> ExitCode {
    report.complete = !interrupted;
    update(report);
    exit_code(report)
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
