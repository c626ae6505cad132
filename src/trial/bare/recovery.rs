//! What a journal and the logs of a dead kernel tell, put together. Pure:
//! records and bytes in, a trial's outcome out. An end that nothing explains
//! is never a clean one.

use std::path::PathBuf;

use super::journal::{Beat, Begin, FORMAT, RacingMark, Record, SignRecord, TrialStart};
use crate::crash::scan;
use crate::model::{Crash, Interval, Outcome, Trial};
use crate::trial::race_clock::{CLOCK_TOLERANCE_S, last_mark_s};
use crate::vm::protocol::Finished;

/// Without a cycle for so long before the end, the race had stopped.
const STALL_S: f64 = 30.0;
/// How long a dying machine may take from its last heartbeat to its crash,
/// seconds, where no mark ties the log to the trial.
const SILENCE_S: f64 = 60.0;

/// A run as its journal tells it.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What the run is.
    pub begin: Begin,
    /// Trials with an outcome.
    pub trials: Vec<Trial>,
    /// The trial that has none.
    pub open: Option<OpenTrial>,
    /// Whether the run said that it was over.
    pub ended: bool,
}

/// A trial that was under way when the journal stops.
#[derive(Clone, Debug)]
pub struct OpenTrial {
    /// Its beginning.
    pub start: TrialStart,
    /// The start of its race.
    pub racing: Option<RacingMark>,
    /// The last heartbeat.
    pub last: Option<Beat>,
    /// Longest time between two heartbeats, seconds.
    pub longest_gap_s: f64,
    /// A crash had begun.
    pub sign: Option<SignRecord>,
    /// The racer's last word.
    pub result: Option<Finished>,
}

/// A log to look into.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// What it is, for people.
    pub source: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What a trial's record needs besides its counts.
#[derive(Debug, Default)]
struct Found {
    exposure_s: f64,
    time_to_crash_s: Option<f64>,
    bounds: Option<Interval>,
    crash: Option<Crash>,
    signals: Vec<String>,
    notes: Vec<String>,
}

/// What became of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// It has booted since.
    Rebooted,
    /// It is in the same boot, and so the run itself was killed.
    SameBoot {
        /// Whether the kernel is tainted by a death.
        died: bool,
    },
}

impl Recovery {
    /// Reads a journal's records. None if it does not begin as a journal does:
    /// the power went before the run's first record was whole.
    pub fn read(records: Vec<Record>) -> Option<Self> {
        let mut records = records.into_iter();
        let begin = match records.next() {
            Some(Record::Begin(begin)) if begin.format == FORMAT => *begin,
            _ => return None,
        };
        let mut recovery = Self {
            begin,
            trials: Vec::new(),
            open: None,
            ended: false,
        };
        for record in records {
            recovery.follow(record);
        }
        Some(recovery)
    }

    fn follow(&mut self, record: Record) {
        match (record, &mut self.open) {
            (Record::Trial(start), open) => {
                *open = Some(OpenTrial {
                    start,
                    racing: None,
                    last: None,
                    longest_gap_s: 0.0,
                    sign: None,
                    result: None,
                });
            }
            (Record::Racing(racing), Some(open)) => open.racing = Some(racing),
            (Record::Beat(beat), Some(open)) => {
                if let Some(before) = &open.last {
                    let gap_ms = beat.unix_ms.saturating_sub(before.unix_ms);
                    open.longest_gap_s = open.longest_gap_s.max(gap_ms as f64 / 1e3);
                }
                open.last = Some(beat);
            }
            (Record::Sign(sign), Some(open)) => {
                open.sign.get_or_insert(sign);
            }
            (Record::Result(result), Some(open)) => open.result = Some(*result),
            (Record::Outcome(trial), open) => {
                *open = None;
                self.trials.push(*trial);
            }
            (Record::End { .. }, _) => self.ended = true,
            (Record::Begin(_), _) | (_, None) => {}
        }
    }

    /// The index of the next trial to be made, if any is left.
    pub fn next_trial(&self) -> Option<u32> {
        let made = self.trials.len() + usize::from(self.open.is_some());
        let next = u32::try_from(made).ok()?;
        (next < self.begin.report.settings.trials).then_some(next)
    }
}

impl OpenTrial {
    /// Pstore records and the like that lay about before the trial.
    pub fn old_logs(&self) -> &[PathBuf] {
        &self.start.old_logs
    }

    /// The outcome of this trial. Returns which pieces of evidence show its
    /// crash; the first of them decided it.
    pub fn decide(
        &self,
        heartbeat_s: f64,
        evidence: &[Evidence<'_>],
        machine: Machine,
    ) -> (Trial, Vec<usize>) {
        let mut decided = None;
        let mut showing = Vec::new();
        for (index, log) in evidence.iter().enumerate() {
            if let Some(trial) = self.crash_in(log, heartbeat_s) {
                showing.push(index);
                decided.get_or_insert(trial);
            }
        }
        let trial = decided.unwrap_or_else(|| self.without_log(heartbeat_s, machine, evidence));
        (trial, showing)
    }

    /// A crash of this trial in a log.
    fn crash_in(&self, log: &Evidence<'_>, heartbeat_s: f64) -> Option<Trial> {
        let mark_s = last_mark_s(log.bytes);
        let journaled_s = self.racing.as_ref().and_then(|racing| racing.log_start_s);
        let start_s = mark_s.or(journaled_s);
        let fits = |crash: &Crash| self.is_ours(crash.log_time_s, mark_s, journaled_s, heartbeat_s);
        let crash = scan(log.bytes)
            .into_iter()
            .find(|crash| crash.ends_trial && fits(crash))?;
        let signals = vec![
            format!("{}: {}", log.source, crash.title),
            "journal: the trial has no end".to_owned(),
        ];
        if start_s.is_none() {
            return Some(self.trial(
                Outcome::Broken,
                format!("the kernel crashed before the race began: {}", crash.title),
                Found {
                    crash: Some(crash),
                    signals,
                    ..Found::default()
                },
            ));
        }
        let time_s = crash
            .log_time_s
            .zip(start_s)
            .map(|(at, start)| at - start)
            .filter(|&time_s| time_s + CLOCK_TOLERANCE_S >= self.raced_s());
        Some(self.crashed(crash, time_s, heartbeat_s, signals))
    }

    /// Whether a crash at this time of its log's clock is this trial's. The
    /// log may be of another boot: of a crash that nobody had looked at yet,
    /// or of one that came after ours.
    fn is_ours(
        &self,
        crash_s: Option<f64>,
        mark_s: Option<f64>,
        journaled_s: Option<f64>,
        heartbeat_s: f64,
    ) -> bool {
        match (crash_s, mark_s, journaled_s) {
            // The log bears our mark, and the journal knows when that was set.
            (Some(at), Some(mark), Some(start)) => {
                (mark - start).abs() <= CLOCK_TOLERANCE_S && at >= mark
            }
            (Some(at), Some(mark), None) => at >= mark,
            // The mark was cut off: the crash must stand where we stopped.
            (Some(at), None, Some(start)) => {
                let last = start + self.raced_s();
                let patience = 2.0 * heartbeat_s.max(self.longest_gap_s) + SILENCE_S;
                (last - CLOCK_TOLERANCE_S..=last + patience).contains(&at)
            }
            // Without clocks there is only that it was not here before.
            _ => true,
        }
    }

    fn without_log(&self, heartbeat_s: f64, machine: Machine, evidence: &[Evidence<'_>]) -> Trial {
        if let Some(sign) = &self.sign {
            let line = format!("{}\n", sign.line);
            let crash = scan(line.as_bytes()).into_iter().next().unwrap_or_default();
            let start_s = self.racing.as_ref().and_then(|racing| racing.log_start_s);
            let time_s = sign.log_time_s.zip(start_s).map(|(at, start)| at - start);
            let signals = vec![
                format!("journal: {}", crash.title),
                "journal: the trial has no end".to_owned(),
            ];
            return self.crashed(crash, time_s, heartbeat_s, signals);
        }
        let looked = if evidence.is_empty() {
            "no log of the dead kernel was found".to_owned()
        } else {
            let sources: Vec<&str> = evidence.iter().map(|log| log.source).collect();
            format!("no crash in {}", sources.join(", "))
        };
        let raced_s = self.raced_s();
        let idle_s = self.last.as_ref().map_or(0.0, |last| last.idle_s);
        let stalled = self.racing.is_some() && idle_s >= STALL_S;
        let (outcome, reason) = match machine {
            Machine::SameBoot { died: true } => (
                Outcome::Broken,
                format!("modrace was killed, and the kernel is tainted by a death (D); {looked}"),
            ),
            Machine::SameBoot { died: false } => (
                Outcome::Broken,
                format!(
                    "modrace was killed after {raced_s:.1} s of race; the kernel is in order \
                     (no taint by a death)"
                ),
            ),
            Machine::Rebooted if stalled => (
                Outcome::Hung,
                format!(
                    "no load/unload cycle came back for the last {idle_s:.0} s, then the machine \
                     rebooted; {looked}"
                ),
            ),
            Machine::Rebooted => (
                Outcome::Broken,
                format!(
                    "the machine rebooted after {raced_s:.1} s of race, and nothing says why \
                     (power, reset, watchdog?); {looked}"
                ),
            ),
        };
        let signals = vec!["journal: the trial has no end".to_owned()];
        self.trial(
            outcome,
            reason,
            Found {
                exposure_s: raced_s,
                signals,
                ..Found::default()
            },
        )
    }

    /// Time raced that reached the disk, seconds.
    fn raced_s(&self) -> f64 {
        let seen = self.sign.as_ref().map(|sign| &sign.beat);
        seen.or(self.last.as_ref()).map_or(0.0, |beat| beat.raced_s)
    }

    fn crashed(
        &self,
        crash: Crash,
        time_s: Option<f64>,
        heartbeat_s: f64,
        signals: Vec<String>,
    ) -> Trial {
        let low = self.raced_s();
        // A heartbeat that took long on this machine may take as long again.
        let high = low + 2.0 * heartbeat_s.max(self.longest_gap_s);
        let bounds = Interval {
            low,
            high: Some(high),
        };
        let value = time_s.unwrap_or(f64::midpoint(low, high));
        let mut notes = Vec::new();
        if time_s.is_none() {
            notes.push(format!(
                "time to crash is interval-censored: between the last heartbeat on the disk at \
                 {low:.3} s and the next, {high:.3} s at most"
            ));
        }
        if self.sign.is_none() {
            notes.push("counts are those of the last heartbeat on the disk".to_owned());
        }
        let title = crash.title.clone();
        self.trial(
            Outcome::Crashed,
            title,
            Found {
                exposure_s: value,
                time_to_crash_s: Some(value),
                bounds: time_s.is_none().then_some(bounds),
                crash: Some(crash),
                signals,
                notes,
            },
        )
    }

    fn trial(&self, outcome: Outcome, reason: String, setup: Found) -> Trial {
        let seen = self.sign.as_ref().map(|sign| &sign.beat);
        let beat = seen.or(self.last.as_ref()).cloned().unwrap_or_default();
        Trial {
            exposure_s: setup.exposure_s,
            cycles: beat.cycles,
            reads: beat.reads,
            time_to_crash_s: setup.time_to_crash_s,
            time_to_crash_bounds_s: setup.bounds,
            // Only counts of the very moment tell the cycle.
            cycles_to_crash: (outcome == Outcome::Crashed && self.sign.is_some())
                .then_some(beat.cycles + 1),
            crash: setup.crash,
            counters: beat.counters,
            signals: setup.signals,
            notes: setup.notes,
            bad_lines: self
                .result
                .as_ref()
                .map(|word| word.bad_lines.clone())
                .unwrap_or_default(),
            chaos: self
                .racing
                .as_ref()
                .map(|mark| mark.racing.techniques.clone())
                .unwrap_or_default(),
            wall_s: beat.unix_ms.saturating_sub(self.start.unix_ms) as f64 / 1e3,
            ..Trial::new(self.start.index, self.start.seed, outcome, reason)
        }
    }
}
