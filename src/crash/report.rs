//! The lines of one report, and the crash that they make. When a report ends
//! is decided here; where its first line is, in `scanner`.

use std::sync::LazyLock;

use regex::Regex;

use super::blame;
use super::class;
use super::entry::Entry;
use super::facts;
use super::signature::{Look, Match};
use super::title::{normalise, plain};
use crate::console::{Caller, Line};
use crate::model::{Crash, CrashKind, FollowOn, Frame};

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

/// A line of the log, as it was read.
pub(super) struct LogLine<'a> {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) parsed: Line<'a>,
    pub(super) whole: String,
}

/// The same, to be kept.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) time_s: Option<f64>,
    pub(super) caller: Option<Caller>,
    pub(super) dropped_before: bool,
    pub(super) text_at: usize,
    pub(super) text: String,
    pub(super) whole: String,
}

impl LogLine<'_> {
    pub(super) fn owned(self) -> Owned {
        Owned {
            number: self.number,
            offset: self.offset,
            time_s: self.parsed.time_s,
            caller: self.parsed.caller,
            dropped_before: self.parsed.dropped_before,
            text_at: self.parsed.text_at,
            text: self.parsed.text.into_owned(),
            whole: self.whole,
        }
    }
}

/// A report whose lines still come in.
pub(super) struct Gathered {
    found: Match,
    before: Vec<String>,
    lines: Vec<Owned>,
    bytes: usize,
    /// How many of `lines` belong for certain: up to the last that looks like
    /// a report's.
    used: usize,
    follow_ons: Vec<FollowOn>,
    ended: bool,
    interrupted: bool,
    all_cpus: bool,
    passed_by: usize,
    traced: bool,
    framed: bool,
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered")
            .field("signature", &self.found.row.signature.name)
            .field("lines", &self.lines.len())
            .finish_non_exhaustive()
    }
}

impl Gathered {
    pub(super) fn new(found: Match, first: Owned, before: Vec<String>) -> Self {
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

    fn first(&self) -> &Owned {
        &self.lines[0]
    }

    /// Whether the line may belong to this report: the same caller printed it,
    /// or callers are not told.
    pub(super) fn takes(&self, line: &Owned) -> bool {
        match (self.first().caller, line.caller) {
            (Some(mine), Some(other)) => {
                mine == other || (self.all_cpus && matches!(other, Caller::Cpu(_)))
            }
            _ => true,
        }
    }

    /// Whether a line that matches a signature is but another line of this
    /// report.
    pub(super) fn absorbs(&mut self, found: &Match, line: &Owned) -> bool {
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

    pub(super) fn push(&mut self, line: Owned) {
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
        self.framed |= text.contains("+0x") && !Entry::new(text).frames.is_empty();
        let near = self.lines.len() - self.used < NEAR;
        let belongs = strong || (near && looks_like_a_report(text));
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

/// How lines of a report begin, besides frames, registers and dumps.
const BEGINNINGS: &[&str] = &[
    "------------[",
    "---[",
    "=====",
    "-----",
    "CPU:",
    "CPU#",
    "Hardware name:",
    "Hardware Name:",
    "Modules linked in:",
    "Code:",
    "Workqueue:",
    "Call Trace",
    "Call trace",
    "Backtrace",
    "Stack:",
    "task:",
    "Process ",
    "Krnl",
    "#PF:",
    "PGD ",
    "Oops",
    "Mem abort info",
    "ESR =",
    "EC =",
    "SET =",
    "EA =",
    "FSC =",
    "Data abort info",
    "ISV =",
    "CM =",
    "user pgtable",
    "swapper pgtable",
    "[0000",
    "[ffff",
    "[dead",
    "pstate",
    "Insn",
    "Unable",
    "Internal error",
    "invalid opcode",
    "kasan:",
    "KASAN:",
    "Read of size",
    "Write of size",
    "Read at addr",
    "Write at addr",
    "Allocated by",
    "Freed by",
    "Allocated:",
    "Freed:",
    "The buggy address",
    "which belongs to",
    "The buggy",
    "Memory state",
    "page:",
    "flags:",
    "raw:",
    "page dumped",
    "page last",
    "page_owner",
    "head:",
    "^",
    "unreferenced object",
    "comm \"",
    "hex dump",
    "backtrace",
    "Kernel panic",
    "Kernel Offset",
    "Rebooting in",
    "other info that",
    "Possible unsafe",
    "*** ",
    "stack backtrace",
    "but task is",
    "which lock",
    "the existing",
    "-> #",
    "rcu:",
    "rcu_",
    "Sending NMI",
    "NMI ",
    "Showing ",
    "irq event",
    "hardirqs last",
    "softirqs last",
    "INFO:",
    "Preemption disabled",
    "in_atomic",
    "preempt_count",
    "RCU nest",
    "\"echo 0",
    "<IRQ",
    "</IRQ",
    "<TASK",
    "</TASK",
    "<NMI",
    "</NMI",
    "locks held",
    "no locks",
    "stack of",
    "(detected",
    "task is",
    "read ",
    "write to",
    "value changed",
    "Reported by",
    "Uninit was",
    "Local variable",
    "Bytes ",
    "Memory access",
    "kfence-#",
    "allocated by",
    "freed by",
    "Exception stack",
    "Flags:",
    "Dumping ftrace",
    "UBSAN",
    "index ",
    "shift exponent",
    "list_add",
    "list_del",
    "refcount_t",
    "CR2:",
    "RIP",
    "Tainted",
];

/// Registers, dumps of memory, locks that are held, list points of locks.
static BODY: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this file")]
    Regex::new(
        r"^(?:[A-Za-z][A-Za-z0-9]{1,6} ?: ?(?:[0-9a-f]{4}:)?[0-9a-f]{4,16}\b|[>0-9a-f]{8,17}[: ]|(?:[0-9a-f]{2} ){4}|#\d+: |\d+ locks? held by |\S+/\d+ (?:is trying|is freeing|just|takes)|\[<|lock\()|\[no\. \d|\(#\d+\)",
    )
    .expect("a pattern that compiles")
});

/// Whether a line is of the sort that reports consist of.
fn looks_like_a_report(text: &str) -> bool {
    let text = text.trim_start();
    text.contains("+0x")
        || BEGINNINGS.iter().any(|word| text.starts_with(word))
        || BODY.is_match(text)
}

/// Joins what a mail program or terminal broke: `[<`, a line break, the
/// address; `RAX: `, a line break, the value.
fn rejoin(lines: &[Owned]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(lines.len());
    for line in lines {
        let broken = out.last().is_some_and(|last| {
            let last = last.trim_end();
            let address =
                line.text.len() >= 8 && line.text.bytes().take(8).all(|b| b.is_ascii_hexdigit());
            address && (last.ends_with("[<") || last.ends_with('<') || last.ends_with(':'))
        });
        match out.last_mut() {
            Some(last) if broken => last.push_str(&line.text),
            _ => out.push(line.text.clone()),
        }
    }
    out
}

/// Reads a report that is complete or was cut.
pub(super) fn read(gathered: Gathered, log_ended: bool) -> Crash {
    let row = gathered.found.row;
    let signature = row.signature;
    let used = &gathered.lines[..gathered.used];
    let first = &used[0];
    let mut crash = Crash {
        signature: signature.name.to_owned(),
        kind: signature.kind,
        severity: signature.severity,
        ends_trial: signature.ends_trial,
        log_time_s: first.time_s,
        line: first.number,
        offset: first.offset,
        follow_ons: gathered.follow_ons.clone(),
        ..Crash::default()
    };
    place(&gathered, &mut crash);
    let texts = rejoin(used);
    let entries: Vec<Entry> = texts.iter().map(|text| Entry::new(text)).collect();
    for entry in &entries {
        facts::read(&entry.text, &mut crash);
    }
    let ip = entries
        .iter()
        .find_map(|entry| entry.ip.as_ref()?.frame.clone());
    let in_module = ip.as_ref().is_some_and(|frame| frame.module.is_some());
    crash.faulting_function = ip.as_ref().map(|frame| plain(&frame.function).to_owned());
    crash.faulting_offset = ip.and_then(|frame| frame.offset);
    crash.call_trace = call_trace(&entries);
    let header = &first.text[gathered.found.at.min(first.text.len())..];
    name(&gathered, header, &texts, &entries, &mut crash);
    excerpt(&gathered, &mut crash);
    crash.class = class::class(&crash, in_module);
    if !crash.corrupted {
        crash.corrupted_reason = corruption(&gathered, &entries, signature.look, log_ended);
        crash.corrupted = crash.corrupted_reason.is_some();
    }
    crash
}

/// Where the match stands, for a caret below it.
fn place(gathered: &Gathered, crash: &mut Crash) {
    let first = gathered.first();
    let at = first.text_at + gathered.found.at;
    let before = first.whole.get(..at).map_or(0, |text| text.chars().count());
    let matched = gathered
        .found
        .groups
        .first()
        .map_or(0, |text| text.trim_end().chars().count());
    crash.column = u32::try_from(before).unwrap_or(0);
    crash.width = u32::try_from(matched).unwrap_or(0);
}

/// The first call trace: of a report with several it is the crash's own.
fn call_trace(entries: &[Entry]) -> Vec<Frame> {
    let Some(begins) = entries.iter().position(|entry| !entry.frames.is_empty()) else {
        return Vec::new();
    };
    let mut frames = Vec::new();
    for entry in &entries[begins..] {
        if entry.heading {
            break;
        }
        frames.extend(entry.frames.iter().cloned());
    }
    frames
}

/// Title and function.
fn name(gathered: &Gathered, header: &str, texts: &[String], entries: &[Entry], crash: &mut Crash) {
    let row = gathered.found.row;
    let signature = row.signature;
    let blamed = blame::blame(signature.look, signature.over, header, entries);
    let rest = header.strip_prefix(signature.marker).unwrap_or(header);
    let mut title = signature
        .title
        .replace("{line}", header)
        .replace("{rest}", rest);
    for (number, group) in gathered.found.groups.iter().enumerate().skip(1) {
        title = title.replace(&format!("{{{number}}}"), group);
    }
    if let Some(within) = &row.within {
        match texts[1..].iter().find_map(|text| within.captures(text)) {
            Some(found) => title = title.replace("{w1}", &found[1]),
            None => {
                lost(crash, "the line that completes the title is missing");
                title = rest_of_kind(signature.name, header, rest);
            }
        }
    }
    if title.contains("{function}") {
        if blamed.is_none() && signature.function_optional {
            title = title.replace(" in {function}", "");
        } else if blamed.is_none() {
            lost(crash, "no frame that could be to blame");
        }
        title = title.replace("{function}", blamed.as_deref().unwrap_or("corrupted"));
    }
    if signature.cut {
        lost(crash, "the beginning of the report is missing");
    }
    crash.function = blamed.or_else(|| named_by_group(&gathered.found));
    crash.title = normalise(&title);
}

fn lost(crash: &mut Crash, reason: &str) {
    crash.corrupted = true;
    crash
        .corrupted_reason
        .get_or_insert_with(|| reason.to_owned());
}

/// The title of a report whose first line is all there is.
fn rest_of_kind(name: &str, header: &str, rest: &str) -> String {
    if name.starts_with("kasan") {
        format!("KASAN: {rest}")
    } else {
        header.to_owned()
    }
}

/// Some first lines name the function themselves.
fn named_by_group(found: &Match) -> Option<String> {
    let named = found.row.signature.name == "stack_protector";
    named.then(|| found.groups.get(1).cloned()).flatten()
}

fn excerpt(gathered: &Gathered, crash: &mut Crash) {
    crash.excerpt_line = crash.line - gathered.before.len() as u64;
    crash.excerpt.clone_from(&gathered.before);
    crash.excerpt.extend(
        gathered.lines[..gathered.used]
            .iter()
            .map(|line| line.whole.clone()),
    );
}

/// What makes a report one that should not be trusted.
fn corruption(
    gathered: &Gathered,
    entries: &[Entry],
    look: Look,
    log_ended: bool,
) -> Option<String> {
    let used = &gathered.lines[..gathered.used];
    if used.iter().skip(1).any(|line| line.dropped_before) {
        return Some("the kernel dropped lines inside it".to_owned());
    }
    if gathered.interrupted {
        return Some("another report begins inside it".to_owned());
    }
    let injected = entries.iter().any(|entry| {
        entry
            .frames
            .iter()
            .any(|frame| matches!(plain(&frame.function), "should_fail" | "should_failslab"))
    });
    if injected {
        return Some("a fault injection's trace stands inside it".to_owned());
    }
    let traced = entries.iter().any(|entry| !entry.frames.is_empty());
    if !matches!(look, Look::Nowhere | Look::Ip | Look::Workers) && !traced {
        let cut = if log_ended {
            "the log ends before its call trace"
        } else {
            "no call trace"
        };
        return Some(cut.to_owned());
    }
    None
}
