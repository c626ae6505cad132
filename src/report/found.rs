//! Crashes found in a log, as they look on a terminal: where, what, and the lines
//! with a caret below what was matched; at a log's end a table of them all.

use std::fmt::Write;

use super::decoded;
use crate::model::{Crash, Severity};

/// Lines shown around the match; the JSON form has them all.
const SHOWN: usize = 24;

/// A crash as text.
pub fn render(file: &str, crash: &Crash) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_crash(&mut out, file, crash);
    out
}

fn write_crash(out: &mut String, file: &str, crash: &Crash) -> std::fmt::Result {
    let corrupted = if crash.corrupted { ", corrupted" } else { "" };
    writeln!(out, "{file}:{}: {}", crash.line, crash.title)?;
    writeln!(
        out,
        "  {} ({}), {}{corrupted}",
        crash.signature,
        crash.severity.as_str(),
        crash.class.as_str()
    )?;
    if let Some(process) = process(crash) {
        writeln!(out, "  {process}")?;
    }
    let numbers = (crash.excerpt_line + crash.excerpt.len() as u64)
        .to_string()
        .len();
    for (number, line) in (crash.excerpt_line..).zip(&crash.excerpt).take(SHOWN) {
        writeln!(out, "  {number:>numbers$} | {line}")?;
        if number == crash.line {
            let indent = " ".repeat(crash.column as usize);
            let carets = "^".repeat(crash.width.max(1) as usize);
            writeln!(out, "  {:numbers$} | {indent}{carets}", "")?;
        }
    }
    if crash.excerpt.len() > SHOWN {
        writeln!(
            out,
            "  {:numbers$} | … {} more lines",
            "",
            crash.excerpt.len() - SHOWN
        )?;
    }
    for frame in decoded::frames(crash) {
        writeln!(out, "  {}", decoded::told(&frame))?;
    }
    for line in decoded::behind_trace(crash) {
        writeln!(out, "  {line}")?;
    }
    for follow_on in &crash.follow_ons {
        writeln!(out, "  then, line {}: {}", follow_on.line, follow_on.title)?;
    }
    writeln!(out)
}

/// A crash in the table at a log's end.
#[derive(Debug)]
pub struct Row {
    line: u64,
    time_s: Option<f64>,
    /// How bad it is.
    pub severity: Severity,
    title: String,
}

impl Row {
    /// The row of a crash.
    pub fn new(crash: &Crash) -> Self {
        Self {
            line: crash.line,
            time_s: crash.log_time_s,
            severity: crash.severity,
            title: crash.title.clone(),
        }
    }
}

/// All crashes of a log, by line.
pub fn table(file: &str, rows: &mut [Row]) -> String {
    rows.sort_by_key(|row| row.line);
    let mut out = format!("{file}: {} crashes\n", rows.len());
    let _ = writeln!(
        out,
        "  {:>9}  {:>14}  {:8} what",
        "line", "time, s", "severity"
    );
    for row in rows {
        let time = row
            .time_s
            .map_or_else(|| "-".to_owned(), |time| format!("{time:.6}"));
        let severity = row.severity.as_str();
        let _ = writeln!(
            out,
            "  {:>9}  {time:>14}  {severity:8} {}",
            row.line, row.title
        );
    }
    out
}

/// `cat[186343] on CPU 37, kernel 3.10.0+, tainted GFO`
fn process(crash: &Crash) -> Option<String> {
    let mut parts = Vec::new();
    if let (Some(comm), Some(pid)) = (&crash.comm, crash.pid) {
        let cpu = crash
            .cpu
            .map_or_else(String::new, |cpu| format!(" on CPU {cpu}"));
        parts.push(format!("{comm}[{pid}]{cpu}"));
    }
    if let Some(kernel) = &crash.kernel {
        parts.push(format!("kernel {kernel}"));
    }
    match crash.tainted.as_deref() {
        Some("") => parts.push("not tainted".to_owned()),
        Some(letters) => parts.push(format!("tainted {letters}")),
        None => {}
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}
