//! From the bytes of a file to a report that can be trusted to be one: JSON,
//! ours, of a schema that we know, every field of its type, every time a time.
//! Whether its derived numbers are right is for `validate`.

use serde_json::Value;
use serde_json::error::Category;
use thiserror::Error;

use crate::model::{MAX_SEED, Outcome, Report, Trial};
use crate::verdict::check_confidence;

/// The newest schema that this version reads.
const NEWEST: u32 = 1;
/// The largest count of a trial: 2^53 of them would take a fast machine a year,
/// and not every reader of JSON keeps more.
const MOST: u64 = 1 << 53;
const FAMILY: &str = "modrace/report/";

/// Why a file is no report. Each names the file, and the field if there is one.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It ends in the middle.
    #[error("{file}: cut off at line {line}: the JSON does not end")]
    Truncated {
        /// The file.
        file: String,
        /// Its last line.
        line: usize,
    },
    /// It is not JSON.
    #[error("{file}: not JSON")]
    NotJson {
        /// The file.
        file: String,
        /// What and where.
        source: serde_json::Error,
    },
    /// JSON of someone else.
    #[error("{file}: schema: {found}; a report of modrace has \"modrace/report/1\"")]
    Foreign {
        /// The file.
        file: String,
        /// What stands there.
        found: String,
    },
    /// Written by a later version.
    #[error(
        "{file}: schema: \"{found}\" is from a later modrace; this one reads up to \
         modrace/report/1"
    )]
    Future {
        /// The file.
        file: String,
        /// Its schema.
        found: String,
    },
    /// A field is missing or of the wrong type.
    #[error("{file}: {field}")]
    Field {
        /// The file.
        file: String,
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A field has a value that cannot be.
    #[error("{file}: {field}: {problem}")]
    Value {
        /// The file.
        file: String,
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a report. `file` is its name, for errors.
pub fn read(file: &str, bytes: &[u8]) -> Result<Report, ReadError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|source| {
        let file = file.to_owned();
        if source.classify() == Category::Eof {
            ReadError::Truncated {
                file,
                line: source.line(),
            }
        } else {
            ReadError::NotJson { file, source }
        }
    })?;
    check_schema(file, &value)?;
    let report: Report =
        serde_path_to_error::deserialize(value).map_err(|error| ReadError::Field {
            file: file.to_owned(),
            field: error.path().to_string(),
            source: error.into_inner(),
        })?;
    match first_problem(&report) {
        None => Ok(report),
        Some((field, problem)) => Err(ReadError::Value {
            file: file.to_owned(),
            field,
            problem,
        }),
    }
}

fn check_schema(file: &str, value: &Value) -> Result<(), ReadError> {
    let foreign = |found: String| ReadError::Foreign {
        file: file.to_owned(),
        found,
    };
    let schema = match value.get("schema") {
        None => return Err(foreign("missing".to_owned())),
        Some(Value::String(schema)) => schema,
        Some(other) => return Err(foreign(other.to_string())),
    };
    let version = schema
        .strip_prefix(FAMILY)
        .and_then(|version| version.parse::<u32>().ok())
        .filter(|&version| version > 0)
        .ok_or_else(|| foreign(format!("\"{schema}\"")))?;
    if version > NEWEST {
        return Err(ReadError::Future {
            file: file.to_owned(),
            found: schema.clone(),
        });
    }
    Ok(())
}

/// The first value that no run can have, with the path of its field.
fn first_problem(report: &Report) -> Option<(String, String)> {
    let baseline = report.baseline.as_ref();
    let runs = [
        ("", Some((&report.trials, &report.settings))),
        (
            "baseline.",
            baseline.map(|run| (&run.trials, &run.settings)),
        ),
    ];
    if report.seed > MAX_SEED {
        return Some(("seed".to_owned(), seed_problem(report.seed)));
    }
    for (at, run) in runs {
        let Some((trials, settings)) = run else {
            continue;
        };
        if let Some(problem) = time_problem(settings.duration_s) {
            return Some((format!("{at}settings.duration_s"), problem));
        }
        for (i, trial) in trials.iter().enumerate() {
            if let Some((field, problem)) = trial_problem(trial) {
                return Some((format!("{at}trials[{i}].{field}"), problem));
            }
            if trials[..i].iter().any(|other| other.index == trial.index) {
                let problem = format!("{} stands twice", trial.index);
                return Some((format!("{at}trials[{i}].index"), problem));
            }
        }
    }
    let made = report.comparison.as_ref().map(|made| made.confidence);
    for (field, confidence) in [
        ("comparison.confidence", made),
        ("terms.confidence", report.terms.confidence),
    ] {
        if let Some(Err(problem)) = confidence.map(check_confidence) {
            return Some((field.to_owned(), problem));
        }
    }
    if report.comparison.is_some() && baseline.is_none() {
        let problem = "a comparison without the baseline's trials".to_owned();
        return Some(("baseline".to_owned(), problem));
    }
    None
}

fn trial_problem(trial: &Trial) -> Option<(&'static str, String)> {
    let bounds = trial.time_to_crash_bounds_s;
    let times = [
        ("exposure_s", Some(trial.exposure_s)),
        ("wall_s", Some(trial.wall_s)),
        ("time_to_crash_s", trial.time_to_crash_s),
        (
            "time_to_crash_bounds_s.low",
            bounds.map(|bounds| bounds.low),
        ),
        (
            "time_to_crash_bounds_s.high",
            bounds.and_then(|bounds| bounds.high),
        ),
    ];
    for (field, time) in times {
        if let Some(problem) = time.and_then(time_problem) {
            return Some((field, problem));
        }
    }
    if trial.seed > MAX_SEED {
        return Some(("seed", seed_problem(trial.seed)));
    }
    let counts = [
        ("cycles", trial.cycles),
        ("reads", trial.reads),
        (
            "counters.lines.near_misses",
            trial.counters.lines.near_misses,
        ),
        ("cycles_to_crash", trial.cycles_to_crash.unwrap_or(0)),
    ];
    if let Some((field, count)) = counts.into_iter().find(|(_, count)| *count > MOST) {
        return Some((field, format!("{count} is more than any trial can count")));
    }
    let crashed = trial.outcome == Outcome::Crashed;
    if crashed && trial.time_to_crash_s.is_none() && !trial.phase.is_before_race() {
        return Some((
            "time_to_crash_s",
            "missing from a trial that crashed".to_owned(),
        ));
    }
    let stands = [
        ("time_to_crash_s", trial.time_to_crash_s.is_some()),
        ("cycles_to_crash", trial.cycles_to_crash.is_some()),
    ];
    let wrong = stands.into_iter().find(|(_, there)| *there && !crashed);
    wrong.map(|(field, _)| {
        let outcome = trial.outcome.as_str();
        (
            field,
            format!("stands in a trial whose outcome is {outcome}"),
        )
    })
}

/// JSON has no NaN, and a number too large for a double fails to parse; what is
/// left is the sign.
fn time_problem(time: f64) -> Option<String> {
    (!time.is_finite() || time < 0.0).then(|| format!("{time} s is no time"))
}

fn seed_problem(seed: u64) -> String {
    format!("{seed} is above 2^53 - 1, which not every reader of JSON keeps whole")
}
