//! The lines of a report while they come in: which belong to it, and when it
//! has ended. What they say is read in `report`.

use super::body_line::{is_body_line, is_stack_words};
use super::guilty::{section_cpu, stuck_cpu};
use super::limits::{
    BEGINNING, MESSAGE_BEFORE, MOST_BYTES, MOST_LINES, MOST_STACK_LINES, MOST_SUSPENDED, NEAR,
    PASSED_BY, QUIET, QUIET_AFTER_END, QUIET_UNFINISHED, STUCK_WITHIN,
};
use super::log_line::LogLine;
use super::panic;
use super::recognise::Match;
use super::repeats;
use super::scanner::Sign;
use super::signature::FrameSelector;
use super::stack_line;
use super::title::normalise;
use crate::console::Caller;
use crate::model::{CrashKind, FollowOn, Severity};

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
    stack_lines: usize,
    /// How many of `lines` belong for certain: up to the last that looks like
    /// a report's.
    pub(super) used: usize,
    /// Own lines that belong for certain.
    body: usize,
    quiet: usize,
    pub(super) follow_ons: Vec<FollowOn>,
    /// The CPUs that it says are stuck.
    pub(super) cpus: Vec<u32>,
    /// The sign, while the line that confirms it is awaited.
    unconfirmed: Option<Sign>,
    repeats: repeats::Lines,
    ended: bool,
    pub(super) interrupted: bool,
    /// Whether another report's lines are mixed into it.
    pub(super) mixed: bool,
    /// Whether a fault came inside of this fault.
    pub(super) nested: bool,
    suspended: bool,
    resumed: bool,
    all_cpus: bool,
    passed_by: usize,
    traced: bool,
    framed: bool,
    code_seen: bool,
    process: Option<String>,
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
    /// A report that begins with this line; `sign` is kept while a signature
    /// that wants to be confirmed waits for that.
    pub(super) fn new(
        found: Match,
        first: LogLine,
        before: Vec<String>,
        sign: Option<Sign>,
    ) -> Self {
        let mut builder = Self {
            cpus: Vec::new(),
            unconfirmed: sign,
            found,
            before,
            bytes: 0,
            stack_lines: 0,
            lines: Vec::new(),
            used: 0,
            body: 0,
            quiet: 0,
            follow_ons: Vec::new(),
            repeats: repeats::Lines::default(),
            ended: false,
            interrupted: false,
            mixed: false,
            nested: false,
            suspended: false,
            resumed: false,
            all_cpus: false,
            passed_by: 0,
            traced: false,
            framed: false,
            code_seen: false,
            process: None,
        };
        builder.bytes = first.whole.len();
        builder.repeats.again(&first);
        builder.learn_cpu(&first.text);
        builder.lines.push(first);
        builder.used = 1;
        builder.body = 1;
        builder
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

    /// Whether the report has what every report of its kind has.
    pub(super) fn has_frames(&self) -> bool {
        self.framed
    }

    /// Whether its last line was seen.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it was set aside for a report that began inside it.
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether it goes on where a report that began inside it has ended.
    pub(super) fn goes_on(&self) -> bool {
        (self.suspended || self.resumed) && !self.ended
    }

    /// Whether its first line still waits to be confirmed.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }

    fn wants_frames(&self) -> bool {
        !matches!(
            self.found.row.signature.selector,
            FrameSelector::Nowhere | FrameSelector::Named
        )
    }

    fn is_fault(found: &Match) -> bool {
        let row = found.row.signature;
        row.severity == Severity::Fatal
            && row.selector == FrameSelector::PcThenTrace
            && row.kind != CrashKind::Panic
    }

    /// Whether a line that matches a signature is but another line of this
    /// report.
    pub(super) fn absorbs(&mut self, found: &Match, line: &LogLine) -> bool {
        let row = found.row.signature;
        let mine = self.found.row.signature;
        let text = &line.text[found.at..];
        if self.unconfirmed.is_some() && panic::reason(text).is_none() {
            return self.confirms(text);
        }
        // A symboliser repeats the first line for each inlined function.
        if row.name == mine.name && self.lines.len() == 1 && row.kind == CrashKind::Kasan {
            return true;
        }
        // What a WARN() says stands before its first line.
        if let Some(absorbs) = &self.found.row.absorbs
            && self.body <= MESSAGE_BEFORE
            && !self.framed
            && absorbs.is_match(text)
        {
            return true;
        }
        let beginning = self.body <= BEGINNING && !self.traced && !self.framed;
        if (row.continues && beginning) || self.same_report(row.name) {
            return true;
        }
        // A report whose beginning was lost begins in no other report.
        if row.cut && !row.confirm.0.is_empty() && !self.ended {
            return true;
        }
        // A panic in the middle of a report follows from it; behind its end,
        // only if it says so.
        if let Some(reason) = panic::reason(text) {
            if !self.ended || panic::is_consequence(reason) {
                self.follow(found, line);
                self.ended = false;
                return true;
            }
            return false;
        }
        // A fault while a fault is printed: the first is the one.
        if Self::is_fault(found) && Self::is_fault(&self.found) && self.is_inside(line) {
            self.nested |= !self.framed;
            self.follow(found, line);
            return true;
        }
        false
    }

    /// Whether this is the line that the first one waits for.
    fn confirms(&self, text: &str) -> bool {
        let confirm = &self.found.row.confirm;
        confirm
            .as_ref()
            .is_some_and(|confirm| confirm.is_match(text))
    }

    fn follow(&mut self, found: &Match, line: &LogLine) {
        let row = found.row.signature;
        self.follow_ons.push(FollowOn {
            signature: row.name.to_owned(),
            kind: row.kind,
            title: normalise(&line.text[found.at..]),
            line: line.number,
        });
    }

    /// Whether the line comes while the kernel still prints this report.
    fn is_inside(&self, line: &LogLine) -> bool {
        let near = match (self.lines.last().and_then(|last| last.time_s), line.time_s) {
            (Some(last), Some(now)) => (now - last).abs() < 1.0,
            _ => self.quiet == 0,
        };
        near && !self.ended && !self.code_seen && self.body > 1
    }

    /// Old SLUB prints its own report below KASAN's, and tracks objects below
    /// its own; the unwinder complains while it prints a trace.
    fn same_report(&self, name: &str) -> bool {
        let kind = self.found.row.signature.kind;
        match name {
            "slub" | "slub_poison" | "slub_other" => kind == CrashKind::Kasan,
            "slab_freed" | "slab_allocated" => {
                matches!(kind, CrashKind::Kasan | CrashKind::BadMemory)
            }
            "stack_regs" | "stack_frame_pointer" | "unwinder" => !self.ended && self.wants_frames(),
            _ => false,
        }
    }

    /// Whether the report is to be set aside for one that begins inside it, to
    /// go on when that has ended.
    pub(super) fn suspend(&mut self, found: &Match, line: &LogLine) -> bool {
        let same = self.found.row.signature.name == found.row.signature.name;
        let other_cpu = !self.cpus.is_empty()
            && stuck_cpu(&line.text[found.at..]).is_some_and(|cpu| !self.cpus.contains(&cpu));
        let keep = self.unconfirmed.is_none()
            && !self.ended
            && !self.framed
            && self.wants_frames()
            && self.lines.len() < MOST_SUSPENDED
            && (!same || other_cpu);
        self.suspended |= keep;
        keep
    }

    /// The report that began inside this one has ended.
    pub(super) fn resume(&mut self) {
        self.suspended = false;
        self.resumed = true;
        self.quiet = 0;
    }

    /// A line of the report that began inside this one.
    pub(super) fn push_foreign(&mut self, mut line: LogLine) {
        line.foreign = true;
        self.bytes += line.whole.len();
        self.lines.push(line);
    }

    /// Whether the line was seen in this report before; once the first line
    /// came twice, each does.
    pub(super) fn repeats(&mut self, line: &LogLine) -> bool {
        self.repeats.again(line)
    }

    /// Whether this is the report's first line once more, at once.
    pub(super) fn is_doubled_by(&mut self, line: &LogLine) -> bool {
        let doubled = self.lines.len() == 1
            && self.first().time_s == line.time_s
            && self.first().text == line.text;
        self.repeats.doubled |= doubled;
        doubled
    }

    /// Takes a line; `absorbed` where a signature matched it. Gives the sign
    /// that it confirms.
    pub(super) fn push(&mut self, line: LogLine, absorbed: bool) -> Option<Sign> {
        let text = &line.text;
        self.bytes += line.whole.len();
        self.passed_by = 0;
        if self.lines.len() <= STUCK_WITHIN {
            self.learn_cpu(text);
        }
        self.all_cpus |=
            text.contains("Sending NMI from CPU") || text.contains("NMI backtrace for cpu");
        self.traced |= ["Call Trace", "Call trace", "backtrace:", "Backtrace:"]
            .iter()
            .any(|words| text.contains(words));
        self.code_seen |= text.starts_with("Code:") || text.starts_with("Instruction dump");
        self.notice_mixture(text);
        // A sanitizer's report stands between two rulers.
        let ruler = self.traced && text.starts_with("==========");
        let end = text.contains("---[ end ") || ruler;
        let stack = is_stack_words(text);
        // With a frame there already, an offset is enough of a sign.
        let offset = text.contains("+0x");
        let known = offset && self.framed;
        let framed = !stack && !known && stack_line::has_frame(text);
        self.framed |= framed;
        let strong = end || absorbed || framed || offset || stack;
        let near = self.quiet < NEAR;
        let belongs = strong || text.contains("Kernel panic") || (near && is_body_line(text));
        let confirmed = self.unconfirmed.is_some() && (absorbed || self.confirms(text));
        self.stack_lines += usize::from(stack);
        self.lines.push(line);
        if belongs {
            self.used = self.lines.len();
            self.body += 1;
            self.quiet = 0;
        } else {
            self.quiet += 1;
        }
        self.ended |= end;
        if confirmed {
            return self.unconfirmed.take();
        }
        None
    }

    fn learn_cpu(&mut self, text: &str) {
        if matches!(
            self.found.row.signature.kind,
            CrashKind::Lockup | CrashKind::Stall
        ) && let Some(cpu) = stuck_cpu(text)
            && !self.cpus.contains(&cpu)
        {
            self.cpus.push(cpu);
        }
    }

    /// A report that began inside another says twice who ran: the other's
    /// lines are mixed into it.
    fn notice_mixture(&mut self, text: &str) {
        if self.all_cpus || self.traced || self.ended || !text.contains("omm: ") {
            return;
        }
        let who = text.split("omm: ").next().unwrap_or_default();
        match &self.process {
            None => self.process = Some(who.to_owned()),
            Some(known) => self.mixed |= known != who && section_cpu(text).is_some(),
        }
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
        let most_quiet = if self.unconfirmed.is_some() {
            self.found.row.signature.confirm.1
        } else if self.ended {
            QUIET_AFTER_END
        } else if self.wants_frames() && !self.framed && !self.resumed {
            QUIET_UNFINISHED
        } else {
            QUIET
        };
        let unconfirmed = self.unconfirmed.is_some() && self.lines.len() > most_quiet;
        (self.quiet >= most_quiet && !self.suspended)
            || unconfirmed
            || self.lines.len() - self.stack_lines >= MOST_LINES
            || self.stack_lines >= MOST_STACK_LINES
            || self.bytes >= MOST_BYTES
            || self.passed_by >= PASSED_BY
    }
}
