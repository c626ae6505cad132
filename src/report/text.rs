//! Format `text`: for a mailing list. Plain ASCII, at most 75 columns, complete
//! without an attachment. It offers a `Tested-by:` line and invents no name.

use super::at_panic;
use super::evidence;
use super::excerpt;
use super::forced::{Forced, List, forced};
use super::metadata::{self, Rows, Side};
use super::proof;
use super::states::states_text;
use super::{Format, RenderError};
use crate::model::Report;

/// What mail and `git log` show without wrapping.
const WIDTH: usize = 75;

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "text",
    help: "plain text for a mailing list, 75 columns",
    extension: "txt",
    render,
};

/// What was forced, and what was found.
fn forced_sections(out: &mut Page, report: &Report, forced: &Forced<'_>) {
    out.rows(&forced.rows);
    out.list(&forced.waits);
    if let Some(failure) = forced.failure {
        out.section("What crashed");
        for line in proof::failure_head(report, failure) {
            out.wrapped("  ", &line);
        }
        out.blank();
        for line in proof::two_columns(failure) {
            out.line(&line);
        }
        if let Some(crash) = &failure.crash {
            out.section("The kernel's report");
            for line in excerpt::trim(crash, WIDTH - 2) {
                out.line(&format!("  {line}"));
            }
        }
    }
    for list in &forced.rest {
        out.list(list);
    }
}

fn render(report: &Report) -> Result<String, RenderError> {
    let mut out = Page::default();
    let title = format!(
        "modrace: {} race, Linux {}",
        report.settings.target,
        metadata::release(&report.environment)
    );
    out.heading(&title, '=');
    out.wrapped("", &format!("Verdict: {}", metadata::headline(report)));
    out.wrapped("  ", &report.verdict_reason);

    out.section("What was tested");
    let sides = metadata::sides(report);
    for (i, side) in sides.iter().enumerate() {
        let mut rows = metadata::kernel_rows(side.environment);
        rows[0].0 = side.name;
        // The second machine is the first, but for what differs.
        let machine = metadata::machine_rows(side.environment);
        if i == 0 || machine != metadata::machine_rows(sides[0].environment) {
            rows.extend(machine);
        }
        out.rows(&rows);
        out.blank();
    }
    if let Some(module) = &report.module {
        out.rows(&metadata::module_rows(module));
    }

    out.section("How");
    out.rows(&metadata::method_rows(report));

    out.section("Result");
    let forced = forced(report);
    match &forced {
        Some(forced) => forced_sections(&mut out, report, forced),
        None => out.table(&sides),
    }
    if let Some(comparison) = &report.comparison {
        out.section("Evidence");
        out.rows(&evidence::rows(comparison));
    }

    if !report.states.is_empty() {
        out.section("The module's states");
        for line in states_text(&report.states).lines() {
            let indent = line.len() - line.trim_start().len();
            out.wrapped(&" ".repeat(indent), line.trim_start());
        }
    }

    let warnings = metadata::warning_lines(report);
    if !warnings.is_empty() {
        out.section("Warnings");
        for line in warnings {
            out.bullet(&line);
        }
    }

    out.section("Not shown");
    let limits = forced.map(|forced| forced.limits.to_vec());
    for line in limits.unwrap_or_else(|| evidence::not_shown(report)) {
        out.bullet(&line);
    }

    if let Some((who, trial, crash)) = metadata::first_crash(report) {
        out.section(&format!("Crash of the {who}, trial {}", trial.index));
        out.wrapped("  ", &crash.title);
        out.blank();
        for line in excerpt::trim(crash, WIDTH - 2) {
            out.line(&format!("  {line}"));
        }
        let at_panic = at_panic::of_trial(trial);
        if !at_panic.is_empty() {
            out.blank();
            out.line("  When the kernel panicked:");
        }
        for line in at_panic {
            out.wrapped("  ", &line);
        }
    }

    out.section("To repeat it");
    out.command(&metadata::repeat(report));
    out.blank();
    out.line("If you ran this and agree, fill in your own name:");
    out.blank();
    out.line("Tested-by: ");
    Ok(out.text)
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        // One place through which every line goes.
        self.text.push_str(&excerpt::ascii(line));
        self.text.push('\n');
    }

    fn blank(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn heading(&mut self, title: &str, rule: char) {
        for line in wrap(title, "", "") {
            self.line(&line);
        }
        self.line(&rule.to_string().repeat(title.len().min(WIDTH)));
        self.blank();
    }

    fn section(&mut self, title: &str) {
        self.blank();
        self.heading(title, '-');
    }

    fn wrapped(&mut self, indent: &str, text: &str) {
        for line in wrap(text, indent, indent) {
            self.line(&line);
        }
    }

    /// Lines that a shell takes as one.
    fn command(&mut self, command: &str) {
        let lines = wrap_to(WIDTH - 2, command, "  ", "    ");
        for (i, line) in lines.iter().enumerate() {
            let last = i + 1 == lines.len();
            self.line(&format!("{line}{}", if last { "" } else { " \\" }));
        }
    }

    fn bullet(&mut self, text: &str) {
        for line in wrap(text, "  - ", "    ") {
            self.line(&line);
        }
    }

    fn list(&mut self, (title, lines): &List) {
        if !lines.is_empty() {
            self.section(title);
        }
        for line in lines {
            self.bullet(line);
        }
    }

    fn rows(&mut self, rows: &Rows) {
        let label = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let hang = " ".repeat(label + 4);
        for (name, value) in rows {
            // A hash stays whole, to be copied: on a line of its own if need be.
            if !value.contains(' ') && hang.len() + value.len() > WIDTH {
                self.line(&format!("  {name}"));
                self.wrapped("    ", value);
                continue;
            }
            for line in wrap(value, &format!("  {name:label$}  "), &hang) {
                self.line(&line);
            }
        }
    }

    /// One column for each run; one below the other where two do not fit.
    fn table(&mut self, sides: &[Side]) {
        let columns: Vec<Rows> = sides.iter().map(metadata::result_rows).collect();
        let Some(first) = columns.first() else { return };
        let label = first
            .iter()
            .map(|(label, _)| label.len())
            .max()
            .unwrap_or(0);
        let width = |rows: &Rows| rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        let needed = 2 + label + columns.iter().map(|rows| width(rows) + 2).sum::<usize>();
        if needed > WIDTH {
            for (side, rows) in sides.iter().zip(&columns) {
                self.line(&format!("  {}:", side.name));
                self.rows(rows);
                self.blank();
            }
            return;
        }
        let mut heads = format!("  {:label$}", "");
        for (side, rows) in sides.iter().zip(&columns) {
            heads.push_str(&format!("  {:width$}", side.name, width = width(rows)));
        }
        self.line(heads.trim_end());
        for (i, (name, _)) in first.iter().enumerate() {
            let mut line = format!("  {name:label$}");
            for rows in &columns {
                line.push_str(&format!("  {:width$}", rows[i].1, width = width(rows)));
            }
            self.line(line.trim_end());
        }
    }
}

/// Breaks at spaces, and inside words that are longer than a line: no line may
/// pass the width, not even one with a hash or a path.
fn wrap(text: &str, first: &str, rest: &str) -> Vec<String> {
    wrap_to(WIDTH, text, first, rest)
}

fn wrap_to(width: usize, text: &str, first: &str, rest: &str) -> Vec<String> {
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(true)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let text = excerpt::ascii(text);
    textwrap::wrap(&text, options)
        .into_iter()
        .map(std::borrow::Cow::into_owned)
        .collect()
}
