//! What each technique and each arm is worth: `auto` with one technique taken
//! out, or with one arm alone.
//!
//! Measured by near misses: the store of `MODULE_STATE_UNFORMED` fell into
//! `m_show()`, as it does in a crash, but the module is untainted and the kernel
//! lives on. One boot gives hundreds of them where it gives one crash.

use std::fmt::Write as _;

use modrace::model::Trial;
use modrace::race::READ_POLICIES;
use modrace::race::chaos::TECHNIQUES;
use modrace::stats::{Rate, compare_rates};
use serde::Serialize;

use crate::Way;

/// The ways to be compared; the first is `auto`.
pub(crate) fn ways(trials: u32) -> Vec<Way> {
    let way = |name: String, options: &[&str]| {
        let oracle = ["--oracle", "near-miss"];
        let words = oracle.iter().chain(options);
        Way {
            name,
            options: words.map(|&word| word.to_owned()).collect(),
            trials,
            rival: None,
        }
    };
    let mut ways = vec![
        way("auto".to_owned(), &[]),
        way("no chaos".to_owned(), &["--chaos", "none"]),
    ];
    for left_out in TECHNIQUES {
        let rest: Vec<&str> = TECHNIQUES
            .iter()
            .map(|technique| technique.name)
            .filter(|name| *name != left_out.name)
            .collect();
        let name = format!("without {}", left_out.name);
        ways.push(way(name, &["--chaos", &rest.join(",")]));
    }
    for arm in READ_POLICIES {
        ways.push(way(format!("only {}", arm.name), &["--arms", arm.name]));
    }
    ways
}

/// What a way came to in a cell.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) cell: String,
    pub(crate) way: String,
    trials: usize,
    seconds: f64,
    cycles: u64,
    reads: u64,
    near_misses: u64,
    per_cycle: f64,
    per_s: f64,
    cycles_per_s: f64,
    reads_per_s: f64,
    /// Near misses per cycle over those of `auto`, with 95 % limits.
    per_cycle_of_auto: Option<Ratio>,
    /// The same per second.
    per_s_of_auto: Option<Ratio>,
    /// Techniques that the kernel or the cell could not do.
    skipped: Vec<String>,
}

/// A ratio of two rates with its exact 95 % limits.
#[derive(Debug, Serialize)]
struct Ratio {
    value: Option<f64>,
    low: f64,
    high: Option<f64>,
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let (ratio, high) = (or_none(self.value), or_none(self.high));
        write!(f, "{ratio} ({:.2}–{high})", self.low)
    }
}

/// `row`'s near misses in `exposure` over those of `auto`.
fn ratio(row: &Row, auto: &Row, exposure: fn(&Row) -> f64) -> Option<Ratio> {
    let rate = |row: &Row| Rate {
        crashes: u32::try_from(row.near_misses).unwrap_or(u32::MAX),
        exposure: exposure(row),
    };
    let compared = compare_rates(rate(row), rate(auto), 0.95).ok()?;
    Some(Ratio {
        value: compared.ratio,
        low: compared.low,
        high: compared.high,
    })
}

/// Holds each row against `auto` in its cell.
pub(crate) fn compare(rows: &mut [Row]) {
    for index in 0..rows.len() {
        let row = &rows[index];
        let is_auto = |other: &&Row| other.cell == row.cell && other.way == "auto";
        let Some(auto) = rows.iter().find(is_auto) else {
            continue;
        };
        let per_cycle = ratio(row, auto, |row| row.cycles as f64);
        let per_s = ratio(row, auto, |row| row.seconds);
        rows[index].per_cycle_of_auto = per_cycle;
        rows[index].per_s_of_auto = per_s;
    }
}

pub(crate) fn row(cell: &str, way: &str, trials: &[Trial]) -> Row {
    let sum = |field: fn(&Trial) -> u64| trials.iter().map(field).sum::<u64>();
    let seconds = trials.iter().map(|trial| trial.exposure_s).sum::<f64>();
    let cycles = sum(|trial| trial.cycles);
    let reads = sum(|trial| trial.reads);
    let near_misses = sum(|trial| trial.counters.lines.near_misses);
    let mut skipped: Vec<String> = trials
        .iter()
        .flat_map(|trial| &trial.notes)
        .filter_map(|note| note.strip_prefix("chaos technique skipped: "))
        .map(|note| note.split(':').next().unwrap_or_default().to_owned())
        .collect();
    skipped.sort_unstable();
    skipped.dedup();
    Row {
        cell: cell.to_owned(),
        way: way.to_owned(),
        trials: trials.len(),
        seconds,
        cycles,
        reads,
        near_misses,
        per_cycle: near_misses as f64 / cycles as f64,
        per_s: near_misses as f64 / seconds,
        cycles_per_s: cycles as f64 / seconds,
        reads_per_s: reads as f64 / seconds,
        per_cycle_of_auto: None,
        per_s_of_auto: None,
        skipped,
    }
}

/// The table for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| cell | way | cycles | near misses | per cycle | of auto's (95 %) | cycles/s | near misses/s | of auto's (95 %) | could not |\n|---|---|--:|--:|--:|---|--:|--:|---|---|\n",
    );
    for row in rows {
        let told = |ratio: &Option<Ratio>| ratio.as_ref().map_or("-".to_owned(), Ratio::to_string);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.3} | {} | {:.0} | {:.1} | {} | {} |",
            row.cell,
            row.way,
            row.cycles,
            row.near_misses,
            row.per_cycle,
            told(&row.per_cycle_of_auto),
            row.cycles_per_s,
            row.per_s,
            told(&row.per_s_of_auto),
            row.skipped.join(", "),
        );
    }
    text
}
