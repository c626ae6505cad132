//! What was seen of a trial on the machine that it is made on, and what it
//! means. Pure: it is told of kernel records, of the racer's messages and of
//! counts, so that every case can be told to it in a test.
//!
//! As in a VM, a crash needs two signals that agree: a report in the kernel's
//! log, and the kernel's own taint or counts that stand still. Surviving needs
//! the racer's word, counts that agree with it, and an untainted kernel.

use crate::console::{self, Origin};
use crate::crash::{ScanEvent, Scanner, Sign};
use crate::kernel::preflight::TAINT_DIE;
use crate::model::{Crash, Outcome};
use crate::recorder::Snapshot;
use crate::trial::race_clock::RaceClock;
use crate::trial::watch::Conclusion;
use crate::trial::watch::judge::{Judgement, TAINT_HURT, broken, first_that_ends, judge_word};
use crate::vm::protocol::{Ending, Finished, GuestMessage, MessageReader, Racing};

/// Records of this level (warning) or worse are shown as they come.
const WORTH_SHOWING: u8 = 4;

/// Why the watching ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ended {
    /// The first line of a crash was seen.
    Sign,
    /// The racer had its last word.
    Result,
    /// The user wanted it.
    Interrupted,
    /// No progress while the machine was alive.
    Stalled(String),
    /// The racer ended without a word.
    Gone(String),
}

/// What one record of the kernel's log says at first sight.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// A crash begins.
    pub(super) sign: Option<Sign>,
    /// Something to show.
    pub(super) show: Option<String>,
}

/// Everything seen of one trial.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    scanner: Scanner,
    clock: RaceClock,
    messages: MessageReader,
    crashes: Vec<Crash>,
    racing: Option<Racing>,
    finished: Option<Finished>,
    lost: u64,
}

impl Monitor {
    /// A record of the kernel's log.
    pub(super) fn on_kmsg(&mut self, record: &[u8]) -> Glance {
        let mut bytes = record.to_vec();
        bytes.push(b'\n');
        self.clock.feed(&bytes);
        let mut glance = Glance::default();
        for event in self.scanner.feed(&bytes) {
            match event {
                ScanEvent::Sign(sign) if sign.ends_trial => {
                    glance.sign.get_or_insert(sign);
                }
                ScanEvent::Sign(_) => {}
                ScanEvent::Crash(crash) => self.crashes.push(*crash),
            }
        }
        let line = console::parse_line(record);
        let worth = line.level.is_some_and(|level| level <= WORTH_SHOWING);
        if worth && line.origin == Origin::Kernel {
            glance.show = Some(line.text.into_owned());
        }
        glance
    }

    /// So many records were overwritten before they could be read.
    pub(super) fn on_lost(&mut self, records: u64) {
        self.lost += records;
    }

    /// Bytes of the racer's messages.
    pub(super) fn on_racer(&mut self, bytes: &[u8]) -> Vec<GuestMessage> {
        let messages = self.messages.feed(bytes);
        for message in &messages {
            match message {
                GuestMessage::Racing(racing) => self.racing = Some(racing.clone()),
                GuestMessage::Finished(finished) => self.finished = Some((**finished).clone()),
                _ => {}
            }
        }
        messages
    }

    /// The racer's last word.
    pub(super) fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }

    /// Whether a crash's report has been read to its end.
    pub(super) fn report_is_whole(&self) -> bool {
        first_that_ends(&self.crashes).is_some()
    }

    /// The log's clock at the start of the race, seconds.
    pub(super) fn log_start_s(&self, start_ns: u64) -> Option<f64> {
        self.clock.since_start_s(0.0, start_ns).map(|at| -at)
    }

    /// The outcome. `tainted`: bits of the kernel's taint word that are new
    /// since before the trial.
    pub(super) fn conclude(
        mut self,
        ended: &Ended,
        last: &Snapshot,
        tainted: u64,
        duration_s: f64,
    ) -> Conclusion {
        for event in self.scanner.finish() {
            if let ScanEvent::Crash(crash) = event {
                self.crashes.push(*crash);
            }
        }
        let crash = first_that_ends(&self.crashes);
        let died = tainted & TAINT_DIE != 0;
        let hurt = tainted & TAINT_HURT != 0;
        let (outcome, reason) = match &crash {
            Some(crash) => judge_crash(crash, last, hurt, ended),
            None => self.judge_silence(ended, last, died, duration_s),
        };
        let crashed = crash.as_ref().filter(|_| outcome == Outcome::Crashed);
        let said_s = self.finished.as_ref().map(|finished| finished.raced_s);
        let (exposure_s, time_to_crash_s, mut notes) = self.clock.times(crashed, last, said_s);
        if self.lost > 0 {
            notes.push(format!(
                "{} kernel messages were overwritten before they could be read",
                self.lost
            ));
        }
        notes.extend(
            self.racing
                .iter()
                .flat_map(|racing| &racing.skipped)
                .map(|technique| format!("chaos technique skipped: {technique}")),
        );
        notes.extend(
            self.crashes
                .iter()
                .filter(|other| crash.as_ref() != Some(other))
                .map(|other| format!("the kernel's log also shows: {}", other.title)),
        );
        Conclusion {
            outcome,
            reason,
            signals: self.signals(crash.as_ref(), tainted, ended),
            crash,
            exposure_s,
            time_to_crash_s,
            chaos: self.chaos(),
            notes,
        }
    }

    /// The chaos techniques at work.
    pub(super) fn chaos(&self) -> Vec<String> {
        let racing = self.racing.as_ref();
        racing.map_or_else(Vec::new, |racing| racing.techniques.clone())
    }

    fn judge_silence(
        &self,
        ended: &Ended,
        last: &Snapshot,
        died: bool,
        duration_s: f64,
    ) -> Judgement {
        if died {
            let hint = if self.lost > 0 {
                "; messages were lost"
            } else {
                ""
            };
            return broken(format!(
                "the kernel is tainted by a death (D), but its log shows none{hint}"
            ));
        }
        let raced = last.race_start_ns > 0;
        match ended {
            Ended::Interrupted => broken(format!(
                "interrupted after {:.1} s of race; no crash until then",
                last.raced_s()
            )),
            Ended::Stalled(why) if raced => (Outcome::Hung, why.clone()),
            Ended::Stalled(why) => broken(format!("before the race: {why}")),
            Ended::Result | Ended::Sign | Ended::Gone(_) => match (&self.finished, ended) {
                (Some(finished), _) => judge_word(finished, last, duration_s),
                (None, Ended::Gone(why)) => broken(why.clone()),
                (None, _) => broken("the racer gave no result"),
            },
        }
    }

    /// Everything that the outcome rests on, one line each.
    fn signals(&self, crash: Option<&Crash>, tainted: u64, ended: &Ended) -> Vec<String> {
        let mut signals = Vec::new();
        if let Some(crash) = crash {
            signals.push(format!("kmsg: {}", crash.title));
        }
        if tainted & TAINT_DIE != 0 {
            signals.push("kernel: tainted by a death (D)".to_owned());
        } else if tainted & TAINT_HURT != 0 {
            signals.push(format!(
                "kernel: newly tainted ({:#x})",
                tainted & TAINT_HURT
            ));
        }
        if let Ended::Stalled(why) = ended {
            signals.push(format!("flight recorder: {why}"));
        }
        if let Some(finished) = &self.finished {
            signals.push(format!("racer: {}", word(finished.ending)));
        }
        signals
    }
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Survived => "survived",
        Ending::Hung => "hung",
        Ending::Broken => "broken",
        Ending::Unsupported => "unsupported",
    }
}

fn judge_crash(crash: &Crash, last: &Snapshot, hurt: bool, ended: &Ended) -> Judgement {
    if last.race_start_ns == 0 {
        return broken(format!(
            "the kernel crashed before the race began: {}",
            crash.title
        ));
    }
    if hurt || matches!(ended, Ended::Stalled(_)) {
        return (Outcome::Crashed, crash.title.clone());
    }
    broken(format!(
        "the kernel's log shows `{}`, and nothing else agrees: the kernel's taint word does \
         not confirm it",
        crash.title
    ))
}
