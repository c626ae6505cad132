//! The reports that are under way, and which of them a line belongs to: by who
//! printed it, by the CPU that is shown, by what a report still lacks.

use std::collections::VecDeque;

use super::guilty::section_cpu;
use super::log_line::LogLine;
use super::recognise::Match;
use super::repeats::Repeats;
use super::report;
use super::report_builder::ReportBuilder;
use super::scanner::{ScanEvent, Sign};
use crate::model::Severity;

/// Reports gathered at a time: one for each CPU that talks at once.
const MOST_OPEN: usize = 8;

/// Reports under way.
#[derive(Debug, Default)]
pub(super) struct OpenReports {
    open: VecDeque<ReportBuilder>,
    repeats: Repeats,
    /// The CPU whose state the lines show.
    section: Option<u32>,
    /// Whether a crash that ends a kernel's life was seen since it booted.
    pub(super) died: bool,
}

impl OpenReports {
    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Learns whose state the lines show.
    pub(super) fn learn(&mut self, text: &str) {
        if let Some(cpu) = section_cpu(text) {
            self.section = Some(cpu);
        }
    }

    /// The log, or the kernel's life, has ended: no report goes on.
    pub(super) fn close_all(&mut self, events: &mut Vec<ScanEvent>) {
        while let Some(builder) = self.open.pop_front() {
            close(&builder, true, events);
        }
    }

    /// A line that a signature matches.
    pub(super) fn found(
        &mut self,
        found: Match,
        line: LogLine,
        before: Vec<String>,
        events: &mut Vec<ScanEvent>,
    ) {
        let owner = self.owner(&line);
        if line.text[..found.at].contains("---[ end ") {
            // The end of a panic, not one more; alone, all that is left of it.
            if owner.is_some() || self.died {
                self.gather(&line, events);
                return;
            }
        }
        if self.repeats.again(&line) {
            if let Some(owner) = owner
                && !self.open[owner].is_doubled_by(&line)
                && self.open[owner].has_frames()
                && let Some(builder) = self.open.remove(owner)
            {
                close(&builder, false, events);
            }
            return;
        }
        // A panic follows from the newest report, even one that has ended.
        let newest = (0..self.open.len())
            .rev()
            .find(|&at| self.open[at].takes(&line))
            .filter(|_| found.row.signature.severity == Severity::Fatal);
        for open in [newest, owner].into_iter().flatten() {
            if self.open[open].absorbs(&found, &line) {
                self.died |= found.row.signature.severity == Severity::Fatal;
                self.take(open, &line, true, events);
                return;
            }
        }
        self.set_aside(&found, &line, events);
        self.begin(found, line, before, events);
    }

    /// Makes room for a report that begins: those whose lines it could take are
    /// complete, or go on when it has ended.
    fn set_aside(&mut self, found: &Match, line: &LogLine, events: &mut Vec<ScanEvent>) {
        let mut index = 0;
        while index < self.open.len() {
            let builder = &mut self.open[index];
            let takes = builder.takes(line);
            if takes && self.open.len() < MOST_OPEN && self.open[index].suspend(found, line) {
                self.open[index].push_foreign(line.clone());
                index += 1;
            } else if takes || self.open.len() >= MOST_OPEN {
                if let Some(mut builder) = self.open.remove(index) {
                    builder.interrupted();
                    close(&builder, false, events);
                }
            } else {
                index += 1;
            }
        }
    }

    /// A report begins.
    pub(super) fn begin(
        &mut self,
        found: Match,
        line: LogLine,
        before: Vec<String>,
        events: &mut Vec<ScanEvent>,
    ) {
        let row = found.row.signature;
        let sign = Sign {
            offset: line.offset,
            line: line.number,
            log_time_s: line.time_s,
            signature: row.name,
            kind: row.kind,
            severity: row.severity,
            ends_trial: row.ends_trial,
            text: line.whole.clone(),
        };
        let unconfirmed = if row.confirm.0.is_empty() {
            self.died |= row.severity == Severity::Fatal;
            events.push(ScanEvent::Sign(sign));
            None
        } else {
            Some(sign)
        };
        self.open
            .push_back(ReportBuilder::new(found, line, before, unconfirmed));
    }

    /// The report that a line belongs to.
    fn owner(&self, line: &LogLine) -> Option<usize> {
        let taking = || {
            (0..self.open.len())
                .rev()
                .filter(|&at| self.open[at].takes(line))
        };
        let newest = taking().next()?;
        // Several stuck CPUs: whose state is shown is said.
        if self.open[newest].cpus.len() == 1
            && let Some(cpu) = self.section
            && let Some(its) = taking().find(|&at| self.open[at].cpus == [cpu])
        {
            return Some(its);
        }
        if self.open[newest].has_ended()
            && let Some(older) = taking().find(|&at| self.open[at].goes_on())
        {
            return Some(older);
        }
        Some(newest)
    }

    /// A line that begins no report: it may belong to one.
    pub(super) fn gather(&mut self, line: &LogLine, events: &mut Vec<ScanEvent>) {
        if let Some(owner) = self.owner(line) {
            self.take(owner, line, false, events);
        } else {
            for builder in &mut self.open {
                builder.passed_by();
            }
            self.close_complete(events);
        }
    }

    /// The report at `owner` takes a line; `absorbed` where a signature matched
    /// it.
    fn take(&mut self, owner: usize, line: &LogLine, absorbed: bool, events: &mut Vec<ScanEvent>) {
        if self.open[owner].is_suspended() && self.open[owner].cpus.is_empty() {
            self.open[owner].resume();
            // Those that began inside it have ended.
            while self.open.len() > owner + 1 {
                match self.open.pop_back() {
                    Some(inner) if inner.takes(line) => close(&inner, false, events),
                    Some(inner) => {
                        self.open.push_back(inner);
                        break;
                    }
                    None => break,
                }
            }
        }
        for at in 0..self.open.len() {
            let builder = &mut self.open[at];
            if at == owner {
                if !builder.repeats(line)
                    && let Some(sign) = builder.push(line.clone(), absorbed)
                {
                    self.died |= sign.severity == Severity::Fatal;
                    events.push(ScanEvent::Sign(sign));
                }
            } else if !builder.takes(line) {
                builder.passed_by();
            } else if builder.is_suspended() {
                builder.push_foreign(line.clone());
            }
        }
        // Reports without callers that are mixed are mixed into each other.
        if self.open[owner].mixed {
            for builder in self.open.iter_mut().filter(|open| open.is_suspended()) {
                builder.mixed = true;
            }
        }
        self.close_complete(events);
    }

    /// Closes the reports that have ended.
    fn close_complete(&mut self, events: &mut Vec<ScanEvent>) {
        let mut index = 0;
        while index < self.open.len() {
            if self.open[index].complete() {
                if let Some(builder) = self.open.remove(index) {
                    close(&builder, false, events);
                    if self.open.len() == 1 && self.open[0].is_suspended() {
                        self.open[0].resume();
                    }
                }
            } else {
                index += 1;
            }
        }
    }
}

/// The crash of a report that is complete; none where its first line was not
/// confirmed.
fn close(builder: &ReportBuilder, log_ended: bool, events: &mut Vec<ScanEvent>) {
    if !builder.is_unconfirmed() {
        let crash = report::read(builder, log_ended);
        events.push(ScanEvent::Crash(Box::new(crash)));
    }
}
