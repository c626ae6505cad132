//! What every format says of a comparison's statistics, and what it says was
//! not shown, so that nobody reads more into a run than there is.

use super::metadata::{Rows, no_result, sides};
use crate::model::{Comparison, ModuleRecord, Oracle, Report, Verdict};
use crate::verdict::format::{p_value, percent, seconds, significant};
use crate::verdict::{Machine, may_matter};

/// The statistics of a comparison.
#[allow(clippy::too_many_lines, reason = "a table, row by row")]
pub(super) fn rows(comparison: &Comparison) -> Rows {
    let mut rows = Rows::new();
    let of = &comparison.seconds;
    if let Some(needed) = of.needed {
        let had = seconds(of.candidate_exposure);
        rows.push((
            "exposure needed",
            format!("{} (had {had})", seconds(needed)),
        ));
    }
    if let Some(p) = of.p_value {
        rows.push(("by seconds", p_value(p)));
    }
    if let Some(cycles) = &comparison.cycles {
        if let Some(needed) = cycles.needed {
            let text = format!(
                "{:.0} (had {:.0})",
                needed.ceil(),
                cycles.candidate_exposure
            );
            rows.push(("cycles needed", text));
        }
        if let Some(p) = cycles.p_value {
            rows.push(("by cycles", p_value(p)));
        }
    }
    let fisher = &comparison.fisher;
    rows.push((
        "Fisher's exact test",
        format!(
            "{}/{} against {}/{} trials crashed{}, {}",
            fisher.baseline_crashed,
            fisher.baseline_trials,
            fisher.candidate_crashed,
            fisher.candidate_trials,
            if fisher.baseline_crashed > 0 {
                " (of those as long as the slowest crash)"
            } else {
                ""
            },
            p_value(fisher.p_value)
        ),
    ));
    if let Some(p) = fisher.sequential_p {
        let needed = fisher
            .needed_trials
            .map_or_else(|| "no number".to_owned(), |needed| needed.to_string());
        let clean = fisher.candidate_trials - fisher.candidate_crashed;
        rows.push((
            "whole trials",
            format!("{clean} clean ({needed} needed), {}", p_value(p)),
        ));
    }
    if let Some(found) = &comparison.near_misses {
        let of = |hits: u64, cycles: u64| format!("{hits} in {cycles}");
        let text = format!(
            "{} against {} cycles, {}",
            of(found.baseline, found.baseline_cycles),
            of(found.candidate, found.candidate_cycles),
            found
                .p_value
                .map_or_else(|| "not comparable".to_owned(), p_value)
        );
        rows.push(("near misses", text));
        let needed = found
            .needed_boots
            .map_or_else(|| "no number".to_owned(), |needed| needed.to_string());
        rows.push((
            "boots with near misses",
            format!(
                "{} of {} against 0 of {} ({needed} needed){}",
                found.baseline_boots_hit,
                found.baseline_boots,
                found.candidate_boots_clean,
                found
                    .boots_p
                    .map_or(String::new(), |p| format!(", {}", p_value(p)))
            ),
        ));
    }
    if let Some(text) = rarest(comparison) {
        rows.push(("would have found", text));
    }
    if let Some(test) = &comparison.log_rank {
        let how = if test.exhaustive { "all" } else { "random" };
        rows.push((
            "log-rank test",
            format!(
                "{} ({} {how} relabellings)",
                p_value(test.permutation_p),
                test.permutations
            ),
        ));
    }
    for (label, evidence) in [
        ("exponential, seconds", Some(of)),
        ("exponential, cycles", comparison.cycles.as_ref()),
    ] {
        let Some(evidence) = evidence else { continue };
        let text = match &evidence.exponentiality {
            None => "too few crashes to test".to_owned(),
            Some(test) => format!(
                "{}, Weibull shape {}, {}",
                if test.rejected {
                    "rejected"
                } else {
                    "not rejected"
                },
                significant(test.shape, 3),
                p_value(test.p_value)
            ),
        };
        rows.push((label, text));
    }
    rows
}

/// The rarest bug that the clean cycles would have found.
fn rarest(comparison: &Comparison) -> Option<String> {
    let found = comparison.detectable.iter();
    let told: Vec<String> = found
        .filter(|found| found.once_in >= 1.0)
        .map(|found| {
            // Rounded down: a bound must not grow on the way to paper.
            let once_in = found.once_in.floor();
            format!("once in {once_in} with {}", percent(found.probability))
        })
        .collect();
    (!told.is_empty()).then(|| format!("a fault in some cycles only: {}", told.join(", ")))
}

/// What the run did not show, so that nobody reads more into it.
pub(super) fn not_shown(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(target) = report.settings.other_target() {
        lines.push(format!(
            "Anything about the BUG in module_flags(): the readers read {target}, and never \
             called m_show()."
        ));
    }
    let untainted = |module: &ModuleRecord| module.taints.is_empty();
    if report.module.as_ref().is_some_and(untainted) {
        let line = match report.settings.oracle {
            Oracle::Crash => {
                "Anything about the BUG: m_show() looks at the state of tainted modules only, \
                 and this module was not tainted."
            }
            Oracle::NearMiss => {
                "The crash itself: near misses are counted on an untainted twin of the module, \
                 which cannot reach the BUG."
            }
        };
        lines.push(line.to_owned());
    }
    match &report.comparison {
        Some(comparison) => not_shown_by(comparison, &mut lines),
        None if report.verdict != Verdict::Fail => {
            lines.push(
                "That the race can be hit here at all: no kernel that crashes was run on the \
                 same settings (no positive control)."
                    .to_owned(),
            );
            if let Some(bound) = report.stats.mean_above_s {
                lines.push(format!(
                    "That there is no race: one that takes {} of exposure or more on average \
                     would have been missed once in twenty times.",
                    seconds(bound)
                ));
            }
        }
        None => {}
    }
    if let Some(run) = &report.baseline {
        let (ours, theirs) = (Machine::from(report), Machine::from(run));
        for differs in may_matter(theirs, ours) {
            lines.push(format!(
                "That nothing else made the difference: {} is {} on the {}, {} on the candidate.",
                differs.field,
                brief(&differs.first),
                if run.source.is_some() {
                    "control"
                } else {
                    "baseline"
                },
                brief(&differs.second)
            ));
        }
        if let Some(source) = &run.source {
            lines.push(format!(
                "That the machine was as busy as in the control, which ran at another time: {}.",
                source.started
            ));
        }
    }
    for side in sides(report) {
        match no_result(&side) {
            0 => {}
            1 => lines.push(format!(
                "Anything by 1 trial of the {}: it broke.",
                side.name
            )),
            n => lines.push(format!(
                "Anything by {n} trials of the {}: they broke.",
                side.name
            )),
        }
    }
    if !report.complete {
        lines.push("All that was planned: the run was cut short.".to_owned());
    }
    lines.push("Anything about other configurations, machines or settings than these.".to_owned());
    lines
}

/// A hash by its beginning.
fn brief(value: &str) -> String {
    let is_hash = value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash {
        format!("{}...", &value[..12])
    } else {
        value.to_owned()
    }
}

fn not_shown_by(comparison: &Comparison, lines: &mut Vec<String>) {
    let of = &comparison.seconds;
    let confidence = percent(comparison.confidence);
    match of.times_rarer.filter(|_| comparison.extrapolated) {
        Some(rarer) if rarer >= 1.0 => lines.push(format!(
            "That the crash is impossible: only that it is at least {} times rarer than on \
             the baseline, at {confidence}.",
            // Rounded down: a bound must not grow on the way to paper.
            significant((rarer * 100.0).floor() / 100.0, 3),
        )),
        Some(_) => lines.push(format!(
            "That the crash is rarer than on the baseline: the exposure is too short to tell \
             at {confidence}."
        )),
        None => {}
    }
    if !comparison.extrapolated {
        lines.push(
            "How rare the crash is now: the baseline's times do not fit an exponential, so \
             exposure is not extrapolated and whole trials are compared."
                .to_owned(),
        );
    } else if of.exponentiality.is_none() && of.baseline_crashes > 0 {
        lines.push(
            "That the crash rate is constant: the baseline crashed too seldom to test it, and \
             the p values assume it."
                .to_owned(),
        );
    }
}
