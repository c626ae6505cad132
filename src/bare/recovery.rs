//! What a journal and the logs of a dead kernel tell, put together to the
//! evidence of the trial that has no end. Pure: records and bytes in, a trial's
//! record out. An end that nothing explains is never a clean one.

mod times;

use std::path::PathBuf;

use super::journal::{Beat, Begin, FORMAT, RacingMark, Record, SignRecord, TrialStart};
use crate::crash::scan;
use crate::judge::evidence::{DeathSign, Evidence, Report, Taint};
use crate::judge::judge;
use crate::judge::race_clock::{CLOCK_TOLERANCE_S, last_mark_s};
use crate::kernel::pstore::FoundLog;
use crate::model::{Accel, Crash, LoadedModule, Outcome, Trial, TrialPhase, Tunable};
use crate::recorder::Recorder;
use crate::vm::protocol::{Ending, Finished, Racing};

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
    /// The module as it was loaded.
    pub module: Option<LoadedModule>,
    /// What the race had set.
    pub tunables: Vec<Tunable>,
    /// Whether the run said that it was over.
    pub ended: bool,
}

/// A trial that was under way when the journal stops.
#[derive(Clone, Debug)]
pub struct OpenTrial {
    /// Its beginning.
    pub start: TrialStart,
    /// What was armed before the gate opened.
    pub armed: Option<Racing>,
    /// The start of its race.
    pub racing: Option<RacingMark>,
    /// The last heartbeat.
    pub last: Option<Beat>,
    /// Longest time between two heartbeats, seconds.
    pub longest_gap_s: f64,
    /// The highest rate of load/unload cycles between two heartbeats.
    pub most_cycles_per_s: f64,
    /// A crash had begun.
    pub sign: Option<SignRecord>,
    /// The worker process's result.
    pub result: Option<Finished>,
}

/// What became of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// It has booted since.
    Rebooted,
    /// It is in the same boot, and so the run itself was killed.
    SameBoot {
        /// The kernel's taint word now.
        taint: u64,
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
            module: None,
            tunables: Vec::new(),
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
                    armed: None,
                    racing: None,
                    last: None,
                    longest_gap_s: 0.0,
                    most_cycles_per_s: 0.0,
                    sign: None,
                    result: None,
                });
            }
            (Record::Module(module), _) => self.module = Some(module),
            (Record::Armed(armed), Some(open)) => {
                self.tunables.clone_from(&armed.tunables);
                open.armed = Some(armed);
            }
            (Record::Racing(racing), Some(open)) => open.racing = Some(racing),
            (Record::Beat(beat), Some(open)) => {
                open.beats(beat);
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
    fn beats(&mut self, beat: Beat) {
        if let Some(before) = &self.last {
            let gap_ms = beat.unix_ms.saturating_sub(before.unix_ms);
            self.longest_gap_s = self.longest_gap_s.max(gap_ms as f64 / 1e3);
        }
        let (cycles, raced_s) = (self.last.as_ref()).map_or((0, 0.0), |b| (b.cycles, b.raced_s));
        let took_s = beat.raced_s - raced_s;
        if took_s > 0.0 {
            let rate = beat.cycles.saturating_sub(cycles) as f64 / took_s;
            self.most_cycles_per_s = self.most_cycles_per_s.max(rate);
        }
        self.last = Some(beat);
    }

    /// Pstore records and the like that lay about before the trial.
    pub fn old_logs(&self) -> &[PathBuf] {
        &self.start.old_logs
    }

    /// The outcome of this trial. Returns which logs show what became of it; the
    /// first of them decided.
    pub fn decide(
        &self,
        heartbeat_s: f64,
        logs: &[FoundLog],
        machine: Machine,
    ) -> (Trial, Vec<usize>) {
        let mut found: Vec<(usize, Trial)> = Vec::new();
        for (index, log) in logs.iter().enumerate() {
            let mut reports = self.reports_in(log, heartbeat_s);
            if reports.is_empty() {
                continue;
            }
            let start_s = last_mark_s(&log.bytes).or(self.journaled_start_s());
            let journaled = self.evidence(&log.source, machine, logs);
            if !reports.iter().any(|report| report.crash.ends_trial) {
                // The log was cut before what the journal saw of it.
                reports.extend(journaled.reports.clone());
            }
            let evidence = Evidence {
                reports,
                ..journaled
            };
            found.push((index, self.judged(&evidence, heartbeat_s, start_s)));
        }
        let is_bad = |trial: &Trial| matches!(trial.outcome, Outcome::Crashed | Outcome::Hung);
        let showing = found.iter().filter(|(_, trial)| is_bad(trial));
        let showing = showing.map(|(index, _)| *index).collect();
        // A crash outranks a hang, and both what says nothing of the end.
        found.sort_by_key(|(_, trial)| match trial.outcome {
            Outcome::Crashed => 0,
            Outcome::Hung => 1,
            _ => 2,
        });
        let decided = found.into_iter().next().map(|(_, trial)| trial);
        let trial = decided.unwrap_or_else(|| {
            let evidence = self.evidence("journal", machine, logs);
            self.judged(&evidence, heartbeat_s, self.journaled_start_s())
        });
        (trial, showing)
    }

    /// What the log of a dead kernel says of this trial.
    fn reports_in(&self, log: &FoundLog, heartbeat_s: f64) -> Vec<Report> {
        let mark_s = last_mark_s(&log.bytes);
        let start_s = mark_s.or(self.journaled_start_s());
        let fits = |crash: &Crash| self.is_ours(crash.log_time_s, mark_s, heartbeat_s);
        let report = |crash| Report {
            crash,
            phase: self.phase(start_s.is_some()),
            count: 1,
        };
        let crashes = scan(&log.bytes).into_iter().filter(fits);
        crashes.map(report).collect()
    }

    /// Whether a crash at this time of its log's clock is this trial's. The
    /// log may be of another boot: of a crash that nobody had looked at yet,
    /// or of one that came after ours.
    fn is_ours(&self, crash_s: Option<f64>, mark_s: Option<f64>, heartbeat_s: f64) -> bool {
        match (crash_s, mark_s, self.journaled_start_s()) {
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

    /// What the journal and the machine say, without a log.
    fn evidence(&self, source: &str, machine: Machine, logs: &[FoundLog]) -> Evidence {
        let raced = self.raced();
        let idle_s = self.last.as_ref().map_or(0.0, |last| last.idle_s);
        let taint = match machine {
            Machine::Rebooted => None,
            Machine::SameBoot { taint } => Some(Taint {
                before: self.start.taint,
                after: taint,
            }),
        };
        let mut deaths = Vec::new();
        if machine == Machine::Rebooted {
            deaths.push(DeathSign::JournalStops);
        }
        if raced && idle_s >= STALL_S {
            deaths.push(DeathSign::Stalled(format!(
                "no load/unload cycle came back for the last {idle_s:.0} s of the journal; {}",
                looked(logs)
            )));
        }
        let sign = self.sign.as_ref().map(|sign| Report {
            crash: scan(format!("{}\n", sign.line).as_bytes())
                .into_iter()
                .next()
                .unwrap_or_default(),
            phase: self.phase(raced),
            count: 1,
        });
        Evidence {
            reports: sign.into_iter().collect(),
            deaths,
            taint,
            // A result without its outcome proves no survival.
            finished: (self.result.clone()).filter(|result| result.ending == Ending::Hung),
            phase: self.phase(raced),
            trouble: Some(self.trouble(machine, logs)),
            ..Evidence::new(source, Accel::None, 0.0, Recorder::new().snapshot())
        }
    }

    /// Where the trial was. `marked`: the start of its race is on record.
    fn phase(&self, marked: bool) -> TrialPhase {
        if marked || self.raced() || self.raced_s() > 0.0 {
            TrialPhase::Race
        } else {
            TrialPhase::Setup
        }
    }

    /// What is known of an end that nothing explains.
    fn trouble(&self, machine: Machine, logs: &[FoundLog]) -> String {
        let raced_s = self.raced_s();
        match machine {
            Machine::Rebooted => format!(
                "the machine rebooted after {raced_s:.1} s of race, and nothing says why (a \
                 crash unseen, power, reset, watchdog?); {}{}",
                looked(logs),
                self.crash_log_in_words()
            ),
            Machine::SameBoot { .. } => format!(
                "modrace was killed, or could not go on, after {raced_s:.1} s of race; the kernel \
                 is in order (its taint word tells of no report)"
            ),
        }
    }

    /// The record of what the evidence comes to. `start_s`: the start of the
    /// race by the log's clock.
    fn judged(&self, evidence: &Evidence, heartbeat_s: f64, start_s: Option<f64>) -> Trial {
        let judged = judge(evidence);
        let sign = self.sign.as_ref().map(|sign| &sign.beat);
        let beat = sign.or(self.last.as_ref()).cloned().unwrap_or_default();
        let mut trial = Trial {
            exposure_s: self.raced_s(),
            cycles: beat.cycles,
            reads: beat.reads,
            phase: judged.phase,
            crash: judged.crash,
            warnings: judged.warnings,
            counters: beat.counters.clone(),
            signals: judged.signals,
            notes: judged.notes,
            bad_lines: (self.result.as_ref())
                .map(|result| result.bad_lines.clone())
                .unwrap_or_default(),
            chaos: (self.armed())
                .map(|armed| armed.techniques.clone())
                .unwrap_or_default(),
            wall_s: beat.unix_ms.saturating_sub(self.start.unix_ms) as f64 / 1e3,
            ..Trial::new(
                self.start.index,
                self.start.seed,
                judged.outcome,
                judged.reason,
            )
        };
        if trial.phase.is_before_race() {
            trial.exposure_s = 0.0;
        } else if trial.outcome == Outcome::Crashed {
            self.date(&mut trial, heartbeat_s, start_s);
        }
        trial
    }

    /// Time raced that reached the disk, seconds.
    fn raced_s(&self) -> f64 {
        let seen = self.sign.as_ref().map(|sign| &sign.beat);
        seen.or(self.last.as_ref()).map_or(0.0, |beat| beat.raced_s)
    }

    /// Whether the race had begun: all was armed, and the gate opened at once.
    fn raced(&self) -> bool {
        self.racing.is_some() || self.armed.is_some()
    }

    /// What was armed.
    fn armed(&self) -> Option<&Racing> {
        let mark = self.racing.as_ref().map(|mark| &mark.racing);
        mark.or(self.armed.as_ref())
    }

    /// What would have kept a panic's log, as the end of a sentence.
    fn crash_log_in_words(&self) -> String {
        match &*self.start.crash_log {
            "" => String::new(),
            words => format!("; a panic's log was {words}"),
        }
    }

    /// The start of the race by the kernel log's clock, as the journal has it.
    fn journaled_start_s(&self) -> Option<f64> {
        self.racing.as_ref().and_then(|racing| racing.log_start_s)
    }
}

/// Which logs say nothing of a crash.
fn looked(logs: &[FoundLog]) -> String {
    if logs.is_empty() {
        return "no log of the dead kernel was found".to_owned();
    }
    let sources: Vec<&str> = logs.iter().map(|log| log.source.as_str()).collect();
    format!("no crash in {}", sources.join(", "))
}
