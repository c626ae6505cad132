//! The record of `prove` for people: what was forced, what could not exist and
//! why, and a crash told in two columns, as the change that explained the bug
//! told it. Judges nothing.

mod sequence;

pub(super) use sequence::sequence;

use std::collections::BTreeMap;

use super::metadata::{self, Rows};
use crate::model::{
    Blocked, Proof, ProofFailure, ProofStep, Report, Schedule, ScheduleOutcome, StateTouch, Who,
};
use crate::verdict::format::seconds;

/// Columns of a mail.
const WIDTH: usize = 75;
/// Between the two columns of a failure.
const GAP: usize = 3;
/// Instructions that never ran and change nothing, listed at most.
const LISTED: usize = 12;

/// What was forced, by its figures.
pub(super) fn rows(proof: &Proof) -> Rows {
    let count = |outcome| proof.count(outcome);
    let together = proof
        .schedules
        .iter()
        .filter(|one| one.same_as.is_some())
        .count();
    let mut rows: Rows = vec![
        ("race", proof.race.clone()),
        ("loader", side(proof, Who::Loader)),
        ("reader", side(proof, Who::Reader)),
        (
            "accelerator",
            "tcg always: only there can a CPU be stopped at an instruction".to_owned(),
        ),
    ];
    let forms: Vec<String> = proof
        .forms
        .iter()
        .map(|form| {
            let schedules = if form.differs {
                ", schedules of its own"
            } else {
                ""
            };
            format!("{}{schedules}", form.name)
        })
        .collect();
    if !forms.is_empty() {
        rows.push(("module's forms", forms.join("; ")));
    }
    rows.push((
        "schedules",
        format!(
            "{} of {} in {}, {:.0} a second; {together} of them decided by another one's round",
            proof.schedules.len(),
            proof.schedules_planned,
            seconds(proof.schedules_s),
            proof.schedules.len() as f64 / proof.schedules_s.max(1e-3),
        ),
    ));
    for outcome in [
        ScheduleOutcome::RanThrough,
        ScheduleOutcome::PassedBy,
        ScheduleOutcome::Impossible,
        ScheduleOutcome::NotReached,
        ScheduleOutcome::NotDecided,
        ScheduleOutcome::Crashed,
        ScheduleOutcome::Hung,
    ] {
        if count(outcome) > 0 {
            rows.push((outcome.as_str(), count(outcome).to_string()));
        }
    }
    rows
}

fn side(proof: &Proof, who: Who) -> String {
    let side = proof.side(who);
    format!(
        "{} on CPU {}, {} points in {}",
        side.call,
        side.cpu,
        side.points.len(),
        side.functions.join(", ")
    )
}

/// What schedules could not exist, and why: each reason once, with how many.
pub(super) fn impossible(proof: &Proof) -> Vec<String> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for blocked in proof
        .schedules
        .iter()
        .filter_map(|one| one.blocked.as_ref())
    {
        *reasons.entry(reason(blocked)).or_default() += 1;
    }
    let mut sorted: Vec<(String, usize)> = reasons.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sorted
        .into_iter()
        .map(|(reason, count)| format!("{count}: {reason}"))
        .collect()
}

/// What kept a side from going on.
pub(super) fn reason(blocked: &Blocked) -> String {
    let other = match blocked.side {
        Who::Loader => Who::Reader,
        Who::Reader => Who::Loader,
    };
    let caller = blocked
        .caller
        .as_ref()
        .map_or_else(String::new, |caller| format!(" called by {caller}"));
    match &blocked.lock {
        Some(lock) => format!(
            "the {} waits in {}{caller} for {lock}, which the {} holds",
            blocked.side.as_str(),
            blocked.function,
            other.as_str()
        ),
        None => format!(
            "the {} waits in {}{caller} for every CPU, and the {}'s stands",
            blocked.side.as_str(),
            blocked.function,
            other.as_str()
        ),
    }
}

/// Instructions that never ran: those that leave the question open, then others.
pub(super) fn never_ran(proof: &Proof) -> Vec<String> {
    let told = |one: &crate::model::NeverRan| {
        let source = one
            .source
            .as_ref()
            .map_or_else(String::new, |source| format!(" ({source})"));
        format!("{}{source}: {}", one.place, one.instruction)
    };
    let mut lines: Vec<String> = proof
        .never_ran
        .iter()
        .filter_map(|one| Some(format!("{}: {}", told(one), one.matters.as_ref()?)))
        .collect();
    let others: Vec<String> = proof
        .never_ran
        .iter()
        .filter(|one| one.matters.is_none())
        .map(told)
        .collect();
    if others.is_empty() {
        return lines;
    }
    let more = others.len().saturating_sub(LISTED);
    lines.push(format!(
        "{} others, no store of the state, no lock:",
        others.len()
    ));
    lines.extend(others.into_iter().take(LISTED));
    if more > 0 {
        lines.push(format!("and {more} more (all of them in the JSON report)"));
    }
    lines
}

/// The points of both sides, by the names that `--schedule` takes.
pub(super) fn points(proof: &Proof) -> Vec<String> {
    let mut lines = Vec::new();
    for (who, letter) in [(Who::Loader, 'L'), (Who::Reader, 'R')] {
        for (index, point) in proof.side(who).points.iter().enumerate() {
            let mut line = format!(
                "{letter}{} {}: {}",
                index + 1,
                point.place,
                point.instruction
            );
            match point.state {
                Some(StateTouch::Read) => line.push_str(" (reads the state)"),
                Some(StateTouch::Write) => line.push_str(" (writes the state)"),
                None if point.lock => line.push_str(" (lock)"),
                None => {}
            }
            lines.push(line);
        }
    }
    lines
}

/// How a failure is named and repeated.
pub(super) fn failure_head(report: &Report, failure: &ProofFailure) -> Vec<String> {
    if failure.schedule.is_empty() {
        return vec!["No schedule was forced.".to_owned()];
    }
    let again = match &report.explore {
        Some(_) => format!("this command with --schedule '{}'", failure.schedule),
        None => format!(
            "modrace prove --kernel {} --schedule {}",
            report.environment.kernel.name, failure.schedule
        ),
    };
    let repeated = match (failure.repeated, failure.stops) {
        (false, _) => "It did not crash again alone, on a guest booted anew".to_owned(),
        (true, 0) => {
            "It crashed again on a guest booted anew; no call is stopped on its way".to_owned()
        }
        (true, stops) => format!(
            "It crashed again on a guest booted anew; with fewer than {stops} stop{} it does not",
            if stops == 1 { "" } else { "s" }
        ),
    };
    vec![
        format!(
            "Schedule {} crashed, {} after the first one. {repeated}.",
            failure.found_at,
            seconds(failure.found_after_s),
        ),
        format!("To repeat it: {again}"),
    ]
}

/// A failure in two columns, each step in that of its side.
pub(super) fn two_columns(failure: &ProofFailure) -> Vec<String> {
    if failure.steps.is_empty() {
        return Vec::new();
    }
    let width = (WIDTH - GAP - 2) / 2;
    let indent = " ".repeat(width + GAP);
    let mut lines = vec![format!(
        "{:width$}{}{}",
        heading(failure, Who::Loader),
        " ".repeat(GAP),
        heading(failure, Who::Reader)
    )];
    for step in &failure.steps {
        lines.push(String::new());
        for text in step_lines(step) {
            for line in textwrap::wrap(&text, width) {
                match step.side {
                    Who::Loader => lines.push(line.into_owned()),
                    Who::Reader => lines.push(format!("{indent}{line}")),
                }
            }
        }
    }
    lines
}

fn heading(failure: &ProofFailure, who: Who) -> String {
    let cpu = failure
        .steps
        .iter()
        .find(|step| step.side == who)
        .map(|step| step.cpu);
    let role = match (who, &failure.file) {
        (Who::Loader, None) => "unloading the module",
        (Who::Reader, None) => "/proc/modules reader",
        (Who::Loader, Some(_)) => "loader",
        (Who::Reader, Some(_)) => "reader",
    };
    match cpu {
        Some(cpu) => format!("CPU {cpu} ({role})"),
        None => role.to_owned(),
    }
}

/// A step: what was done, where, and what holds then.
fn step_lines(step: &ProofStep) -> Vec<String> {
    let mut lines = vec![step.text.clone()];
    if let Some(place) = &step.place {
        let source = step
            .source
            .as_ref()
            .map_or_else(String::new, |source| format!(", {source}"));
        lines.push(format!("  {place}{source}"));
    }
    let state = step.state.as_ref().map(|state| format!("state {state}"));
    let holder = step
        .holder
        .as_ref()
        .map(|holder| format!("mutex held by {holder}"));
    let facts: Vec<String> = state.into_iter().chain(holder).collect();
    if !facts.is_empty() {
        lines.push(format!("  [{}]", facts.join(", ")));
    }
    lines
}

/// A failure, for a terminal.
pub(super) fn failure_text(report: &Report, failure: &ProofFailure) -> String {
    let mut out = String::new();
    for line in failure_head(report, failure) {
        out.push_str(&format!("{line}\n"));
    }
    out.push('\n');
    for line in two_columns(failure) {
        out.push_str(&format!("{line}\n"));
    }
    out
}

/// All of it, for a terminal.
pub(super) fn proof_text(report: &Report) -> String {
    let Some(proof) = &report.prove else {
        return String::new();
    };
    let mut out = String::new();
    for (label, value) in rows(proof) {
        out.push_str(&format!("{label:<16} {value}\n"));
    }
    for line in impossible(proof) {
        out.push_str(&format!("{:<16} {line}\n", "could not exist"));
    }
    if let Some(failure) = &proof.failure {
        out.push('\n');
        out.push_str(&failure_text(report, failure));
    } else {
        for line in never_ran(proof) {
            out.push_str(&format!("{:<16} {line}\n", "never ran"));
        }
        for line in &proof.limits {
            out.push_str(&format!("{:<16} {line}\n", "not shown"));
        }
    }
    out.push_str(&metadata::verdict_line(report));
    out
}

/// Markdown: the failure as a table of two columns.
pub(super) fn failure_markdown(
    report: &Report,
    failure: &ProofFailure,
    escape: fn(&str) -> String,
) -> String {
    let mut out = String::new();
    for line in failure_head(report, failure) {
        out.push_str(&format!("{}\n\n", escape(&line)));
    }
    out.push_str(&format!(
        "| {} | {} |\n|---|---|\n",
        escape(&heading(failure, Who::Loader)),
        escape(&heading(failure, Who::Reader))
    ));
    for step in &failure.steps {
        let text: Vec<String> = step_lines(step)
            .iter()
            .map(|line| escape(line.trim()))
            .collect();
        let text = text.join("<br>");
        out.push_str(&match step.side {
            Who::Loader => format!("| {text} | |\n"),
            Who::Reader => format!("| | {text} |\n"),
        });
    }
    out
}

/// What a schedule came to, in a line.
pub(super) fn schedule_line(schedule: &Schedule) -> String {
    let (one, other) = match schedule.first {
        Who::Loader => (
            format!("L{}", schedule.loader),
            format!("R{}", schedule.reader),
        ),
        Who::Reader => (
            format!("R{}", schedule.reader),
            format!("L{}", schedule.loader),
        ),
    };
    format!("{one},{other} {}", schedule.outcome.as_str())
}

#[cfg(test)]
mod tests;
