//! A trial being watched: the loop that follows the kernel's log and the
//! worker process, keeps the journal, and at the first line of a crash puts what is
//! known on the disk before anything else.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::BareError;
use super::fold::Fold;
use super::monitor::{Ended, Monitor};
use crate::bare::journal::{Beat, Journal, JournalError, RacingMark, Record, SignRecord, unix_ms};
use crate::bare::worker_process::WorkerProcess;
use crate::crash::{Sign, scan};
use crate::judge::conclusion::Conclusion;
use crate::judge::record;
use crate::judge::stall_detector::StallDetector;
use crate::kernel::kmsg::{Entry, Kmsg};
use crate::kernel::preflight::{TAINT_DIE, taint};
use crate::model::{Outcome, TrialPhase};
use crate::recorder::Snapshot;
use crate::trial::Event;
use crate::vm::protocol::{GuestMessage, Racing};

/// Longest wait for something to happen before the counts are looked at.
const TURN_MS: u16 = 20;
/// Time between two looks at the progress.
const PROGRESS: Duration = Duration::from_millis(250);
/// Longest wait for the rest of a crash's report.
const LINGER: Duration = Duration::from_secs(3);
/// Longest wait for the first line of a crash to reach the disk.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for a worker process that has sent its result to be gone.
const LEAVING: Duration = Duration::from_secs(10);

/// A trial being watched.
pub(super) struct WatchLoop<'a> {
    pub(super) index: u32,
    pub(super) seed: u64,
    pub(super) monitor: Monitor,
    pub(super) kmsg: &'a mut Kmsg,
    pub(super) worker: &'a mut WorkerProcess,
    pub(super) journal: &'a mut Journal,
    pub(super) heartbeat: Duration,
    pub(super) stall: StallDetector,
    pub(super) start: Instant,
    /// When a heartbeat was last journaled, and when progress was last told.
    pub(super) journaled: Instant,
    pub(super) told: Instant,
    pub(super) asked_to_stop: Option<Instant>,
    pub(super) crashed: bool,
    /// A race that is about to start, or has not been journaled yet.
    pub(super) unmarked: Option<Racing>,
    /// Why the journal cannot be written any more: the trial is ended.
    pub(super) lost: Option<JournalError>,
    /// Messages of the kernel that come again and again.
    pub(super) fold: Fold,
}

impl WatchLoop<'_> {
    pub(super) fn until_ended(
        &mut self,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Ended, BareError> {
        loop {
            self.wait();
            if self.listen(tell)? {
                return Ok(Ended::Sign);
            }
            let seen = self.worker.snapshot();
            let now = self.start.elapsed().as_secs_f64();
            self.stall.see(seen.clone(), now);
            self.stall.see_blocked(self.monitor.blocked(), now);
            // A slow disk gets fewer heartbeats.
            if self.journaled.elapsed() >= self.heartbeat && !self.journal.is_syncing() {
                self.journaled = Instant::now();
                let beat = self.beat(&seen);
                self.write(|journal| journal.append_behind(&Record::Beat(beat)));
            }
            if self.monitor.finished().is_some() {
                return Ok(match self.asked_to_stop {
                    Some(_) => Ended::Interrupted,
                    None => Ended::Result,
                });
            }
            if let Some(status) = self.worker.exited() {
                // Its last message may still be in the pipe.
                if self.listen(tell)? {
                    return Ok(Ended::Sign);
                }
                if self.monitor.finished().is_none() {
                    let complaint = self.worker.complaint().unwrap_or_default();
                    return Ok(Ended::Gone(format!(
                        "the worker process ended without a result ({status}) {complaint}"
                    )));
                }
                continue;
            }
            if let Some(stall) = self.stall.stall(now, seen.present) {
                self.worker.kill();
                return Ok(Ended::Stalled(stall));
            }
            if stop.load(Ordering::Relaxed) {
                self.ask_to_stop();
            }
            if self.told.elapsed() >= PROGRESS {
                self.told = Instant::now();
                tell(Event::progress(self.index, &seen));
            }
            if let Some(folded) = self.fold.due(Instant::now()) {
                tell(Event::Kernel(folded));
            }
        }
    }

    /// Asks the worker process to end the race and to put all back, once.
    fn ask_to_stop(&mut self) {
        if self.asked_to_stop.is_none() {
            self.asked_to_stop = Some(Instant::now());
            self.worker.ask_to_stop();
        }
    }

    /// Writes to the journal. Where that fails, the trial is ended in good order:
    /// what cannot be recorded is not raced.
    fn write(&mut self, write: impl FnOnce(&mut Journal) -> Result<(), JournalError>) {
        if self.lost.is_some() {
            return;
        }
        if let Err(error) = write(self.journal) {
            self.lost = Some(error);
            self.ask_to_stop();
        }
    }

    /// After the end: the rest of a crash's report, or the worker process's end.
    pub(super) fn let_it_finish(
        &mut self,
        ended: &Ended,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), BareError> {
        let start = Instant::now();
        loop {
            self.wait();
            self.listen(tell)?;
            let done = match ended {
                Ended::Sign => self.monitor.report_is_whole() && taint() & TAINT_DIE != 0,
                Ended::Stalled(_) => true,
                _ => self.worker.exited().is_some(),
            };
            let longest = match ended {
                Ended::Sign => LINGER,
                _ => LEAVING,
            };
            if done || start.elapsed() > longest {
                break;
            }
        }
        // The kernel may still print.
        thread::sleep(Duration::from_millis(100));
        self.listen(tell)?;
        if let Some(folded) = self.fold.rest().filter(|_| !self.crashed) {
            tell(Event::Kernel(folded));
        }
        Ok(())
    }

    /// Takes what the worker process and the kernel have said. True if a crash begins.
    fn listen(&mut self, tell: &mut dyn FnMut(Event)) -> Result<bool, BareError> {
        // In this order: the worker process marks the log before its race starts, so
        // that the mark has been read when the start is looked at.
        let start_ns = self.worker.snapshot().race_start_ns;
        let bytes = self.worker.read();
        let crashed = self.read_log(tell)?;
        self.hear_worker(&bytes, tell);
        self.mark_race(start_ns);
        Ok(crashed)
    }

    /// Waits until the kernel or the worker process says something, or a turn is over.
    fn wait(&self) {
        let mut fds = [
            PollFd::new(self.kmsg.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.worker.messages(), PollFlags::POLLIN),
        ];
        // An error costs a turn at most.
        let _ = poll(&mut fds, PollTimeout::from(TURN_MS));
        let hung_up = |fd: &PollFd<'_>| {
            fd.revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLHUP))
        };
        if hung_up(&fds[1]) {
            // A pipe without a writer is always ready; take the turn's time.
            thread::sleep(Duration::from_millis(u64::from(TURN_MS)));
        }
    }

    /// True if a crash begins that had not begun before.
    fn read_log(&mut self, tell: &mut dyn FnMut(Event)) -> Result<bool, BareError> {
        let mut begins = false;
        for entry in self.kmsg.read().map_err(BareError::Kmsg)? {
            match entry {
                Entry::Lost(records) => {
                    self.monitor.on_lost(records);
                    tell(Event::Kernel(format!(
                        "({records} messages were overwritten before they could be read)"
                    )));
                }
                Entry::Record(record) => {
                    let glance = self.monitor.on_kmsg(&record);
                    // The lines of a crash are in the report; here they would
                    // bury what is said about it.
                    let shown = glance.show.filter(|_| !self.crashed);
                    if let Some(sign) = glance.sign.filter(|_| !self.crashed) {
                        self.crash_begins(&sign, &record, tell);
                        self.crashed = true;
                        begins = true;
                    }
                    if let Some(message) = shown.and_then(|text| self.fold.hear(text)) {
                        tell(Event::Kernel(message));
                    }
                }
            }
        }
        Ok(begins)
    }

    /// Nothing comes before this: no module is touched from here on, and what
    /// is known is on the disk.
    fn crash_begins(&mut self, sign: &Sign, record: &[u8], tell: &mut dyn FnMut(Event)) {
        self.worker.kill();
        let seen = self.worker.snapshot();
        let line = String::from_utf8_lossy(record).into_owned();
        let beat = self.beat(&seen);
        let mut records: Vec<Record> = self.race_mark(seen.race_start_ns).into_iter().collect();
        records.push(Record::Sign(SignRecord {
            line: line.clone(),
            log_time_s: sign.log_time_s,
            beat,
        }));
        let journaled = self.journal.append_urgent(&records, JOURNAL_PATIENCE);
        let log_start_s = self.monitor.log_start_s(seen.race_start_ns);
        let raced = seen.race_start_ns > 0;
        let time_s = sign
            .log_time_s
            .zip(log_start_s)
            .map_or(seen.raced_s(), |(at, start)| at - start);
        let conclusion = Conclusion {
            outcome: Outcome::Crashed,
            reason: sign.text.clone(),
            phase: if raced {
                TrialPhase::Race
            } else {
                TrialPhase::Setup
            },
            crash: scan(format!("{line}\n").as_bytes()).into_iter().next(),
            warnings: Vec::new(),
            exposure_s: if raced { time_s } else { 0.0 },
            time_to_crash_s: raced.then_some(time_s),
            chaos: self.monitor.chaos(),
            signals: vec![format!("kmsg: {}", sign.text)],
            notes: vec!["written at the first line of the crash".to_owned()],
        };
        tell(Event::Crashed(Box::new(record::trial(
            self.index, self.seed, conclusion, &seen,
        ))));
        match journaled {
            Ok(true) => {}
            Ok(false) => tell(Event::Kernel(format!(
                "(the journal did not reach the disk within {} s)",
                JOURNAL_PATIENCE.as_secs()
            ))),
            Err(error) => self.lost = Some(error),
        }
    }

    fn hear_worker(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Event)) {
        for message in self.monitor.on_worker(bytes) {
            match message {
                GuestMessage::Module(loaded) => {
                    let record = Record::Module(loaded.clone());
                    self.write(|journal| journal.append(&record));
                    tell(Event::Module(loaded));
                }
                GuestMessage::Racing(racing) => {
                    self.unmarked = Some(racing.clone());
                    let record = Record::Armed(racing.clone());
                    self.write(|journal| journal.append(&record));
                    tell(Event::Racing(racing));
                    // One that is gone is seen to be.
                    let _ = self.worker.open_gate();
                }
                GuestMessage::Finished(finished) => {
                    tell(Event::Tunables(finished.tunables.clone()));
                    self.write(|journal| journal.append(&Record::Result(finished)));
                }
                // Said by guests, or in answer to another task.
                GuestMessage::Hello { .. }
                | GuestMessage::Tick(_)
                | GuestMessage::AtGate
                | GuestMessage::State(_)
                | GuestMessage::Held
                | GuestMessage::StatesEnded { .. } => {}
            }
        }
    }

    /// Journals the start of the race, once it has started. The race does not
    /// wait for it: its crash may come now.
    fn mark_race(&mut self, start_ns: u64) {
        if let Some(mark) = self.race_mark(start_ns) {
            self.write(|journal| journal.append_behind(&mark));
        }
    }

    /// The start of the race, if it has started and is not journaled yet.
    fn race_mark(&mut self, start_ns: u64) -> Option<Record> {
        let racing = self.unmarked.take_if(|_| start_ns != 0)?;
        Some(Record::Racing(RacingMark {
            racing,
            log_start_s: self.monitor.log_start_s(start_ns),
        }))
    }

    fn beat(&self, seen: &Snapshot) -> Beat {
        Beat {
            unix_ms: unix_ms(),
            raced_s: seen.raced_s(),
            cycles: seen.cycles,
            reads: seen.reads,
            idle_s: self.stall.idle_s(self.start.elapsed().as_secs_f64()),
            counters: seen.counters.clone(),
        }
    }
}
