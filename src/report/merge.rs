//! Reports put together: trials of one experiment pooled, or one run set
//! against another. Both refuse what does not belong together, and say which
//! field differs.

use serde_json::Value;
use thiserror::Error;

use crate::model::{Comparison, Report, Run, Settings, Source, Tool};
use crate::stats::StatsError;
use crate::verdict::{compare, run_stats, verdict_of_run};

/// Settings that change how long a run takes, not what a trial does.
const VOLATILE_SETTINGS: &[&str] = &["trials", "jobs"];
/// What two runs of one experiment may differ in: `restored` of a tunable is a
/// result.
const VOLATILE_ENVIRONMENT: &[&str] = &["knobs"];
/// What a kernel with a fix and one without must share besides the settings.
const SAME_MACHINE: &[&str] = &["cpus", "mem_mib", "accel", "cpu_model"];

/// Why reports do not belong together.
#[derive(Debug, Error)]
pub enum Differs {
    /// A field differs.
    #[error("{second}: {field}: {second_value}, but {first} has {first_value}")]
    Field {
        /// The first file.
        first: String,
        /// The second file.
        second: String,
        /// Path of the field.
        field: String,
        /// Its value in the first.
        first_value: String,
        /// Its value in the second.
        second_value: String,
    },
    /// One run came twice: its trials would count twice.
    #[error("{second}: seed and started: the same run as {first}")]
    Twice {
        /// The first file.
        first: String,
        /// The second file.
        second: String,
    },
    /// A comparison is a finished argument, not trials to pool.
    #[error("{file}: baseline: a comparison cannot be used here, only a run of one kernel")]
    Comparison {
        /// The file.
        file: String,
    },
    /// No report at all.
    #[error("no report given")]
    Nothing,
    /// The statistics refuse.
    #[error("the two cannot be compared")]
    Stats(#[from] StatsError),
}

/// A report with its file's name and where it comes from.
type Named = (String, Report, Source);

/// Pools the trials of reports on one experiment. Trials are numbered anew;
/// each keeps its seed.
pub fn merge(reports: Vec<Named>, tool: Tool, command: Vec<String>) -> Result<Report, Differs> {
    let mut rest = reports.into_iter();
    let (first, mut pooled, source) = rest.next().ok_or(Differs::Nothing)?;
    only_one_run(&first, &pooled)?;
    let mut asked = pooled.settings.trials;
    let mut sources: Vec<(String, Source)> = vec![(first.clone(), source)];
    for (second, report, source) in rest {
        only_one_run(&second, &report)?;
        let names = (first.as_str(), second.as_str());
        same(
            names,
            "settings",
            &pooled.settings,
            &report.settings,
            VOLATILE_SETTINGS,
        )?;
        same(
            names,
            "environment",
            &pooled.environment,
            &report.environment,
            VOLATILE_ENVIRONMENT,
        )?;
        same(names, "module", &pooled.module, &report.module, &[])?;
        let twin = sources
            .iter()
            .find(|(_, seen)| (&seen.started, seen.seed) == (&source.started, source.seed));
        if let Some((twin, _)) = twin {
            return Err(Differs::Twice {
                first: twin.clone(),
                second,
            });
        }
        asked = asked.saturating_add(report.settings.trials);
        pooled.complete &= report.complete;
        pooled.started = pooled.started.min(report.started);
        pooled.updated = pooled.updated.max(report.updated);
        pooled.trials.extend(report.trials);
        sources.push((second, source));
    }
    for (index, trial) in (0..).zip(&mut pooled.trials) {
        trial.index = index;
    }
    pooled.settings.trials = asked;
    pooled.stats = run_stats(&pooled.trials);
    (pooled.verdict, pooled.verdict_reason) = verdict_of_run(
        &pooled.settings,
        &pooled.trials,
        &pooled.states,
        pooled.complete,
        None,
    );
    pooled.merged_from = sources.into_iter().map(|(_, source)| source).collect();
    pooled.tool = tool;
    pooled.command = command;
    Ok(pooled)
}

/// Whether a report can be the control of a run with these settings: found out
/// before the run, not after it.
pub fn check_control((file, control): (&str, &Report), settings: &Settings) -> Result<(), Differs> {
    only_one_run(file, control)?;
    let names = ("this run", file);
    same(
        names,
        "settings",
        settings,
        &control.settings,
        VOLATILE_SETTINGS,
    )
}

/// Sets a run against a positive control from an earlier report. The verdict on
/// a run without crash or hang becomes the comparison's.
///
/// The two must share settings, CPUs, memory and accelerator; their kernels may
/// differ, which is the point.
pub fn with_control(
    (file, mut report): (&str, Report),
    (control_file, control, source): (&str, Report, Source),
    confidence: f64,
) -> Result<Report, Differs> {
    only_one_run(file, &report)?;
    only_one_run(control_file, &control)?;
    let names = (control_file, file);
    same(
        names,
        "settings",
        &control.settings,
        &report.settings,
        VOLATILE_SETTINGS,
    )?;
    let (ours, theirs) = (fields(&report.environment), fields(&control.environment));
    for field in SAME_MACHINE {
        same(
            names,
            &format!("environment.{field}"),
            &theirs[*field],
            &ours[*field],
            &[],
        )?;
    }
    let comparison: Comparison = compare(&control.trials, &report.trials, confidence, report.seed)?;
    (report.verdict, report.verdict_reason) = verdict_of_run(
        &report.settings,
        &report.trials,
        &report.states,
        report.complete,
        Some(&comparison),
    );
    report.comparison = Some(comparison);
    report.baseline = Some(Run {
        source: Some(source),
        environment: control.environment,
        module: control.module,
        settings: control.settings,
        stats: run_stats(&control.trials),
        trials: control.trials,
    });
    Ok(report)
}

fn only_one_run(file: &str, report: &Report) -> Result<(), Differs> {
    if report.baseline.is_none() {
        return Ok(());
    }
    Err(Differs::Comparison {
        file: file.to_owned(),
    })
}

fn fields(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap_or(Value::Null)
}

/// The first field in which two records differ, but for those named.
fn same(
    (first, second): (&str, &str),
    at: &str,
    a: &impl serde::Serialize,
    b: &impl serde::Serialize,
    but: &[&str],
) -> Result<(), Differs> {
    match difference(at, &fields(a), &fields(b), but) {
        None => Ok(()),
        Some((field, first_value, second_value)) => Err(Differs::Field {
            first: first.to_owned(),
            second: second.to_owned(),
            field,
            first_value,
            second_value,
        }),
    }
}

fn difference(at: &str, a: &Value, b: &Value, but: &[&str]) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => x
            .keys()
            .chain(y.keys())
            .filter(|key| !but.contains(&key.as_str()))
            .find_map(|key| difference(&format!("{at}.{key}"), &a[key], &b[key], &[])),
        _ if a == b => None,
        _ => Some((at.to_owned(), a.to_string(), b.to_string())),
    }
}
