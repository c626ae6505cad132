//! Format `markdown`: for an issue tracker. What the text says, in tables.

use super::at_panic;
use super::evidence;
use super::excerpt;
use super::forced::{Forced, forced};
use super::metadata::{self, Rows};
use super::proof;
use super::states::states_markdown;
use super::{Format, RenderError};
use crate::model::Report;

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "markdown",
    help: "tables for an issue tracker",
    extension: "md",
    render,
};

/// Longer lines are cut; a code block does not wrap.
const WIDTH: usize = 120;

fn render(report: &Report) -> Result<String, RenderError> {
    Ok(page(report))
}

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut out = format!(
        "# {} race on Linux {}\n\n**{}**: {}\n",
        cell(&report.settings.target),
        cell(metadata::release(&report.environment)),
        cell(&metadata::headline(report)),
        cell(&report.verdict_reason)
    );
    out.push_str("\n## Result\n\n");
    let forced = forced(report);
    match &forced {
        Some(forced) => out.push_str(&forced_page(report, forced)),
        None => out.push_str(&results(report)),
    }
    if let Some(comparison) = &report.comparison {
        out.push_str("\n## Evidence\n\n");
        table(&mut out, &evidence::rows(comparison));
    }
    if !report.states.is_empty() {
        out.push_str("\n## The module's states\n\n");
        out.push_str(&states_markdown(&report.states, cell));
    }
    let warnings = metadata::warning_lines(report);
    if !warnings.is_empty() {
        out.push_str("\n## Warnings\n\n");
    }
    for line in warnings {
        out.push_str(&format!("- {}\n", cell(&line)));
    }
    out.push_str("\n## Not shown\n\n");
    let limits = forced.map(|forced| forced.limits.to_vec());
    for line in limits.unwrap_or_else(|| evidence::not_shown(report)) {
        out.push_str(&format!("- {}\n", cell(&line)));
    }
    if let Some((who, trial, crash)) = metadata::first_crash(report) {
        let lines = excerpt::trim(crash, WIDTH).join("\n");
        let fence = fence(&lines);
        out.push_str(&format!(
            "\n## Crash of the {who}, trial {}\n\n{}\n\n{fence}text\n{lines}\n{fence}\n",
            trial.index,
            cell(&crash.title)
        ));
        let at_panic = at_panic::of_trial(trial);
        if !at_panic.is_empty() {
            out.push_str("\nWhen the kernel panicked:\n\n");
        }
        for line in at_panic {
            out.push_str(&format!("- {}\n", cell(&line)));
        }
    }
    out.push_str("\n## What was tested, and how\n\n");
    for side in metadata::sides(report) {
        let mut rows = metadata::kernel_rows(side.environment);
        rows[0].0 = side.name;
        rows.extend(metadata::machine_rows(side.environment));
        table(&mut out, &rows);
        out.push('\n');
    }
    let mut rows = report
        .module
        .as_ref()
        .map(metadata::module_rows)
        .unwrap_or_default();
    rows.extend(metadata::method_rows(report));
    table(&mut out, &rows);
    out
}

/// What was forced, and what was found.
fn forced_page(report: &Report, forced: &Forced<'_>) -> String {
    let mut out = String::new();
    table(&mut out, &forced.rows);
    for (title, lines) in std::iter::once(&forced.waits).chain(&forced.rest) {
        if !lines.is_empty() {
            out.push_str(&format!("\n### {title}\n\n"));
        }
        for line in lines {
            out.push_str(&format!("- {}\n", cell(line)));
        }
    }
    if let Some(failure) = forced.failure {
        out.push_str("\n## What crashed\n\n");
        out.push_str(&proof::failure_markdown(report, failure, cell));
        if let Some(crash) = &failure.crash {
            let lines = excerpt::trim(crash, WIDTH).join("\n");
            let fence = fence(&lines);
            out.push_str(&format!("\n{fence}text\n{lines}\n{fence}\n"));
        }
    }
    out
}

/// The results of all runs side by side.
fn results(report: &Report) -> String {
    let sides = metadata::sides(report);
    let columns: Vec<Rows> = sides.iter().map(metadata::result_rows).collect();
    let names: Vec<_> = sides.iter().map(|side| side.name).collect();
    let mut out = format!(
        "| | {} |\n|---{}|\n",
        names.join(" | "),
        "|---".repeat(names.len())
    );
    for (i, (label, _)) in columns[0].iter().enumerate() {
        let values: Vec<_> = columns.iter().map(|rows| cell(&rows[i].1)).collect();
        out.push_str(&format!("| {} | {} |\n", label.trim(), values.join(" | ")));
    }
    out
}

fn table(out: &mut String, rows: &Rows) {
    out.push_str("| | |\n|---|---|\n");
    for (label, value) in rows {
        out.push_str(&format!("| {label} | {} |\n", cell(value)));
    }
}

/// Text that stays text: a kernel's words must not become markup or links.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '*' | '_' | '`' | '<' | '>' | '[' | ']' | '#' | '@' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}

/// A fence longer than any run of backticks inside.
fn fence(text: &str) -> String {
    let longest = text
        .split(|c| c != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_words_are_no_markup() {
        assert_eq!(cell("a|b_c\n<i>"), "a\\|b\\_c \\<i\\>");
        assert_eq!(fence("x ```` y"), "`````");
    }
}
