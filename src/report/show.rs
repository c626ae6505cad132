//! A report on the terminal: the verdict, the runs side by side, and a small
//! histogram of the times to crash.

use super::evidence;
use super::metadata::{self, Rows};
use crate::model::{Outcome, Report};
use crate::verdict::format::seconds;

/// Bars of the histogram in characters, at most.
const BAR: usize = 40;
/// Bins for each decade of time.
const PER_DECADE: f64 = 3.0;

/// The report in a few lines.
pub fn show(report: &Report) -> String {
    let mut out = format!(
        "{}: {}\n{}\n\n",
        metadata::release(&report.environment),
        metadata::headline(report),
        report.verdict_reason
    );
    let sides = metadata::sides(report);
    let columns: Vec<Rows> = sides.iter().map(metadata::result_rows).collect();
    let width = |rows: &Rows| rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    let mut line = |label: &str, cells: Vec<&str>| {
        out.push_str(&format!("  {label:21}"));
        for (cell, rows) in cells.iter().zip(&columns) {
            out.push_str(&format!("  {cell:width$}", width = width(rows)));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    };
    line("", sides.iter().map(|side| side.name).collect());
    for (i, (label, _)) in columns[0].iter().enumerate() {
        line(
            label,
            columns.iter().map(|rows| rows[i].1.as_str()).collect(),
        );
    }
    for side in &sides {
        let times: Vec<f64> = side
            .trials
            .iter()
            .filter(|trial| trial.outcome == Outcome::Crashed)
            .filter_map(|trial| trial.time_to_crash_s)
            .collect();
        if times.len() > 1 {
            out.push_str(&format!("\ntime to crash, {}:\n", side.name));
            out.push_str(&histogram(&times));
        }
    }
    let warnings = metadata::warning_lines(report);
    if !warnings.is_empty() {
        out.push_str("\nwarnings:\n");
    }
    for line in warnings {
        out.push_str(&format!("  {line}\n"));
    }
    if let Some(comparison) = &report.comparison {
        out.push('\n');
        for (label, value) in evidence::rows(comparison) {
            out.push_str(&format!("  {label:21}  {value}\n"));
        }
    }
    out
}

/// Times in bins of equal width on a log scale: times to crash span decades.
fn histogram(times: &[f64]) -> String {
    let shortest = times.iter().copied().filter(|&time| time > 0.0);
    let shortest = shortest.fold(f64::INFINITY, f64::min);
    if !shortest.is_finite() {
        return String::new();
    }
    // A time of 0 is below every bin, and falls into the first.
    let bin = |time: f64| (time.max(shortest).log10() * PER_DECADE).floor();
    let longest = times.iter().copied().fold(shortest, f64::max);
    let mut out = String::new();
    let mut at = bin(shortest);
    let counts: Vec<(f64, usize)> = std::iter::from_fn(|| {
        let this = at;
        at += 1.0;
        (this <= bin(longest)).then(|| {
            let inside = times
                .iter()
                .filter(|&&time| bin(time).total_cmp(&this).is_eq());
            (this, inside.count())
        })
    })
    .collect();
    let most = counts
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    for (bin, count) in counts {
        let from = 10_f64.powf(bin / PER_DECADE);
        let bar = "#".repeat((count * BAR).div_ceil(most));
        out.push_str(format!("  {:>8} {bar:BAR$} {count}", seconds(from)).trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_a_bin() {
        let drawn = histogram(&[0.0, 0.012, 0.05, 0.051, 3.0]);
        let total: u32 = drawn
            .lines()
            .filter_map(|line| line.split_whitespace().last()?.parse::<u32>().ok())
            .sum();
        assert_eq!(total, 5, "{drawn}");
        assert!(histogram(&[0.0]).is_empty());
    }
}
