//! Recomputes what a report derives from its trials, and names each field that
//! differs. The statistics are computed by the code that wrote them; what this
//! finds is an edited file, a bug of another version, or trials that were lost.

use serde_json::Value;

use crate::model::{Proof, Report, Trial, Verdict, trial_seed};
use crate::verdict::{compare, run_stats, verdict_of_proof, verdict_of_run};

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

/// Every derived field that is wrong; empty for a sound report.
pub fn validate(report: &Report) -> Vec<Mismatch> {
    let mut found = Vec::new();
    compare_values(
        "stats",
        &value(&report.stats),
        &value(&run_stats(&report.trials)),
        &mut found,
    );
    if let Some(run) = &report.baseline {
        let recomputed = value(&run_stats(&run.trials));
        compare_values(
            "baseline.stats",
            &value(&run.stats),
            &recomputed,
            &mut found,
        );
    }
    if let (Some(stored), Some(run)) = (&report.comparison, &report.baseline) {
        let seed = stored.log_rank.map_or(report.seed, |test| test.seed);
        match compare(&run.trials, &report.trials, stored.confidence, seed) {
            Ok(recomputed) => {
                compare_values(
                    "comparison",
                    &value(stored),
                    &value(&recomputed),
                    &mut found,
                );
            }
            Err(error) => found.push(Mismatch {
                field: "comparison".to_owned(),
                stored: stored.conclusion.as_str().to_owned(),
                recomputed: error.to_string(),
            }),
        }
    }
    check_verdict(report, &mut found);
    check_seeds(report, &mut found);
    found
}

/// The verdict must follow from the trials, and from the comparison if there is
/// one. What else goes into it (a kernel that could not be raced) can only weaken
/// it.
fn check_verdict(report: &Report, found: &mut Vec<Mismatch>) {
    if let Some(proof) = &report.prove {
        return check_proof(report, proof, found);
    }
    let (best, _) = verdict_of_run(
        &report.settings,
        &report.trials,
        &report.states,
        report.complete,
        report.comparison.as_ref(),
    );
    let sound = match report.verdict {
        Verdict::Pass => best == Verdict::Pass,
        Verdict::Fail => best == Verdict::Fail,
        Verdict::Inconclusive | Verdict::Broken => best != Verdict::Fail,
    };
    if sound {
        return;
    }
    found.push(Mismatch {
        field: "verdict".to_owned(),
        stored: report.verdict.as_str().to_owned(),
        recomputed: best.as_str().to_owned(),
    });
}

/// A proof's verdict follows from its schedules, with the sentence that says why.
fn check_proof(report: &Report, proof: &Proof, found: &mut Vec<Mismatch>) {
    let (verdict, reason) = verdict_of_proof(proof, report.complete);
    let mut check = |field: &str, stored: &str, recomputed: &str| {
        if stored != recomputed {
            found.push(Mismatch {
                field: field.to_owned(),
                stored: stored.to_owned(),
                recomputed: recomputed.to_owned(),
            });
        }
    };
    check("verdict", report.verdict.as_str(), verdict.as_str());
    check("verdict_reason", &report.verdict_reason, &reason);
}

/// Each trial's seed derives from the run's. Pooled trials keep the seeds of
/// their own runs.
fn check_seeds(report: &Report, found: &mut Vec<Mismatch>) {
    if !report.merged_from.is_empty() {
        return;
    }
    let mut check = |at: &str, seed: u64, trials: &[Trial]| {
        for (i, trial) in trials.iter().enumerate() {
            let expected = trial_seed(seed, trial.index);
            if trial.seed != expected {
                found.push(Mismatch {
                    field: format!("{at}trials[{i}].seed"),
                    stored: trial.seed.to_string(),
                    recomputed: expected.to_string(),
                });
            }
        }
    };
    check("", report.seed, &report.trials);
    // A control may itself be pooled, and then its seeds are not known here.
    if let Some(run) = report.baseline.as_ref().filter(|run| run.source.is_none()) {
        check("baseline.", report.seed, &run.trials);
    }
}

fn value(of: &impl serde::Serialize) -> Value {
    // Records hold nothing that JSON cannot.
    serde_json::to_value(of).unwrap_or(Value::Null)
}

/// Walks both; what only the recomputed side has is a field that an older
/// version did not write.
fn compare_values(at: &str, stored: &Value, recomputed: &Value, found: &mut Vec<Mismatch>) {
    match (stored, recomputed) {
        (Value::Object(stored), Value::Object(recomputed)) => {
            for (key, stored) in stored {
                let recomputed = recomputed.get(key).unwrap_or(&Value::Null);
                compare_values(&format!("{at}.{key}"), stored, recomputed, found);
            }
        }
        (Value::Number(a), Value::Number(b)) if near(a.as_f64(), b.as_f64()) => {}
        (a, b) if a == b => {}
        (a, b) => found.push(Mismatch {
            field: at.to_owned(),
            stored: a.to_string(),
            recomputed: b.to_string(),
        }),
    }
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return false;
    };
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}
