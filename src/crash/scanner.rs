//! Bytes in, events out: finds first lines of crashes in a stream. Memory is
//! bounded; where the chunks are cut changes nothing. Which report a line
//! belongs to is decided in `open_reports`.

use super::log_line::LogLine;
use super::open_reports::OpenReports;
use super::prefilter;
use super::recognise;
use super::surroundings::Log;
use crate::console;
use crate::model::{Crash, CrashKind, Severity};

/// A line longer than this is cut into lines of this length.
const LONGEST_LINE: usize = 64 << 10;
/// How far back the lines before a crash are looked at.
const HISTORY: usize = 16 << 10;
/// Lines between a ruler and the first line of its report, the ruler included.
const MOST_BEFORE: usize = 5;

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
    /// Up to where in `bytes` the log was learned from; a line's beginning.
    learned: usize,
    log: Log,
    reports: OpenReports,
    parsed: u64,
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
        self.reports.close_all(&mut events);
        events
    }

    /// Bytes of the log that are held at the moment, reports aside.
    pub fn retained_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes of lines that were parsed so far, each time counted: the work done,
    /// for tests that hold it to the length of the log.
    pub fn parsed_bytes(&self) -> u64 {
        self.parsed
    }

    /// Looks at every line that is complete.
    fn work(&mut self, ended: bool, events: &mut Vec<ScanEvent>) {
        while let Some(end) = self.complete_until(ended) {
            if self.reports.is_empty() {
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
        let hit = prefilter::hits(&self.bytes[start..stop]);
        if hit {
            self.learn(start);
        }
        self.parsed += (stop - start) as u64;
        let raw = &self.bytes[start..stop];
        let parsed = console::parse_line(raw);
        let found = hit
            .then(|| recognise::recognise(&parsed, self.log.surroundings()))
            .flatten();
        if found.is_none() && self.reports.is_empty() {
            return;
        }
        let boots = found
            .as_ref()
            .is_some_and(|found| found.row.signature.kind == CrashKind::Reboot);
        let unasked = boots && self.log.boots_unasked(&parsed, self.reports.died);
        let whole = console::clean(raw).into_owned();
        let line = LogLine::new(number, self.base + start as u64, parsed, whole);
        self.reports.learn(&line.text);
        let Some(found) = found else {
            self.reports.gather(&line, events);
            return;
        };
        let before = self.before(start);
        if boots {
            // Whatever was under way, its kernel is gone.
            self.reports.close_all(events);
            self.reports.died = false;
            if unasked {
                self.reports.begin(found, line, before, events);
            }
        } else {
            self.reports.found(found, line, before, events);
        }
    }

    /// Learns from the lines before `start` that were not learned from yet.
    fn learn(&mut self, start: usize) {
        let from = self.learned.max(start.saturating_sub(HISTORY)).min(start);
        let mut at = from;
        // The first of them may be cut.
        if at > self.learned {
            at = memchr::memchr(b'\n', &self.bytes[at..start]).map_or(start, |end| at + end + 1);
        }
        while at < start {
            let end =
                memchr::memchr(b'\n', &self.bytes[at..start]).map_or(start, |end| at + end + 1);
            self.log.learn(&self.bytes[at..end]);
            self.parsed += (end - at) as u64;
            at = end;
        }
        self.learned = start;
    }

    /// The number of the line that begins at `start`.
    fn number(&mut self, start: usize) -> u64 {
        let newlines = memchr::memchr_iter(b'\n', &self.bytes[self.counted..start]).count();
        self.lines += newlines as u64;
        self.counted = start;
        self.lines + 1
    }

    /// The lines before a report that belong to it: rulers and what was said
    /// just before the alarm.
    fn before(&mut self, start: usize) -> Vec<String> {
        let oldest = start.saturating_sub(HISTORY);
        let mut lines: Vec<&[u8]> = Vec::new();
        let mut end = start;
        while lines.len() < MOST_BEFORE && end > oldest {
            let from = memchr::memrchr(b'\n', &self.bytes[oldest..end - 1])
                .map_or(oldest, |newline| oldest + newline + 1);
            // The first line of what is kept may be cut.
            if from == oldest && (oldest > 0 || self.base > 0) {
                break;
            }
            let line = &self.bytes[from..end];
            self.parsed += line.len() as u64;
            lines.push(line);
            end = from;
            let text = console::parse_line(line).text;
            if text.contains("[ cut here ]") || text.starts_with("=====") {
                lines.reverse();
                return lines
                    .into_iter()
                    .map(|line| console::clean(line).into_owned())
                    .collect();
            }
        }
        Vec::new()
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
        self.learned = self.learned.saturating_sub(keep);
        self.counted -= keep;
    }
}
