//! The kernel's log of one trial while it comes in: reports found, each with the
//! phase that it fell into, the race's mark, and what the guest itself says of
//! blocked tasks. Pure; judges nothing.

use super::evidence::Report;
use super::race_clock::RaceClock;
use crate::crash::{ScanEvent, Scanner, Sign};
use crate::model::{CrashKind, Severity, TrialPhase};
use crate::vm::protocol::BLOCKED_MARK;

/// Longest line in which a mark is looked for; a line may come in pieces.
const LONGEST_LINE: usize = 2048;
/// Most lines on blocked tasks that are kept.
const MOST_BLOCKED: usize = 32;

/// A log that comes in.
#[derive(Debug, Default)]
pub(crate) struct KernelLog {
    scanner: Scanner,
    pub(crate) clock: RaceClock,
    reports: Vec<Report>,
    /// Where reports began that are not complete yet: their offsets.
    begun: Vec<(u64, TrialPhase)>,
    partial: Vec<u8>,
    /// The last whole line that says anything.
    last_line: Vec<u8>,
    blocked: Vec<String>,
}

impl KernelLog {
    /// Takes bytes of the log. `spoke`: whether our first process has said
    /// anything yet. Returns the first lines of reports.
    pub(crate) fn feed(&mut self, bytes: &[u8], spoke: bool) -> Vec<Sign> {
        self.clock.feed(bytes);
        self.follow_lines(bytes);
        let events = self.scanner.feed(bytes);
        self.take(events, spoke)
    }

    /// The log has ended: every report, in their order. `raced`: whether the
    /// race is known to have begun, for a log without its mark.
    pub(crate) fn finish(&mut self, raced: bool) -> Vec<Report> {
        let events = self.scanner.finish();
        self.take(events, true);
        if raced && !self.clock.is_marked() {
            for report in &mut self.reports {
                report.phase = report.phase.max(TrialPhase::Race);
            }
        }
        std::mem::take(&mut self.reports)
    }

    /// Whether a report that ends a trial has been read to its end.
    pub(crate) fn has_whole_report(&self) -> bool {
        self.reports.iter().any(|report| report.crash.ends_trial)
    }

    /// The last line, with all control characters left out; empty if none came.
    pub(crate) fn last_line(&self) -> String {
        let line = String::from_utf8_lossy(&self.last_line);
        let line: String = line.chars().filter(|char| !char.is_control()).collect();
        line.trim().to_owned()
    }

    /// What the guest said of blocked tasks, one per line.
    pub(crate) fn blocked(&self) -> &[String] {
        &self.blocked
    }

    fn take(&mut self, events: Vec<ScanEvent>, spoke: bool) -> Vec<Sign> {
        let mut signs = Vec::new();
        for event in events {
            match event {
                ScanEvent::Sign(sign) => {
                    let phase = self.phase(sign.offset, spoke);
                    self.begun.push((sign.offset, phase));
                    signs.push(sign);
                }
                ScanEvent::Crash(crash) => {
                    let begun = self.begun.iter().position(|(at, _)| *at == crash.offset);
                    let phase = match begun {
                        Some(index) => self.begun.swap_remove(index).1,
                        None => self.phase(crash.offset, spoke),
                    };
                    self.keep(Report {
                        crash: *crash,
                        phase,
                        count: 1,
                    });
                }
            }
        }
        signs
    }

    /// A kernel may warn thousands of times: the same title is kept once.
    fn keep(&mut self, report: Report) {
        let same = |other: &&mut Report| {
            other.crash.title == report.crash.title
                && other.phase == report.phase
                && other.crash.severity != Severity::Fatal
        };
        match self.reports.iter_mut().find(same) {
            Some(other) => other.count += 1,
            None => self.reports.push(report),
        }
    }

    /// Where the trial was when the log was at `offset`.
    fn phase(&self, offset: u64, spoke: bool) -> TrialPhase {
        if self.clock.marked_at().is_some_and(|mark| offset > mark) {
            TrialPhase::Race
        } else if spoke {
            TrialPhase::Setup
        } else {
            TrialPhase::Boot
        }
    }

    fn follow_lines(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.partial.len() + piece.len() <= LONGEST_LINE {
                self.partial.extend_from_slice(piece);
            }
            if !piece.ends_with(b"\n") {
                return;
            }
            let mark = memchr::memmem::find(&self.partial, BLOCKED_MARK.as_bytes());
            if let Some(at) = mark.filter(|_| self.blocked.len() < MOST_BLOCKED) {
                let text = self.partial[at + BLOCKED_MARK.len()..].trim_ascii();
                self.blocked
                    .push(String::from_utf8_lossy(text).into_owned());
            }
            if self.partial.iter().any(|&byte| byte > b' ' && byte != 0x7f) {
                std::mem::swap(&mut self.partial, &mut self.last_line);
            }
            self.partial.clear();
        }
    }
}

/// Whether the kernel is not expected to go on behind a report's first line. One
/// that a lesser report hurt goes on, and is judged at its end.
pub(crate) fn is_fatal(sign: &Sign) -> bool {
    sign.ends_trial && sign.severity == Severity::Fatal
}

/// Whether a report only says that something does not get on. Alone it ends no
/// trial: a starved host can be the cause. Where the trial does not get on
/// either, it says why.
pub(crate) fn is_complaint(kind: CrashKind, severity: Severity) -> bool {
    let of_progress = matches!(
        kind,
        CrashKind::Stall | CrashKind::HungTask | CrashKind::Lockup
    );
    of_progress && severity != Severity::Fatal
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[    0.100000] Linux version 6.1.192
[    0.500000] WARNING: CPU: 0 PID: 1 at kernel/boot.c:7 early_thing+0x1/0x2
[    0.500100] ---[ end trace 0000000000000000 ]---
[    1.000000] modrace: the race starts at 1000000000
[    1.500000] WARNING: CPU: 0 PID: 1 at kernel/module.c:7 m_show+0x1/0x2
[    1.500100] ---[ end trace 0000000000000000 ]---
[    1.600000] WARNING: CPU: 1 PID: 2 at kernel/module.c:7 m_show+0x1/0x2
[    1.600100] ---[ end trace 0000000000000000 ]---
[    6.000000] modrace: blocked: loader/0 in delete_module
";

    #[test]
    fn a_report_has_its_phase_and_count_however_the_log_is_cut() {
        for cut in (0..LOG.len()).step_by(7) {
            let mut log = KernelLog::default();
            log.feed(&LOG.as_bytes()[..cut], false);
            log.feed(&LOG.as_bytes()[cut..], false);
            assert_eq!(log.blocked(), ["loader/0 in delete_module"], "cut at {cut}");
            let found: Vec<_> = log
                .finish(true)
                .into_iter()
                .map(|report| (report.crash.title, report.phase, report.count))
                .collect();
            let expected = [
                ("WARNING in early_thing".to_owned(), TrialPhase::Boot, 1),
                ("WARNING in m_show".to_owned(), TrialPhase::Race, 2),
            ];
            assert_eq!(found, expected, "cut at {cut}");
        }
    }

    #[test]
    fn without_a_mark_the_recorder_says_that_the_race_had_begun() {
        let quiet = LOG.replace("modrace: the race starts", "something else");
        let mut log = KernelLog::default();
        log.feed(quiet.as_bytes(), true);
        let phases: Vec<_> = log.finish(true).iter().map(|report| report.phase).collect();
        assert_eq!(phases, [TrialPhase::Race, TrialPhase::Race]);
    }
}
