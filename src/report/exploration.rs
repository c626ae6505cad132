//! The record of `explore` for people: level by level, what was forced and what
//! it came to. Judges nothing.

use std::collections::BTreeMap;

use super::metadata::{self, Rows};
use super::proof;
use crate::model::{Exploration, ExploredLevel, LevelKind, Report};
use crate::verdict::format::seconds;

/// What was searched, by its figures.
pub(super) fn rows(explored: &Exploration) -> Rows {
    let mut rows: Rows = vec![
        ("race", explored.race.clone()),
        ("files", explored.files.join(", ")),
        (
            "accelerator",
            "tcg always: only there can a CPU be stopped at an instruction".to_owned(),
        ),
        ("budget", seconds(explored.budget_s)),
    ];
    let levels = explored.levels.iter();
    rows.extend(levels.map(|level| (level.kind.as_str(), figures(level))));
    rows
}

fn figures(level: &ExploredLevel) -> String {
    let places = match level.kind {
        LevelKind::WholeCalls => String::new(),
        LevelKind::OneStop | LevelKind::OnePreemption | LevelKind::TwoStops => format!(
            " at {} places of the loader's call and {} of the reader's",
            level.places[0], level.places[1]
        ),
    };
    let outcomes: Vec<String> = level
        .outcomes
        .iter()
        .map(|row| format!("{} {}", row.schedules, row.outcome.as_str()))
        .collect();
    let came = if outcomes.is_empty() {
        String::new()
    } else {
        format!(": {}", outcomes.join(", "))
    };
    format!(
        "{} of {} schedules{places} in {}{came}",
        level.forced,
        level.planned,
        seconds(level.seconds)
    )
}

/// Why sides could not go on, shown or only seen, with how many schedules: the
/// commonest first.
pub(super) fn waits(explored: &Exploration) -> Vec<String> {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for level in &explored.levels {
        for row in &level.blocked {
            *reasons.entry(proof::reason(&row.blocked)).or_default() += row.schedules;
        }
        for row in &level.not_decided {
            let reason = format!("not decided, a side {}", row.place);
            *reasons.entry(reason).or_default() += row.schedules;
        }
    }
    let mut sorted: Vec<(String, u64)> = reasons.into_iter().collect();
    sorted.sort_by_key(|(_, schedules)| std::cmp::Reverse(*schedules));
    let told = sorted.into_iter();
    told.map(|(reason, schedules)| format!("{schedules}: {reason}"))
        .collect()
}

/// All of it, for a terminal.
pub(super) fn text(report: &Report, explored: &Exploration) -> String {
    let mut out = String::new();
    for (label, value) in rows(explored) {
        out.push_str(&format!("{label:<16} {value}\n"));
    }
    if let Some(finding) = &explored.finding {
        out.push('\n');
        out.push_str(&proof::failure_text(report, finding));
    } else {
        for line in waits(explored) {
            out.push_str(&format!("{:<16} {line}\n", "had to wait"));
        }
        for line in &explored.limits {
            out.push_str(&format!("{:<16} {line}\n", "not shown"));
        }
    }
    out.push_str(&metadata::verdict_line(report));
    out
}
