//! A trial being watched: the loop that follows the kernel's log and the
//! racer, keeps the journal, and at the first line of a crash puts what is
//! known on the disk before anything else.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::BareError;
use super::monitor::{Ended, Monitor};
use super::stall_detector::StallDetector;
use crate::crash::{Sign, scan};
use crate::kernel::kmsg::{Entry, Kmsg};
use crate::kernel::preflight::{TAINT_DIE, taint};
use crate::model::Outcome;
use crate::recorder::Snapshot;
use crate::trial::bare::journal::{Beat, Journal, RacingMark, Record, SignRecord, unix_ms};
use crate::trial::bare::worker_process::WorkerProcess;
use crate::trial::watch::Conclusion;
use crate::trial::{Event, record};
use crate::vm::protocol::{GuestMessage, Racing};

/// Longest wait for something to happen before the counts are looked at.
const TURN_MS: u16 = 20;
/// Time between two looks at the progress.
const PROGRESS: Duration = Duration::from_millis(250);
/// Longest wait for the rest of a crash's report.
const LINGER: Duration = Duration::from_secs(3);
/// Longest wait for a racer that had its last word to be gone.
const FAREWELL: Duration = Duration::from_secs(10);

/// A trial being watched.
pub(super) struct WatchLoop<'a> {
    pub(super) index: u32,
    pub(super) seed: u64,
    pub(super) witness: Monitor,
    pub(super) kmsg: &'a mut Kmsg,
    pub(super) racer: &'a mut WorkerProcess,
    pub(super) journal: &'a mut Journal,
    pub(super) heartbeat: Duration,
    pub(super) pace: StallDetector,
    pub(super) asked_to_stop: Option<Instant>,
    pub(super) crashed: bool,
    /// A race that is about to start, or has not been journaled yet.
    pub(super) unmarked: Option<Racing>,
}

impl WatchLoop<'_> {
    pub(super) fn until_ended(
        &mut self,
        duration: Duration,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Ended, BareError> {
        loop {
            self.wait();
            if self.listen(tell)? {
                return Ok(Ended::Sign);
            }
            let seen = self.racer.snapshot();
            self.pace.see(&seen);
            // A disk that is slower than the heart gets fewer beats.
            if self.pace.written.elapsed() >= self.heartbeat && !self.journal.is_syncing() {
                self.pace.written = Instant::now();
                let beat = self.beat(&seen);
                self.journal.append_behind(&Record::Beat(beat))?;
            }
            if self.witness.finished().is_some() {
                return Ok(match self.asked_to_stop {
                    Some(_) => Ended::Interrupted,
                    None => Ended::Result,
                });
            }
            if let Some(status) = self.racer.exited() {
                // Its last message may still be in the pipe.
                if self.listen(tell)? {
                    return Ok(Ended::Sign);
                }
                if self.witness.finished().is_none() {
                    let complaint = self.racer.complaint().unwrap_or_default();
                    return Ok(Ended::Gone(format!(
                        "the racer ended without a result ({status}) {complaint}"
                    )));
                }
                continue;
            }
            if let Some(why) = self.pace.stall(&seen, duration) {
                self.racer.kill();
                return Ok(Ended::Stalled(why));
            }
            if stop.load(Ordering::Relaxed) && self.asked_to_stop.is_none() {
                self.asked_to_stop = Some(Instant::now());
                self.racer.ask_to_stop();
            }
            if self.pace.told.elapsed() >= PROGRESS {
                self.pace.told = Instant::now();
                tell(Event::progress(self.index, &seen));
            }
        }
    }

    /// After the end: the rest of a crash's report, or the racer's farewell.
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
                Ended::Sign => self.witness.report_is_whole() && taint() & TAINT_DIE != 0,
                Ended::Stalled(_) => true,
                _ => self.racer.exited().is_some(),
            };
            let longest = match ended {
                Ended::Sign => LINGER,
                _ => FAREWELL,
            };
            if done || start.elapsed() > longest {
                break;
            }
        }
        // The kernel may have the last word.
        thread::sleep(Duration::from_millis(100));
        self.listen(tell)?;
        Ok(())
    }

    /// Takes what the racer and the kernel have said. True if a crash begins.
    fn listen(&mut self, tell: &mut dyn FnMut(Event)) -> Result<bool, BareError> {
        // In this order: the racer marks the log before its race starts, so
        // that the mark has been read when the start is looked at.
        let start_ns = self.racer.snapshot().race_start_ns;
        let bytes = self.racer.read();
        let crashed = self.read_log(tell)?;
        self.hear_racer(&bytes, tell)?;
        self.mark_race(start_ns)?;
        Ok(crashed)
    }

    /// Waits until the kernel or the racer says something, or a turn is over.
    fn wait(&self) {
        let mut fds = [
            PollFd::new(self.kmsg.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.racer.messages(), PollFlags::POLLIN),
        ];
        let _a_turn_at_most = poll(&mut fds, PollTimeout::from(TURN_MS));
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
                    self.witness.on_lost(records);
                    tell(Event::Kernel(format!(
                        "({records} messages were overwritten before they could be read)"
                    )));
                }
                Entry::Record(record) => {
                    let glance = self.witness.on_kmsg(&record);
                    // The lines of a crash are in the report; here they would
                    // bury what is said about it.
                    let shown = glance.show.filter(|_| !self.crashed);
                    if let Some(sign) = glance.sign.filter(|_| !self.crashed) {
                        self.crash_begins(&sign, &record, tell)?;
                        self.crashed = true;
                        begins = true;
                    }
                    if let Some(message) = shown {
                        tell(Event::Kernel(message));
                    }
                }
            }
        }
        Ok(begins)
    }

    /// Nothing comes before this: no module is touched from here on, and what
    /// is known is on the disk.
    fn crash_begins(
        &mut self,
        sign: &Sign,
        record: &[u8],
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), BareError> {
        self.racer.kill();
        let seen = self.racer.snapshot();
        let line = String::from_utf8_lossy(record).into_owned();
        let beat = self.beat(&seen);
        self.mark_race(seen.race_start_ns)?;
        self.journal.append(&Record::Sign(SignRecord {
            line: line.clone(),
            log_time_s: sign.log_time_s,
            beat,
        }))?;
        let log_start_s = self.witness.log_start_s(seen.race_start_ns);
        let time_s = sign
            .log_time_s
            .zip(log_start_s)
            .map_or(seen.raced_s(), |(at, start)| at - start);
        let crash = scan(format!("{line}\n").as_bytes()).into_iter().next();
        let conclusion = Conclusion {
            outcome: Outcome::Crashed,
            reason: sign.text.clone(),
            crash,
            exposure_s: time_s,
            time_to_crash_s: Some(time_s),
            chaos: self.witness.chaos(),
            signals: vec![format!("kmsg: {}", sign.text)],
            notes: vec!["written at the first line of the crash".to_owned()],
        };
        tell(Event::Crashed(Box::new(record::trial(
            self.index, self.seed, conclusion, &seen,
        ))));
        Ok(())
    }

    fn hear_racer(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Event)) -> Result<(), BareError> {
        for message in self.witness.on_racer(bytes) {
            match message {
                GuestMessage::Module { taints } => tell(Event::Module(taints)),
                GuestMessage::Racing(racing) => {
                    self.unmarked = Some(racing.clone());
                    tell(Event::Racing(racing));
                }
                GuestMessage::Finished(finished) => {
                    self.journal.append(&Record::Result(finished))?
                }
                // Said by guests, or in answer to another task.
                GuestMessage::Hello { .. }
                | GuestMessage::Tick(_)
                | GuestMessage::State(_)
                | GuestMessage::Held
                | GuestMessage::StatesEnded { .. } => {}
            }
        }
        Ok(())
    }

    /// Journals the start of the race, once it has started.
    fn mark_race(&mut self, start_ns: u64) -> Result<(), BareError> {
        if start_ns == 0 {
            return Ok(());
        }
        let Some(racing) = self.unmarked.take() else {
            return Ok(());
        };
        let log_start_s = self.witness.log_start_s(start_ns);
        // The race does not wait for it: its crash may come now.
        Ok((self.journal).append_behind(&Record::Racing(RacingMark {
            racing,
            log_start_s,
        }))?)
    }

    fn beat(&self, seen: &Snapshot) -> Beat {
        Beat {
            unix_ms: unix_ms(),
            raced_s: seen.raced_s(),
            cycles: seen.cycles,
            reads: seen.reads,
            idle_s: self.pace.cycle.1.elapsed().as_secs_f64(),
            counters: seen.counters.clone(),
        }
    }
}
