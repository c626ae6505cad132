//! Reports put together: trials of one experiment pooled, or one run set
//! against another. Both refuse what does not belong together, and say which
//! field differs.

use std::collections::HashMap;

use serde_json::Value;
use thiserror::Error;

use crate::model::{Origin, Report, Run, RunStats, Settings, Source, Tool, Trial};
use crate::verdict::{Difference, Machine, SAME_IMAGE, forbids, settle, unlike};

/// Settings that change how long a run takes, not what a trial does.
const VOLATILE_SETTINGS: &[&str] = &["trials", "jobs", "start", "renew"];
/// What two runs of one experiment may differ in: `restored` of a tunable is a
/// result.
const VOLATILE_ENVIRONMENT: &[&str] = &["knobs"];
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
    /// One trial came twice: it would count twice.
    #[error("{second}: trials[{index}]: the same trial of the same run as in {first}")]
    Twice {
        /// The first file.
        first: String,
        /// The second file.
        second: String,
        /// Where it stands in the second.
        index: usize,
    },
    /// Both are reports on one kernel: nothing is compared.
    #[error("{second}: {field}: the same kernel as {first}: there is nothing to compare")]
    SameKernel {
        /// The first file.
        first: String,
        /// The second file.
        second: String,
        /// Path of the field that says so.
        field: &'static str,
    },
    /// It pools runs that it does not name trial by trial.
    #[error("{file}: trials: pooled by a version that did not note which run each is of")]
    Unnamed {
        /// The file.
        file: String,
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
}

/// A report with its file's name and where it comes from.
type Named = (String, Report, Source);

/// Pools the trials of reports on one experiment. Trials are numbered anew; each
/// keeps its seed, and says which run it is of.
pub fn merge(reports: Vec<Named>, tool: Tool, command: Vec<String>) -> Result<Report, Differs> {
    let mut rest = reports.into_iter();
    let (first, mut pooled, source) = rest.next().ok_or(Differs::Nothing)?;
    only_one_run(&first, &pooled)?;
    let mut known = Known::default();
    name_origins(&first, &mut pooled)?;
    known.add(&first, &pooled)?;
    let mut asked = pooled.settings.trials;
    let mut sources = sources_of(&mut pooled, source);
    for (second, mut report, source) in rest {
        only_one_run(&second, &report)?;
        name_origins(&second, &mut report)?;
        same_experiment((&first, &pooled), (&second, &report))?;
        known.add(&second, &report)?;
        asked = asked.saturating_add(report.settings.trials);
        for source in sources_of(&mut report, source) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        pool(&mut pooled, report);
    }
    for (index, trial) in (0..).zip(&mut pooled.trials) {
        trial.index = index;
    }
    pooled.settings.trials = asked;
    pooled.terms.states_checked = u32::try_from(pooled.states.len()).ok();
    pooled.merged_from = sources;
    pooled.stop_rule = None;
    // Other trials than those of any one run: another name.
    pooled.run_id = String::new();
    pooled.tool = tool;
    pooled.command = command;
    settle(&mut pooled);
    Ok(pooled)
}

/// Adds what a report has to what is pooled already. What speaks against the
/// kernel, and what weakens the run, stays.
fn pool(pooled: &mut Report, report: Report) {
    pooled.complete &= report.complete;
    pooled.started = pooled.started.clone().min(report.started);
    pooled.updated = pooled.updated.clone().max(report.updated);
    pooled.trials.extend(report.trials);
    for check in report.states {
        if !pooled.states.contains(&check) {
            pooled.states.push(check);
        }
    }
    let (ours, theirs) = (&mut pooled.terms, report.terms);
    ours.allow_warnings &= theirs.allow_warnings;
    ours.require_control |= theirs.require_control;
    ours.states_incomplete |= theirs.states_incomplete;
    ours.given_up = ours.given_up.take().or(theirs.given_up);
}

fn same_experiment(
    (first, ours): (&str, &Report),
    (second, theirs): (&str, &Report),
) -> Result<(), Differs> {
    let names = (first, second);
    same(
        names,
        "settings",
        &ours.settings,
        &theirs.settings,
        VOLATILE_SETTINGS,
    )?;
    same(
        names,
        "environment",
        &ours.environment,
        &theirs.environment,
        VOLATILE_ENVIRONMENT,
    )?;
    same(names, "module", &ours.module, &theirs.module, &[])?;
    refuse(names, unlike(Machine::from(ours), Machine::from(theirs)))
}

/// Where each trial of all files stands.
#[derive(Default)]
struct Known {
    files: HashMap<(String, u32, u64), String>,
}

impl Known {
    fn add(&mut self, file: &str, report: &Report) -> Result<(), Differs> {
        let identity = report.identity();
        for (index, trial) in report.trials.iter().enumerate() {
            let key = identity_of(trial, &identity);
            if let Some(first) = self.files.insert(key, file.to_owned()) {
                return Err(Differs::Twice {
                    first,
                    second: file.to_owned(),
                    index,
                });
            }
        }
        Ok(())
    }
}

/// Run, index there and seed: the same in whatever report a trial stands.
fn identity_of(trial: &Trial, of_report: &str) -> (String, u32, u64) {
    match &trial.origin {
        Some(origin) => (origin.run_id.clone(), origin.index, trial.seed),
        None => (of_report.to_owned(), trial.index, trial.seed),
    }
}

/// Notes in each trial which run it is of.
fn name_origins(file: &str, report: &mut Report) -> Result<(), Differs> {
    let run_id = report.identity();
    let pooled = !report.merged_from.is_empty();
    for trial in &mut report.trials {
        if pooled && trial.origin.is_none() {
            return Err(Differs::Unnamed {
                file: file.to_owned(),
            });
        }
        let index = trial.index;
        trial.origin.get_or_insert_with(|| Origin {
            run_id: run_id.clone(),
            index,
        });
    }
    Ok(())
}

/// The runs that a report's trials are of: those that it pools, or itself.
fn sources_of(report: &mut Report, source: Source) -> Vec<Source> {
    let pooled = std::mem::take(&mut report.merged_from);
    if pooled.is_empty() {
        vec![source]
    } else {
        pooled
    }
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
/// The two must share settings and all of the machine, the module and the chaos
/// at work that matters to the race; their kernels must differ, which is the
/// point.
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
    let mut known = Known::default();
    known.add(control_file, &control)?;
    known.add(file, &report)?;
    refuse(
        names,
        forbids(Machine::from(&control), Machine::from(&report)),
    )?;
    report.terms.confidence = Some(confidence);
    report.baseline = Some(Run {
        source: Some(source),
        environment: control.environment,
        module: control.module,
        settings: control.settings,
        stats: RunStats::default(),
        trials: control.trials,
    });
    // All that the candidate's file says of itself is made anew.
    settle(&mut report);
    Ok(report)
}

/// A difference that forbids it, as an error.
fn refuse((first, second): (&str, &str), differs: Option<Difference>) -> Result<(), Differs> {
    match differs {
        None => Ok(()),
        Some(same) if same.field == SAME_IMAGE && same.first == same.second => {
            Err(Differs::SameKernel {
                first: first.to_owned(),
                second: second.to_owned(),
                field: SAME_IMAGE,
            })
        }
        Some(differs) => Err(Differs::Field {
            first: first.to_owned(),
            second: second.to_owned(),
            field: differs.field.to_owned(),
            first_value: differs.first,
            second_value: differs.second,
        }),
    }
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
