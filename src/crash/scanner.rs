//! Bytes in, events out: finds first lines of crashes in a stream and gathers
//! the lines that belong to each. Memory is bounded; where the chunks are cut
//! changes nothing. What the lines say is read in `report`.

use std::collections::VecDeque;

use super::report;
use super::report_builder::{LogLine, ReportBuilder};
use super::signature::{self, Match, Surroundings};
use super::{ignore, prefilter};
use crate::console::{self, Origin};
use crate::model::{Crash, CrashKind, Severity};

/// A line longer than this is cut into lines of this length.
const LONGEST_LINE: usize = 64 << 10;
/// How far back the lines before a crash are looked at.
const HISTORY: usize = 16 << 10;
/// How many of them tell whether the kernel stamps its lines.
const LINES_BACK: usize = 64;
/// Reports builder at a time: one for each CPU that talks at once.
const MOST_OPEN: usize = 8;

/// What the scanner has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum ScanEvent {
    /// The first line of a crash has just been seen; its report isn't complete
    /// yet.
    Sign(Sign),
    /// A crash report is complete, or was cut.
    Crash(Box<Crash>),
}

/// The first line of a crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign {
    /// Offset of the line in the log, bytes.
    pub offset: u64,
    /// Number of the line in the log, from 1.
    pub line: u64,
    /// printk's time of the line, seconds since boot.
    pub log_time_s: Option<f64>,
    /// The name of the signature that matched.
    pub signature: &'static str,
    /// What sort of report begins.
    pub kind: CrashKind,
    /// How bad it is.
    pub severity: Severity,
    /// Whether a trial is over with it.
    pub ends_trial: bool,
    /// The line itself.
    pub text: String,
}

/// Finds crashes in a stream.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Bytes kept: some history, then what was not looked at yet.
    bytes: Vec<u8>,
    /// Offset in the log of `bytes[0]`.
    base: u64,
    /// Where in `bytes` the next line begins.
    next: usize,
    /// Up to where in `bytes` newlines were looked for and not found.
    searched: usize,
    /// Lines before `counted`.
    lines: u64,
    /// Up to where in `bytes` lines were counted; a line's beginning.
    counted: usize,
    open: VecDeque<ReportBuilder>,
    /// Whether a crash that ends a kernel's life was seen since it booted.
    died: bool,
}

impl Scanner {
    /// A scanner at the beginning of a log.
    pub fn new() -> Self {
        Self::default()
    }

    /// The events that these bytes complete. Where chunks are cut never
    /// changes the events.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<ScanEvent> {
        let mut events = Vec::new();
        // Piecewise, so that a whole log in one chunk is not copied as a whole.
        for piece in bytes.chunks(1 << 20) {
            self.bytes.extend_from_slice(piece);
            self.work(false, &mut events);
            self.forget();
        }
        events
    }

    /// The log has ended: the events that were waiting for more.
    pub fn finish(&mut self) -> Vec<ScanEvent> {
        let mut events = Vec::new();
        self.work(true, &mut events);
        while let Some(builder) = self.open.pop_front() {
            events.push(close(&builder, true));
        }
        events
    }

    /// Bytes of the log that are held at the moment, reports aside.
    pub fn retained_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Looks at every line that is complete.
    fn work(&mut self, ended: bool, events: &mut Vec<ScanEvent>) {
        while let Some(end) = self.complete_until(ended) {
            if self.open.is_empty() {
                // Nothing is under way: jump to the next line that matters.
                match prefilter::next(&self.bytes[..end], self.next) {
                    None => {
                        self.next = end;
                        continue;
                    }
                    Some(at) => self.next = self.line_start(at),
                }
            }
            let stop = self.line_end(end);
            self.line(self.next, stop, events);
            self.next = stop;
        }
    }

    /// Up to where lines are complete, if there is such a line.
    fn complete_until(&mut self, ended: bool) -> Option<usize> {
        if self.next == self.bytes.len() {
            return None;
        }
        if ended {
            return Some(self.bytes.len());
        }
        let from = self.searched.max(self.next);
        if let Some(at) = memchr::memrchr(b'\n', &self.bytes[from..]) {
            return Some(from + at + 1);
        }
        self.searched = self.bytes.len();
        // No end in sight: what is as long as a line may be, counts as lines.
        let whole = (self.bytes.len() - self.next) / LONGEST_LINE * LONGEST_LINE;
        (whole > 0).then_some(self.next + whole)
    }

    /// The beginning of the line that holds `at`.
    fn line_start(&self, at: usize) -> usize {
        let start = memchr::memrchr(b'\n', &self.bytes[self.next..at])
            .map_or(self.next, |newline| self.next + newline + 1);
        start + (at - start) / LONGEST_LINE * LONGEST_LINE
    }

    /// The end, with its newline, of the line that begins at `next`.
    fn line_end(&self, end: usize) -> usize {
        let most = end.min(self.next + LONGEST_LINE);
        memchr::memchr(b'\n', &self.bytes[self.next..most])
            .map_or(most, |newline| self.next + newline + 1)
    }

    /// Looks at one line.
    fn line(&mut self, start: usize, stop: usize, events: &mut Vec<ScanEvent>) {
        let number = self.number(start);
        let raw = &self.bytes[start..stop];
        let parsed = console::parse_line(raw);
        let found = (prefilter::hits(raw) && !ignore::harmless(&parsed.text))
            .then(|| signature::recognise(&parsed, self.surroundings(start)))
            .flatten();
        if found.is_none() && self.open.is_empty() {
            return;
        }
        let whole = console::clean(raw).into_owned();
        let line = LogLine::new(number, self.base + start as u64, parsed, whole);
        match found {
            Some(found) => self.found(found, line, start, events),
            None => self.gather(&line, events),
        }
    }

    /// A line that a signature matches.
    fn found(&mut self, found: Match, line: LogLine, start: usize, events: &mut Vec<ScanEvent>) {
        let row = found.row.signature;
        if row.kind == CrashKind::Reboot && (self.died || !self.was_up(start)) {
            // A machine that boots, or boots because it crashed.
            self.died = false;
            self.gather(&line, events);
            return;
        }
        let newest = self.open.iter_mut().rev().find(|open| open.takes(&line));
        if let Some(open) = newest
            && open.absorbs(&found, &line)
        {
            open.push(line);
            return;
        }
        // Without callers nobody can tell whose the lines are: they are the
        // newest report's.
        let mut index = 0;
        while index < self.open.len() {
            if self.open[index].takes(&line) || self.open.len() >= MOST_OPEN {
                if let Some(mut builder) = self.open.remove(index) {
                    builder.interrupted();
                    events.push(close(&builder, false));
                }
            } else {
                index += 1;
            }
        }
        self.died |= row.severity == Severity::Fatal;
        events.push(ScanEvent::Sign(Sign {
            offset: line.offset,
            line: line.number,
            log_time_s: line.time_s,
            signature: row.name,
            kind: row.kind,
            severity: row.severity,
            ends_trial: row.ends_trial,
            text: line.whole.clone(),
        }));
        let before = self.before(start);
        self.open.push_back(ReportBuilder::new(found, line, before));
    }

    /// A line that none matches: it may belong to a report.
    fn gather(&mut self, line: &LogLine, events: &mut Vec<ScanEvent>) {
        let mut index = 0;
        while index < self.open.len() {
            if self.open[index].takes(line) {
                self.open[index].push(line.clone());
            } else {
                self.open[index].passed_by();
            }
            if self.open[index].complete() {
                if let Some(builder) = self.open.remove(index) {
                    events.push(close(&builder, false));
                }
            } else {
                index += 1;
            }
        }
    }

    /// The number of the line that begins at `start`.
    fn number(&mut self, start: usize) -> u64 {
        let newlines = memchr::memchr_iter(b'\n', &self.bytes[self.counted..start]).count();
        self.lines += newlines as u64;
        self.counted = start;
        self.lines + 1
    }

    /// The complete lines just before `start`, oldest first.
    fn history(&self, start: usize) -> impl Iterator<Item = &[u8]> {
        let from = start.saturating_sub(HISTORY);
        let kept = &self.bytes[from..start];
        // The first of them may be cut.
        let cut = if from == 0 && self.base == 0 {
            0
        } else {
            memchr::memchr(b'\n', kept).map_or(kept.len(), |at| at + 1)
        };
        kept[cut..].split_inclusive(|&b| b == b'\n')
    }

    /// Whether the kernel's lines have printk's times here. One such line is
    /// enough: a kernel that stamps its lines stamps them all.
    fn surroundings(&self, start: usize) -> Surroundings {
        let lines: Vec<&[u8]> = self.history(start).collect();
        let stamped = lines
            .iter()
            .rev()
            .take(LINES_BACK)
            .any(|line| console::parse_line(line).origin == Origin::Kernel);
        if stamped {
            Surroundings::Stamped
        } else {
            Surroundings::Bare
        }
    }

    /// Whether the log shows a kernel that had booted, and was not told to
    /// reboot.
    fn was_up(&self, start: usize) -> bool {
        let mut up = false;
        for raw in self.history(start) {
            let line = console::parse_line(raw);
            // Once a kernel runs for this long, its boot loader is long gone.
            up |= line.time_s.is_some_and(|time| time >= 5.0);
            if line.text.starts_with("reboot: ") || line.text.contains("Restarting system") {
                return false;
            }
        }
        up
    }

    /// The lines before a report that belong to it: rulers and what was said
    /// just before the alarm.
    fn before(&self, start: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for raw in self.history(start) {
            let text = console::parse_line(raw).text.into_owned();
            if text.contains("[ cut here ]") || text.starts_with("=====") {
                lines.clear();
            } else if lines.is_empty() {
                continue;
            }
            lines.push(console::clean(raw).into_owned());
            if lines.len() > 5 {
                lines.clear();
            }
        }
        lines
    }

    /// Drops what nobody needs any more.
    fn forget(&mut self) {
        let keep = self.next.saturating_sub(HISTORY + LONGEST_LINE);
        if keep < (1 << 19) {
            return;
        }
        let newlines =
            memchr::memchr_iter(b'\n', &self.bytes[self.counted.min(keep)..keep]).count();
        if self.counted < keep {
            self.lines += newlines as u64;
            self.counted = keep;
        }
        self.bytes.drain(..keep);
        self.base += keep as u64;
        self.next -= keep;
        self.searched = self.searched.saturating_sub(keep);
        self.counted -= keep;
    }
}

fn close(builder: &ReportBuilder, log_ended: bool) -> ScanEvent {
    ScanEvent::Crash(Box::new(report::read(builder, log_ended)))
}
