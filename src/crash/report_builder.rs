//! The lines of a report while they come in: which belong to it, and when it
//! has ended. What they say is read in `report`.

use super::body_line::is_body_line;
use super::signature::Match;
use super::stack_line::StackLine;
use super::title::normalise;
use crate::console::{Caller, Line};
use crate::model::{CrashKind, FollowOn};

/// Most lines of a report: backtraces of many CPUs are long.
const MOST_LINES: usize = 2000;
/// Most bytes of a report.
const MOST_BYTES: usize = 512 << 10;
/// Lines without any sign of a report, after which it has ended.
const QUIET: usize = 40;
/// The same after the line that ends a report. A panic may still come.
const QUIET_AFTER_END: usize = 15;
/// Behind so many foreign lines only what is certainly a report's counts.
const NEAR: usize = 6;
/// Other callers' lines, after which a report that says nothing has ended.
const PASSED_BY: usize = 400;
/// Lines within which an oops repeats in other words what it is.
const BEGINNING: usize = 14;

/// How every panic begins.
const PANIC: &str = "Kernel panic - not syncing";
/// How panics go on that only say what becomes of a crash before.
const CONSEQUENCES: &[&str] = &[
    "Fatal",
    "panic_on",
    "kernel: panic_on",
    "kasan",
    "KASAN",
    "KFENCE",
    "UBSAN",
    "hung_task",
    "softlockup",
    "RCU Stall",
    "Hard LOCKUP",
    "Attempted to kill",
    "Aiee",
    "Oops",
    "BUG",
    "corrupted stack end",
];

/// Whether a panic's line says that it follows from another crash.
fn consequence(panic: &str) -> bool {
    let reason = panic[PANIC.len()..].trim_start_matches([':', ' ']);
    CONSEQUENCES.iter().any(|words| reason.starts_with(words))
}

/// A line of the log, kept.
#[derive(Clone, Debug)]
pub(super) struct LogLine {
    /// Its number in the log, from 1.
    pub(super) number: u64,
    /// Its offset in the log.
    pub(super) offset: u64,
    pub(super) time_s: Option<f64>,
    pub(super) caller: Option<Caller>,
    pub(super) dropped_before: bool,
    /// Where the kernel's text begins in `whole`.
    pub(super) text_at: usize,
    /// The kernel's text.
    pub(super) text: String,
    /// The line as it stood.
    pub(super) whole: String,
}

impl LogLine {
    pub(super) fn new(number: u64, offset: u64, line: Line<'_>, whole: String) -> Self {
        Self {
            number,
            offset,
            time_s: line.time_s,
            caller: line.caller,
            dropped_before: line.dropped_before,
            text_at: line.text_at,
            text: line.text.into_owned(),
            whole,
        }
    }
}

/// A report whose lines still come in.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing seen or not, in any combination"
)]
pub(super) struct ReportBuilder {
    pub(super) found: Match,
    pub(super) before: Vec<String>,
    pub(super) lines: Vec<LogLine>,
    bytes: usize,
    /// How many of `lines` belong for certain: up to the last that looks like
    /// a report's.
    pub(super) used: usize,
    pub(super) follow_ons: Vec<FollowOn>,
    ended: bool,
    pub(super) interrupted: bool,
    all_cpus: bool,
    passed_by: usize,
    traced: bool,
    framed: bool,
}

impl std::fmt::Debug for ReportBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportBuilder")
            .field("signature", &self.found.row.signature.name)
            .field("lines", &self.lines.len())
            .finish_non_exhaustive()
    }
}

impl ReportBuilder {
    pub(super) fn new(found: Match, first: LogLine, before: Vec<String>) -> Self {
        Self {
            found,
            before,
            bytes: first.whole.len(),
            lines: vec![first],
            used: 1,
            follow_ons: Vec::new(),
            ended: false,
            interrupted: false,
            all_cpus: false,
            passed_by: 0,
            traced: false,
            framed: false,
        }
    }

    pub(super) fn first(&self) -> &LogLine {
        &self.lines[0]
    }

    /// Whether the line may belong to this report: the same caller printed it,
    /// or callers are not told.
    pub(super) fn takes(&self, line: &LogLine) -> bool {
        match (self.first().caller, line.caller) {
            (Some(mine), Some(other)) => {
                mine == other || (self.all_cpus && matches!(other, Caller::Cpu(_)))
            }
            _ => true,
        }
    }

    /// Whether a line that matches a signature is but another line of this
    /// report.
    pub(super) fn absorbs(&mut self, found: &Match, line: &LogLine) -> bool {
        let row = found.row.signature;
        let mine = self.found.row.signature;
        let lines = self.lines.len();
        // A symboliser repeats the first line for each inlined function.
        if row.name == mine.name && lines == 1 && row.kind == CrashKind::Kasan {
            return true;
        }
        let beginning = lines <= BEGINNING && !self.traced;
        if row.continues && (beginning || self.same_oops(row.name)) {
            return true;
        }
        // A panic in the middle of a report follows from it; behind its end,
        // only if it says so.
        let text = &line.text[found.at..];
        if text.starts_with(PANIC) && (!self.ended || consequence(text)) {
            self.follow_ons.push(FollowOn {
                signature: row.name.to_owned(),
                kind: row.kind,
                title: normalise(text),
                line: line.number,
            });
            self.ended = false;
            return true;
        }
        false
    }

    /// Old SLUB prints its own report below KASAN's.
    fn same_oops(&self, name: &str) -> bool {
        name == "slub" && self.found.row.signature.kind == CrashKind::Kasan
    }

    pub(super) fn push(&mut self, line: LogLine) {
        let text = &line.text;
        self.bytes += line.whole.len();
        self.passed_by = 0;
        self.all_cpus |=
            text.contains("Sending NMI from CPU") || text.contains("NMI backtrace for cpu");
        self.traced |= text.contains("Call Trace") || text.contains("Call trace");
        // A sanitizer's report stands between two rulers.
        let ruler = self.traced && text.starts_with("==========");
        let end = text.contains("---[ end ") || ruler;
        let strong = end || text.contains("+0x") || text.contains("Kernel panic");
        self.framed |= text.contains("+0x") && !StackLine::new(text).frames.is_empty();
        let near = self.lines.len() - self.used < NEAR;
        let belongs = strong || (near && is_body_line(text));
        self.lines.push(line);
        if belongs {
            self.used = self.lines.len();
        }
        self.ended |= end;
    }

    /// A line that another caller printed.
    pub(super) fn passed_by(&mut self) {
        self.passed_by += 1;
    }

    /// Another report began before this one had ended.
    pub(super) fn interrupted(&mut self) {
        // With its frames there it says what it has to say.
        self.interrupted = !self.ended && !self.framed;
    }

    pub(super) fn complete(&self) -> bool {
        let quiet = self.lines.len() - self.used;
        quiet >= if self.ended { QUIET_AFTER_END } else { QUIET }
            || self.lines.len() >= MOST_LINES
            || self.bytes >= MOST_BYTES
            || self.passed_by >= PASSED_BY
    }
}
