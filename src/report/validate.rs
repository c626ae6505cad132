//! Recomputes what a report derives from its trials, and names each field that
//! differs. Statistics, comparison, verdict, reason and assurance are made by
//! the one function that made them when the report was written; what this finds
//! is an edited file, a bug of another version, or trials that were lost. What
//! no run can have is told as well, where the rest of the file shows it.

mod states;
mod trial;

use serde_json::Value;

use crate::model::{Domain, Report, Trial, derive};
use crate::verdict::settle;

/// Two numbers closer than this share are the same: the last digits of a sum
/// are the machine's.
const TOLERANCE: f64 = 1e-9;

/// A field that does not follow from the trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Its path.
    pub field: String,
    /// What the file says.
    pub stored: String,
    /// What the trials say.
    pub recomputed: String,
}

impl Mismatch {
    #[allow(
        clippy::needless_pass_by_value,
        reason = "numbers are given as they are"
    )]
    fn new(field: impl Into<String>, stored: impl ToString, recomputed: impl ToString) -> Self {
        Self {
            field: field.into(),
            stored: stored.to_string(),
            recomputed: recomputed.to_string(),
        }
    }
}

/// Every derived field that is wrong; empty for a sound report.
pub fn validate(report: &Report) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let mut recomputed = report.clone();
    settle(&mut recomputed);
    compare_values(
        "stats",
        &value(&report.stats),
        &value(&recomputed.stats),
        &mut found,
    );
    if let (Some(stored), Some(made)) = (&report.baseline, &recomputed.baseline) {
        compare_values(
            "baseline.stats",
            &value(&stored.stats),
            &value(&made.stats),
            &mut found,
        );
    }
    compare_values(
        "comparison",
        &value(&report.comparison),
        &value(&recomputed.comparison),
        &mut found,
    );
    let derived = [
        (
            "verdict",
            report.verdict.as_str(),
            recomputed.verdict.as_str(),
        ),
        (
            "verdict_reason",
            &report.verdict_reason,
            &recomputed.verdict_reason,
        ),
        (
            "assurance",
            report.assurance.as_str(),
            recomputed.assurance.as_str(),
        ),
    ];
    for (field, stored, made) in derived {
        if stored != made {
            found.push(Mismatch::new(field, stored, made));
        }
    }
    found.extend(states::check(report));
    for (at, trials, settings) in runs(report) {
        for (i, one) in trials.iter().enumerate() {
            let wrong = trial::check(one, settings.duration_s);
            found.extend(wrong.into_iter().map(|wrong| Mismatch {
                field: format!("{at}trials[{i}].{}", wrong.field),
                ..wrong
            }));
        }
    }
    check_seeds(report, &mut found);
    found
}

fn runs(report: &Report) -> impl Iterator<Item = (&str, &[Trial], &crate::model::Settings)> {
    let own = ("", report.trials.as_slice(), &report.settings);
    let baseline = report.baseline.as_ref();
    let baseline = baseline.map(|run| ("baseline.", run.trials.as_slice(), &run.settings));
    std::iter::once(own).chain(baseline)
}

/// Each trial's seed derives from that of the run that it was made in: this one,
/// or of pooled trials, one of those that are named.
fn check_seeds(report: &Report, found: &mut Vec<Mismatch>) {
    let mut seeds: Vec<(String, u64)> = vec![(report.identity(), report.seed)];
    seeds.extend(
        report
            .merged_from
            .iter()
            .map(|source| (source.identity(), source.seed)),
    );
    let mut check = |at: &str, seed: Option<u64>, trials: &[Trial]| {
        for (i, trial) in trials.iter().enumerate() {
            let of_run = match &trial.origin {
                None => seed.map(|seed| (seed, trial.index)),
                Some(origin) => {
                    let known = seeds.iter().find(|(run, _)| *run == origin.run_id);
                    if known.is_none() && !report.merged_from.is_empty() {
                        let field = format!("{at}trials[{i}].origin.run_id");
                        let none = "none of the reports in merged_from";
                        found.push(Mismatch::new(field, &origin.run_id, none));
                    }
                    known.map(|(_, seed)| (*seed, origin.index))
                }
            };
            let expected = of_run.map(|(seed, index)| derive(seed, Domain::Trial, index.into()));
            if let Some(expected) = expected.filter(|&expected| expected != trial.seed) {
                let field = format!("{at}trials[{i}].seed");
                found.push(Mismatch::new(field, trial.seed, expected));
            }
        }
    };
    // Older versions pooled trials without a note of their runs.
    let own = Some(report.seed).filter(|_| report.merged_from.is_empty());
    check("", own, &report.trials);
    if let Some(run) = &report.baseline {
        let seed = run
            .source
            .as_ref()
            .map_or(report.seed, |source| source.seed);
        check("baseline.", Some(seed), &run.trials);
    }
}

fn value(of: &impl serde::Serialize) -> Value {
    // Records hold nothing that JSON cannot.
    serde_json::to_value(of).unwrap_or(Value::Null)
}

/// Walks both; what only the recomputed side has is a field that an older
/// version did not write. A record that is missing as a whole is not.
fn compare_values(at: &str, stored: &Value, recomputed: &Value, found: &mut Vec<Mismatch>) {
    match (stored, recomputed) {
        (Value::Object(stored), Value::Object(recomputed)) => {
            for (key, stored) in stored {
                let recomputed = recomputed.get(key).unwrap_or(&Value::Null);
                compare_values(&format!("{at}.{key}"), stored, recomputed, found);
            }
        }
        (Value::Array(stored), Value::Array(recomputed)) if stored.len() == recomputed.len() => {
            for (i, (stored, recomputed)) in stored.iter().zip(recomputed).enumerate() {
                compare_values(&format!("{at}[{i}]"), stored, recomputed, found);
            }
        }
        (Value::Number(a), Value::Number(b)) if near(a.as_f64(), b.as_f64()) => {}
        (a, b) if a == b => {}
        (a, b) => found.push(Mismatch::new(at, brief(a), brief(b))),
    }
}

/// A record in a word: its fields are many.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(fields) => format!("a record of {} fields", fields.len()),
        Value::Null => "nothing".to_owned(),
        other => other.to_string(),
    }
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return false;
    };
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}
