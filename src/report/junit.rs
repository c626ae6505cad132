//! Format `junit`: for CI servers. One suite for each run, one case for each
//! trial, one for the verdict. "Failure" is the kernel's, "error" is ours or
//! means that nothing was shown.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite, XmlString,
};

use super::at_panic;
use super::excerpt;
use super::metadata::{self, Side};
use super::{Format, RenderError};
use crate::model::{Outcome, Report, Trial, Verdict};

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "junit",
    help: "JUnit XML for CI servers",
    extension: "xml",
    render,
};

fn render(report: &Report) -> Result<String, RenderError> {
    let mut junit = Junit::new("modrace");
    for (i, side) in metadata::sides(report).iter().enumerate() {
        junit.add_test_suite(suite(side, i > 0));
    }
    let mut verdict = TestSuite::new("modrace.verdict");
    let status = match report.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => bad(NonSuccessKind::Failure, "fail", &report.verdict_reason),
        Verdict::Inconclusive => bad(
            NonSuccessKind::Error,
            "inconclusive",
            &report.verdict_reason,
        ),
        Verdict::Broken => bad(NonSuccessKind::Error, "broken", &report.verdict_reason),
    };
    let mut case = TestCase::new("verdict", status);
    case.set_classname("modrace.verdict");
    case.add_property(("assurance", report.assurance.as_str()));
    case.set_system_out(format!(
        "{}: {}",
        metadata::headline(report),
        report.verdict_reason
    ));
    verdict.add_test_case(case);
    junit.add_test_suite(verdict);
    Ok(junit.to_string()?)
}

fn suite(side: &Side, is_control: bool) -> TestSuite {
    let mut suite = TestSuite::new(format!("modrace.{}", side.name));
    for (label, value) in metadata::kernel_rows(side.environment) {
        suite.add_property((label, value.as_str()));
    }
    for trial in side.trials {
        suite.add_test_case(case(trial, side.name, is_control));
    }
    suite
}

fn case(trial: &Trial, side: &str, is_control: bool) -> TestCase {
    let told = trial
        .crash
        .as_ref()
        .map_or(&trial.reason, |crash| &crash.title);
    let status = match trial.outcome {
        Outcome::Survived => TestCaseStatus::success(),
        // A baseline is there to crash.
        Outcome::Crashed | Outcome::Hung if is_control => TestCaseStatus::success(),
        Outcome::Crashed | Outcome::Hung => {
            bad(NonSuccessKind::Failure, trial.outcome.as_str(), told)
        }
        Outcome::Died | Outcome::Broken => bad(NonSuccessKind::Error, trial.outcome.as_str(), told),
        Outcome::Unsupported => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(told.as_str());
            skipped
        }
    };
    let mut case = TestCase::new(format!("trial {}", trial.index), status);
    case.set_classname(format!("modrace.{side}"));
    if let Ok(time) = Duration::try_from_secs_f64(trial.exposure_s) {
        case.set_time(time);
    }
    case.add_property(("seed", trial.seed.to_string().as_str()));
    case.add_property(("cycles", trial.cycles.to_string().as_str()));
    case.add_property(("reads", trial.reads.to_string().as_str()));
    for warning in &trial.warnings {
        let told = format!("{} ({})", warning.title, warning.count);
        case.add_property(("warning", told.as_str()));
    }
    if let Some(crash) = &trial.crash {
        let mut lines = excerpt::trim(crash, usize::MAX);
        lines.extend(at_panic::of_trial(trial));
        case.set_system_out(lines.join("\n"));
    }
    case
}

fn bad(kind: NonSuccessKind, what: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(what);
    status.set_message(XmlString::new(message));
    status
}
