//! Format `kcidb`: for `KernelCI`'s database, I/O schema 5.3. One checkout,
//! build and test for each kernel; the test's status is the verdict's.
//!
//! Every kernel is told apart by what it is, not by when it was tested: its
//! identifiers derive from its hashes, so that two runs on one kernel meet.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::excerpt;
use super::metadata::{self, Side};
use super::{Format, RenderError};
use crate::build::config::hex;
use crate::model::{Report, Verdict};
use crate::verdict::warnings;

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "kcidb",
    help: "KernelCI's database, I/O schema 5.3",
    extension: "kcidb.json",
    render,
};

/// The submitter's name; a CI system replaces it by its own.
const ORIGIN: &str = "modrace";
/// The schema's own limit on an excerpt, characters.
const LONGEST_EXCERPT: usize = 16_384;

fn render(report: &Report) -> Result<String, RenderError> {
    let sides = metadata::sides(report);
    let made: Vec<Objects> = sides
        .iter()
        .enumerate()
        .map(|(i, side)| objects(report, side, i > 0))
        .collect::<Result<_, _>>()?;
    let mut out = Map::new();
    out.insert("version".to_owned(), json!({"major": 5, "minor": 3}));
    // Two runs on one kernel share checkout and build; identifiers are unique.
    let mut unique = |name: &str, of: fn(&Objects) -> &Value| {
        let mut list: Vec<Value> = Vec::new();
        for object in made.iter().map(of) {
            if !list.iter().any(|seen| seen["id"] == object["id"]) {
                list.push(object.clone());
            }
        }
        out.insert(name.to_owned(), Value::Array(list));
    };
    unique("checkouts", |objects| &objects.checkout);
    unique("builds", |objects| &objects.build);
    unique("tests", |objects| &objects.test);
    let mut text = serde_json::to_string_pretty(&Value::Object(out))?;
    text.push('\n');
    Ok(text)
}

struct Objects {
    checkout: Value,
    build: Value,
    test: Value,
}

fn objects(report: &Report, side: &Side, is_control: bool) -> Result<Objects, RenderError> {
    let kernel = &side.environment.kernel;
    let identity = serde_json::to_string(kernel)?;
    let checkout_id = id("checkout", &[&identity]);
    let build_id = id("build", &[&identity]);
    let seed = report.seed.to_string();
    let test_id = id("test", &[&identity, side.name, &report.started, &seed]);
    let checkout = json!({
        "id": checkout_id,
        "origin": ORIGIN,
        "comment": kernel.provenance.as_deref().unwrap_or(&kernel.name),
        "valid": true,
    });
    let mut build = json!({
        "id": build_id,
        "checkout_id": checkout_id,
        "origin": ORIGIN,
        "comment": metadata::release(side.environment),
        "architecture": "x86_64",
        "status": "PASS",
        "misc": {"kernel": kernel},
    });
    if let Some(compiler) = &kernel.compiler {
        build["compiler"] = json!(compiler);
    }
    let mut test = json!({
        "id": test_id,
        "build_id": build_id,
        "origin": ORIGIN,
        "path": if is_control {
            "modrace.baseline".to_owned()
        } else {
            format!("modrace.{}", word(&report.settings.target))
        },
        "comment": if is_control {
            format!("{} of {} trials crashed", side.stats.crashes, side.trials.len())
        } else {
            format!("{}: {}", metadata::headline(report), report.verdict_reason)
        },
        "status": if is_control { "DONE" } else { status(report.verdict) },
        "start_time": report.started,
        "duration": side.trials.iter().map(|trial| trial.wall_s).sum::<f64>(),
        "environment": {
            "comment": side.environment.cpu_model.as_deref().unwrap_or("unknown CPU"),
            "misc": side.environment,
        },
        "misc": {
            "command": report.command,
            "seed": report.seed,
            "stats": side.stats,
            "assurance": if is_control { None } else { Some(report.assurance) },
            "warnings": warnings(side.trials)
                .into_iter()
                .map(|sum| json!({"title": sum.title, "count": sum.count, "trials": sum.trials, "line": sum.line}))
                .collect::<Vec<_>>(),
            "comparison": if is_control { None } else { report.comparison.as_ref() },
        },
    });
    let crash = side.trials.iter().find_map(|trial| trial.crash.as_ref());
    if let Some(crash) = crash {
        let excerpt = excerpt::trim(crash, 1000).join("\n");
        test["log_excerpt"] = json!(excerpt.chars().take(LONGEST_EXCERPT).collect::<String>());
    }
    Ok(Objects {
        checkout,
        build,
        test,
    })
}

/// A target as a part of a test's path, which is made of words and dots.
fn word(target: &str) -> String {
    target
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

fn status(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        // "completed and had not reported the status of the tested code"
        Verdict::Inconclusive => "DONE",
        Verdict::Broken => "ERROR",
    }
}

fn id(kind: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    hash.update(kind);
    for part in parts {
        hash.update([0]);
        hash.update(part);
    }
    let digest = hex(&hash.finalize()[..16]);
    format!("{ORIGIN}:{kind}_{digest}")
}
