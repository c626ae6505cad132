//! All of a report that follows from its trials, made from them: statistics,
//! comparison, verdict, reason, assurance, exit code. Whoever writes a report
//! calls it after each trial, and `report validate` holds files to it.

use std::ops::RangeInclusive;

use super::comparison::{Question, compare};
use super::exploration::verdict_of_exploration;
use super::proof::verdict_of_proof;
use super::run_verdict::{Case, decide};
use super::trials::run_stats;
use crate::model::{ExitCode, Outcome, Report, Run, Trial, Verdict};

/// The confidences that a comparison is made at, in every command and report.
pub const CONFIDENCE: RangeInclusive<f64> = 0.5..=0.999_999;
/// The confidence of a comparison that was not told one.
const DEFAULT_CONFIDENCE: f64 = 0.999;

/// What is wrong with a confidence, in words.
pub fn check_confidence(confidence: f64) -> Result<(), String> {
    if CONFIDENCE.contains(&confidence) {
        return Ok(());
    }
    let (least, most) = (CONFIDENCE.start(), CONFIDENCE.end());
    Err(format!("{confidence} is not between {least} and {most}"))
}

/// Brings everything that follows from the trials up to date. While the run is
/// under way the log-rank test is left out: no verdict needs it.
///
/// Times that no statistic can be had of leave a baseline without a comparison,
/// and the verdict is broken.
pub fn settle(report: &mut Report) {
    report.stats = run_stats(&report.trials);
    if let Some(run) = &mut report.baseline {
        run.stats = run_stats(&run.trials);
    }
    let confidence = confidence(report);
    let question = report.baseline.as_ref().map(|run| Question {
        settings: &report.settings,
        baseline: &run.trials,
        candidate: &report.trials,
        confidence,
        log_rank_seed: report.complete.then_some(report.seed),
    });
    let compared = question.as_ref().map(compare).transpose();
    let refused = compared.as_ref().err().map(ToString::to_string);
    report.comparison = compared.unwrap_or_default();
    let decision = decide(&Case {
        refused: refused.as_deref(),
        ..Case::of(report)
    });
    report.verdict = decision.verdict;
    report.verdict_reason = decision.reason;
    report.assurance = decision.assurance;
    if let Some(proof) = &report.prove {
        (report.verdict, report.verdict_reason) = verdict_of_proof(proof, report.complete);
    }
    if let Some(explored) = &report.explore {
        (report.verdict, report.verdict_reason) = verdict_of_exploration(explored, report.complete);
    }
}

/// The confidence of a report's comparison; older reports say it there alone.
fn confidence(report: &Report) -> f64 {
    let made = report.comparison.as_ref().map(|made| made.confidence);
    report
        .terms
        .confidence
        .or(made)
        .unwrap_or(DEFAULT_CONFIDENCE)
}

/// What scripts see of a report.
pub fn exit_code(report: &Report) -> ExitCode {
    if !report.complete {
        return ExitCode::Interrupted;
    }
    let forced = report.prove.is_some() || report.explore.is_some();
    if report.verdict == Verdict::Inconclusive && !forced && states_alone(report) {
        return ExitCode::Survived;
    }
    let unsupported = |trial: &Trial| trial.outcome == Outcome::Unsupported;
    let baseline = report.baseline.iter().flat_map(|run: &Run| &run.trials);
    ExitCode::of(
        report.verdict,
        report.trials.iter().chain(baseline).any(unsupported),
    )
}

/// Whether the states were all that was asked for, and all of them were seen.
fn states_alone(report: &Report) -> bool {
    Case::of(report).looks_at_states_alone() && !report.terms.states_incomplete
}
