//! `modrace check`: every known race against one kernel, each beside a control
//! that is known to crash: the other half of the race's lab pair. Controls are
//! made once and kept with their figures.

mod one;
mod schedules;

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::SystemTime;

use self::one::One;
use super::events::Events;
use super::exit::Failure;
use super::request::check_confidence;
use super::{kernel_arg, record};
use crate::build::cache::Cache;
use crate::model::{
    CHECK_SCHEMA, CheckReport, Domain, ExitCode, RaceResult, Report, Tool, Verdict, derive,
};
use crate::race::races::RaceRow;
use crate::report::write::save_as_json;
use crate::trial::Event;

/// What is checked, and how thoroughly.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The kernel, as it is typed.
    pub kernel: String,
    /// The races, in the order of the table.
    pub races: Vec<&'static RaceRow>,
    /// Longest trial, seconds.
    pub duration_s: f64,
    /// The most exposure of the kernel in each race, seconds.
    pub max_exposure_s: f64,
    /// Crashes of each control.
    pub crashes: u32,
    /// How sure to be, between 0.5 and 1.
    pub confidence: f64,
    /// Trials under way at once; none: as many as the host has room for.
    pub jobs: Option<u32>,
    /// The seed.
    pub seed: u64,
    /// Where the report goes; none for stdout.
    pub report: Option<PathBuf>,
    /// The QEMU program; none: the one on `PATH`.
    pub qemu: Option<PathBuf>,
}

impl CheckRequest {
    /// A check that is as sure as `ab`.
    pub fn thorough(kernel: impl Into<String>, races: Vec<&'static RaceRow>) -> Self {
        Self {
            kernel: kernel.into(),
            races,
            duration_s: 30.0,
            max_exposure_s: 600.0,
            crashes: 5,
            confidence: 0.999,
            jobs: None,
            seed: 0,
            report: None,
            qemu: None,
        }
    }

    /// One that takes a few minutes, and is less sure.
    #[must_use]
    pub fn quick(self) -> Self {
        Self {
            duration_s: 6.0,
            max_exposure_s: 6.0,
            crashes: 3,
            confidence: 0.9,
            ..self
        }
    }
}

/// Checks the kernel, and saves the report after each race. Returns it with the
/// process's exit code.
pub fn run(asked: &CheckRequest, events: Events<'_>) -> Result<(CheckReport, ExitCode), Failure> {
    check_confidence(asked.confidence)?;
    if asked.races.is_empty() {
        return Err(Failure::usage("--races names none"));
    }
    let started = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut check = CheckReport {
        schema: CHECK_SCHEMA.to_owned(),
        tool: Tool {
            name: "modrace".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        verdict: Verdict::Inconclusive,
        verdict_reason: "no race was run yet".to_owned(),
        complete: false,
        started,
        updated: record::now(),
        command: std::env::args().collect(),
        seed: asked.seed,
        kernel: asked.kernel.clone(),
        release: None,
        races: Vec::new(),
    };
    // Neither an unwritable place nor a wrong name is found after an hour.
    kernel_arg::resolve(&asked.kernel, &Cache::from_env()?)?;
    save(&check, asked)?;
    let told = RefCell::new(HashSet::new());
    let once = |event: Event| match event {
        // Each race is prepared by itself, and finds the same of the host.
        Event::Note(text) if !told.borrow_mut().insert(text.clone()) => {}
        event => events.emit(event),
    };
    let events = Events::to(&once);
    for row in &asked.races {
        let one = One {
            asked,
            row,
            events,
            seed: derive(asked.seed, Domain::Race, check.races.len() as u64),
        };
        let (result, interrupted) = one.run()?;
        let release = |report: &Report| report.environment.kernel.release.clone();
        check.release = (check.release.take()).or(result.report.as_ref().and_then(release));
        check.races.push(result);
        (check.verdict, check.verdict_reason) = worst(&check.races);
        check.updated = record::now();
        save(&check, asked)?;
        if interrupted {
            return Ok((check, ExitCode::Interrupted));
        }
    }
    check.complete = true;
    save(&check, asked)?;
    let unsupported = check.races.iter().all(|result| result.verdict.is_none());
    let exit = ExitCode::of(check.verdict, unsupported);
    Ok((check, exit))
}

fn save(check: &CheckReport, asked: &CheckRequest) -> Result<(), Failure> {
    match &asked.report {
        Some(path) => Ok(save_as_json(path, check)?),
        None => Ok(()),
    }
}

/// The worst verdict of the races that were run, and whose it is.
fn worst(races: &[RaceResult]) -> (Verdict, String) {
    let order = [
        Verdict::Fail,
        Verdict::Broken,
        Verdict::Inconclusive,
        Verdict::Pass,
    ];
    let of = |verdict| -> Vec<&RaceResult> {
        let mut found = Vec::new();
        found.extend(races.iter().filter(|race| race.verdict == Some(verdict)));
        found
    };
    let skipped = races.iter().filter(|race| race.verdict.is_none()).count();
    let run = races.len() - skipped;
    let not_run = match skipped {
        0 => String::new(),
        _ => format!("; {skipped} could not be run here"),
    };
    for verdict in order {
        let these = of(verdict);
        if let Some(first) = these.first() {
            let reason = if verdict == Verdict::Pass {
                format!("{run} races, each clean beside a control{not_run}")
            } else {
                let names: Vec<_> = these.iter().map(|race| race.race.as_str()).collect();
                format!(
                    "{} of {run} races: {}; the first: {}{not_run}",
                    these.len(),
                    names.join(", "),
                    first.reason
                )
            };
            return (verdict, reason);
        }
    }
    let reason = "no race of the table can be run on this kernel".to_owned();
    (Verdict::Inconclusive, reason)
}
