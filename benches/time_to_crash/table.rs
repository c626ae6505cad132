//! From trials to the table, and the table to `reports/`.

use std::fmt::Write as _;
use std::path::Path;

use modrace::model::{Outcome, Trial};
use serde::Serialize;

use crate::{Args, Failure};

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    cell: String,
    way: String,
    trials: usize,
    crashed: usize,
    /// Trials that gave no result: neither crashed nor survived.
    void: usize,
    median_cycles: Option<f64>,
    p95_cycles: Option<u64>,
    /// Trials without a crash count with all of their time.
    median_s: f64,
    p95_s: f64,
    cycles_per_s: f64,
    /// None where nobody counted them.
    reads_per_s: Option<f64>,
    cycles: Vec<u64>,
    seconds: Vec<f64>,
}

/// The value below which `share` of the sorted values lie.
fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a short list"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle value, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let above = sorted.len() / 2;
    let below = (sorted.len().max(1) - 1) / 2;
    Some(f64::midpoint(*sorted.get(below)?, *sorted.get(above)?))
}

/// What a way came to in a cell.
pub(crate) fn row(cell: &str, way: &str, trials: &[Trial]) -> Row {
    let valid: Vec<&Trial> = trials
        .iter()
        .filter(|trial| matches!(trial.outcome, Outcome::Crashed | Outcome::Survived))
        .collect();
    let crashed = valid
        .iter()
        .filter(|trial| trial.outcome == Outcome::Crashed)
        .count();
    // A trial without a crash counts as if it had crashed at its end: never in
    // favour of the engine, since that end came later than any crash.
    let mut cycles: Vec<u64> = valid
        .iter()
        .map(|trial| trial.cycles_to_crash.unwrap_or(trial.cycles))
        .collect();
    cycles.sort_unstable();
    let mut seconds: Vec<f64> = valid
        .iter()
        .map(|trial| trial.time_to_crash_s.unwrap_or(trial.exposure_s))
        .collect();
    seconds.sort_by(f64::total_cmp);
    let exposure: f64 = valid.iter().map(|trial| trial.exposure_s).sum();
    let sum = |field: fn(&Trial) -> u64| valid.iter().map(|trial| field(trial)).sum::<u64>() as f64;
    Row {
        cell: cell.to_owned(),
        way: way.to_owned(),
        trials: valid.len(),
        crashed,
        void: trials.len() - valid.len(),
        median_cycles: median(&cycles.iter().map(|&count| count as f64).collect::<Vec<_>>()),
        p95_cycles: percentile(&cycles, 0.95),
        median_s: median(&seconds).unwrap_or(f64::NAN),
        p95_s: percentile(&seconds, 0.95).unwrap_or(f64::NAN),
        cycles_per_s: sum(|trial| trial.cycles) / exposure,
        reads_per_s: Some(sum(|trial| trial.reads) / exposure).filter(|reads| *reads > 0.0),
        cycles,
        seconds,
    }
}

/// The table for people. `missing` says why stress-ng is not in it.
pub(crate) fn table(rows: &[Row], missing: Option<&str>) -> String {
    let mut text = String::from(
        "| cell | way | trials | crashed | void | median cycles | p95 cycles | median s | p95 s | cycles/s | reads/s | times slower than auto |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let auto = rows
            .iter()
            .find(|other| other.cell == row.cell && other.way == "auto");
        let ratio = auto.map_or(f64::NAN, |auto| row.median_s / auto.median_s);
        let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {:.3} | {:.3} | {:.0} | {} | {:.1} |",
            row.cell,
            row.way,
            row.trials,
            row.crashed,
            row.void,
            row.median_cycles
                .map_or("-".to_owned(), |cycles| cycles.to_string()),
            count(row.p95_cycles),
            row.median_s,
            row.p95_s,
            row.cycles_per_s,
            row.reads_per_s
                .map_or("-".to_owned(), |reads| format!("{reads:.0}")),
            ratio
        );
    }
    if let Some(why) = missing {
        let _ = writeln!(text, "| all | {why} {}", "| - ".repeat(10) + "|");
    }
    text
}

/// Writes both forms of the table.
pub(crate) fn write_reports(
    args: &Args,
    rows: &serde_json::Value,
    missing: Option<&str>,
    table: &str,
) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports");
    std::fs::create_dir_all(&root)?;
    // Where things were when it was measured says nothing later.
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for option in ["--program", "--stress-ng", "--consoles"] {
        if let Some(at) = words.iter().position(|word| word == option) {
            words.drain(at..(at + 2).min(words.len()));
        }
    }
    let command = format!("cargo bench --bench time_to_crash -- {}", words.join(" "));
    let json = serde_json::json!({ "command": command, "rows": rows, "missing": missing });
    std::fs::write(
        root.join(format!("{}.json", args.name)),
        serde_json::to_vec_pretty(&json)?,
    )?;
    let told = if args.ablate {
        "Near misses: UNFORMED was stored inside m_show(), of an untainted twin of the module."
    } else {
        "A trial without a crash counts with all of its time. Void trials gave no result. \
         stress-ng runs as `--module 1 --module-name dummy_module --procfs 1`: its time has its own \
         start in it, its cycles are those last counted, some seconds before, its reads are not \
         counted."
    };
    let text = format!("# {}\n\n`{command}`\n\n{told}\n\n{table}", args.name);
    std::fs::write(root.join(format!("{}.md", args.name)), text)?;
    Ok(())
}
