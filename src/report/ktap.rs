//! Format `ktap`: the kernel's own test protocol (Documentation/dev-tools/
//! ktap.rst), as `tools/testing/kunit/kunit.py parse` reads it. One suite for
//! each run with a line for each trial, and a last line for the verdict.
//!
//! KTAP knows no "inconclusive". It is `not ok` here: who only looks at the
//! colour must not take it for a pass.

use super::at_panic;
use super::excerpt::ascii;
use super::metadata::{self, Side};
use super::{Format, RenderError};
use crate::model::{Outcome, Report, Verdict};

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "ktap",
    help: "Kernel TAP, for kunit.py and CI",
    extension: "ktap",
    render,
};

fn render(report: &Report) -> Result<String, RenderError> {
    let sides = metadata::sides(report);
    let mut out = format!("KTAP version 1\n1..{}\n", sides.len() + 1);
    for (number, side) in sides.iter().enumerate() {
        suite(&mut out, number + 1, side);
    }
    out.push_str(&format!("# {}\n", one_line(&metadata::headline(report))));
    out.push_str(&format!("# {}\n", one_line(&report.verdict_reason)));
    out.push_str(&format!("# assurance: {}\n", report.assurance.as_str()));
    let ok = if report.verdict == Verdict::Pass {
        "ok"
    } else {
        "not ok"
    };
    out.push_str(&format!("{ok} {} verdict\n", sides.len() + 1));
    Ok(out)
}

/// A baseline is there to crash: its suite is `ok` when it did, and its trials
/// are `ok` whatever they did, unless they say nothing.
fn suite(out: &mut String, number: usize, side: &Side) {
    let is_control = number > 1;
    out.push_str("    KTAP version 1\n");
    out.push_str(&format!("    # Subtest: {}\n", side.name));
    out.push_str(&format!("    1..{}\n", side.trials.len()));
    let mut all_ok = true;
    for (i, trial) in side.trials.iter().enumerate() {
        let (ok, directive) = match trial.outcome {
            Outcome::Survived => (true, String::new()),
            Outcome::Crashed | Outcome::Hung => (is_control, String::new()),
            Outcome::Died | Outcome::Broken => (false, String::new()),
            Outcome::Unsupported => (true, format!(" # SKIP {}", one_line(&trial.reason))),
        };
        all_ok &= ok;
        let what = trial
            .crash
            .as_ref()
            .map_or(&trial.reason, |crash| &crash.title);
        out.push_str(&format!(
            "    # {} after {:.6} s: {}\n",
            trial.outcome.as_str(),
            trial.time_to_crash_s.unwrap_or(trial.exposure_s),
            one_line(what)
        ));
        for line in at_panic::of_trial(trial) {
            out.push_str(&format!("    # {}\n", one_line(&line)));
        }
        for warning in &trial.warnings {
            out.push_str(&format!(
                "    # warning: {}, {} in this trial\n",
                one_line(&warning.title),
                warning.count
            ));
        }
        out.push_str(&format!(
            "    {} {} trial_{}{directive}\n",
            if ok { "ok" } else { "not ok" },
            i + 1,
            trial.index
        ));
    }
    if is_control {
        all_ok &= side.stats.crashes > 0;
    }
    out.push_str(&format!(
        "{} {number} {}{}\n",
        if all_ok { "ok" } else { "not ok" },
        side.name,
        if side.trials.is_empty() {
            " # SKIP no trial"
        } else {
            ""
        }
    ));
}

/// `#` begins a directive, and a line break ends the line.
fn one_line(text: &str) -> String {
    ascii(text).replace('#', "?")
}
