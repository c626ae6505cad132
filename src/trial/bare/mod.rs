//! A trial on the machine that this process runs on: starts a racer, follows
//! the kernel's log and the racer's counts, and keeps the journal. At the first
//! line of a crash the racer is killed and the journal synced; from then on
//! nothing here touches a module or their list. It judges nothing (`witness`
//! does) and prints nothing.

mod witness;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use self::witness::{Ended, Witness};
use super::journal::{
    Beat, Begin, Journal, JournalError, RacingMark, Record, SignRecord, TrialStart, unix_ms,
};
use super::protocol::{GuestMessage, Racing, Task, TrialPlan};
use super::racer::{Racer, RacerPlan};
use super::watch::Conclusion;
use crate::crash::{Sign, scan};
use crate::kernel::kmsg::{Entry, Kmsg};
use crate::kernel::preflight::{TAINT_DIE, taint};
use crate::kernel::pstore::{self, Pstore};
use crate::model::{Outcome, Phase, Snapshot, Trial, trial_seed};

/// Longest wait for something to happen before the counts are looked at.
const TURN_MS: u16 = 20;
/// Time between two looks at the progress.
const PROGRESS: Duration = Duration::from_millis(250);
/// Longest time without a heartbeat, or without a cycle, before it is a hang.
const STALL: Duration = Duration::from_secs(30);
/// Longest set-up, and longest end, of a race.
const MARGIN: Duration = Duration::from_secs(90);
/// Longest wait for the rest of a crash's report.
const LINGER: Duration = Duration::from_secs(3);
/// Longest wait for a racer that had its last word to be gone.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why a trial could not be made or kept.
#[derive(Debug, Error)]
pub enum BareError {
    /// The kernel's log.
    #[error("cannot follow the kernel's log")]
    Kmsg(#[source] io::Error),
    /// The racer.
    #[error("cannot start the racer")]
    Racer(#[source] io::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What is told on the way.
#[derive(Debug)]
pub enum Told {
    /// The module was loaded once; its taint letters.
    Module(String),
    /// The race is on.
    Racing(Racing),
    /// Where it is.
    Progress(Box<Snapshot>),
    /// A message of the kernel's.
    Kernel(String),
    /// The first line of a crash. The journal has it; the report must follow
    /// at once, since the machine may be gone any moment.
    Crashed(Box<Trial>),
}

/// How a trial ended.
#[derive(Debug)]
pub struct Done {
    /// Its record.
    pub trial: Trial,
    /// Whether a signal ended it early.
    pub interrupted: bool,
    /// Whether the kernel must not be touched any more.
    pub reboot_needed: bool,
}

/// One trial after the other on this machine.
#[derive(Debug)]
pub struct BareTrials<'a> {
    /// What the run is.
    pub begin: &'a Begin,
    /// The journal; it has the run's beginning.
    pub journal: &'a mut Journal,
    /// Copies of the module go here.
    pub folder: PathBuf,
}

impl BareTrials<'_> {
    /// Makes trial `index`.
    pub fn run(
        &mut self,
        index: u32,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Told),
    ) -> Result<Done, BareError> {
        let start = Instant::now();
        let seed = trial_seed(self.begin.report.seed, index);
        // Opened first: what the kernel says from here on is this trial's.
        let mut kmsg = Kmsg::open().map_err(BareError::Kmsg)?;
        let old_logs = pstore::inventory();
        let _made_again_below = fs::create_dir_all(&self.folder);
        let mut racer = Racer::start(&RacerPlan {
            trial: TrialPlan {
                settings: self.begin.report.settings.clone(),
                seed,
                probe: false,
                task: Task::Race,
            },
            module: self.begin.module.clone(),
            dependencies: self.begin.dependencies.clone(),
            folder: self.folder.clone(),
            cpus: self.begin.cpus.clone(),
        })
        .map_err(BareError::Racer)?;
        let taint_before = taint();
        self.journal.append(&Record::Trial(TrialStart {
            index,
            seed,
            boot_id: boot_id(),
            unix_ms: unix_ms(),
            taint: taint_before,
            old_logs,
            pstore: Pstore::backend(),
            racer: racer.group(),
        }))?;
        // Held back until the line above was on the disk.
        racer.go().map_err(BareError::Racer)?;
        let mut watch = Watching {
            index,
            seed,
            witness: Witness::default(),
            kmsg: &mut kmsg,
            racer: &mut racer,
            journal: self.journal,
            heartbeat: Duration::from_secs_f64(self.begin.heartbeat_s),
            pace: Pace::new(start),
            asked_to_stop: None,
            crashed: false,
        };
        let duration_s = self.begin.report.settings.duration_s;
        let ended = watch.until_ended(Duration::from_secs_f64(duration_s), stop, tell)?;
        let reboot_needed = matches!(ended, Ended::Sign | Ended::Stalled(_));
        watch.let_it_finish(&ended, tell)?;
        let last = watch.racer.snapshot();
        let witness = std::mem::take(&mut watch.witness);
        let conclusion = witness.conclude(&ended, &last, taint() & !taint_before, duration_s);
        let trial = Trial {
            wall_s: start.elapsed().as_secs_f64(),
            ..trial_of(index, seed, conclusion, &last)
        };
        self.journal
            .append(&Record::Outcome(Box::new(trial.clone())))?;
        // Plain files: a dead racer that has them open does not mind.
        let _left_for_cleanup = fs::remove_dir_all(&self.folder);
        Ok(Done {
            trial,
            interrupted: ended == Ended::Interrupted,
            reboot_needed,
        })
    }
}

/// When things last moved.
#[derive(Debug)]
struct Pace {
    start: Instant,
    beat: (u64, Instant),
    cycle: (u64, Instant),
    raced_since: Option<Instant>,
    written: Instant,
    told: Instant,
}

impl Pace {
    fn new(start: Instant) -> Self {
        Self {
            start,
            beat: (0, start),
            cycle: (0, start),
            raced_since: None,
            written: start,
            told: start,
        }
    }

    fn see(&mut self, seen: &Snapshot) {
        let now = Instant::now();
        if seen.heartbeat != self.beat.0 {
            self.beat = (seen.heartbeat, now);
        }
        if seen.cycles != self.cycle.0 {
            self.cycle = (seen.cycles, now);
        }
        if seen.race_start_ns > 0 && self.raced_since.is_none() {
            self.raced_since = Some(now);
            self.cycle.1 = now;
        }
    }

    /// Why this is a hang, if it is.
    fn stall(&self, seen: &Snapshot, duration: Duration) -> Option<String> {
        let doing: Vec<&str> = seen.stages.iter().map(|stage| stage.as_str()).collect();
        let doing = doing.join(", ");
        if self.beat.1.elapsed() > STALL && seen.present {
            let silent = self.beat.1.elapsed().as_secs();
            return Some(format!("the racer was not scheduled for {silent} s"));
        }
        let Some(since) = self.raced_since else {
            return (self.start.elapsed() > MARGIN)
                .then(|| format!("no race within {} s", MARGIN.as_secs()));
        };
        if seen.phase == Phase::Race && self.cycle.1.elapsed() > STALL {
            let silent = self.cycle.1.elapsed().as_secs();
            return Some(format!(
                "no load/unload cycle came back for {silent} s (workers: {doing})"
            ));
        }
        let over = since.elapsed().saturating_sub(duration);
        (over > MARGIN).then(|| {
            format!(
                "the race did not end {} s after its time (workers: {doing})",
                over.as_secs()
            )
        })
    }
}

/// A trial being watched.
struct Watching<'a> {
    index: u32,
    seed: u64,
    witness: Witness,
    kmsg: &'a mut Kmsg,
    racer: &'a mut Racer,
    journal: &'a mut Journal,
    heartbeat: Duration,
    pace: Pace,
    asked_to_stop: Option<Instant>,
    crashed: bool,
}

impl Watching<'_> {
    fn until_ended(
        &mut self,
        duration: Duration,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(Told),
    ) -> Result<Ended, BareError> {
        loop {
            self.wait();
            if self.listen(tell)? {
                return Ok(Ended::Sign);
            }
            let seen = self.racer.snapshot();
            self.pace.see(&seen);
            if self.pace.written.elapsed() >= self.heartbeat {
                self.pace.written = Instant::now();
                let beat = self.beat(&seen);
                self.journal.append(&Record::Beat(beat))?;
            }
            if self.witness.finished().is_some() {
                return Ok(match self.asked_to_stop {
                    Some(_) => Ended::Interrupted,
                    None => Ended::Word,
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
                tell(Told::Progress(Box::new(seen)));
            }
        }
    }

    /// After the end: the rest of a crash's report, or the racer's farewell.
    fn let_it_finish(
        &mut self,
        ended: &Ended,
        tell: &mut dyn FnMut(Told),
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
    fn listen(&mut self, tell: &mut dyn FnMut(Told)) -> Result<bool, BareError> {
        // In this order: the racer marks the log before it says that it races,
        // so that the mark has been read when its word is looked at.
        let bytes = self.racer.read();
        let crashed = self.read_log(tell)?;
        self.hear_racer(&bytes, tell)?;
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
    fn read_log(&mut self, tell: &mut dyn FnMut(Told)) -> Result<bool, BareError> {
        let mut begins = false;
        for entry in self.kmsg.read().map_err(BareError::Kmsg)? {
            match entry {
                Entry::Lost(records) => {
                    self.witness.on_lost(records);
                    tell(Told::Kernel(format!(
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
                        tell(Told::Kernel(message));
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
        tell: &mut dyn FnMut(Told),
    ) -> Result<(), BareError> {
        self.racer.kill();
        let seen = self.racer.snapshot();
        let line = String::from_utf8_lossy(record).into_owned();
        let beat = self.beat(&seen);
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
            signals: vec![format!("kmsg: {}", sign.text)],
            notes: vec!["written at the first line of the crash".to_owned()],
        };
        tell(Told::Crashed(Box::new(trial_of(
            self.index, self.seed, conclusion, &seen,
        ))));
        Ok(())
    }

    fn hear_racer(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Told)) -> Result<(), BareError> {
        for message in self.witness.on_racer(bytes) {
            match message {
                GuestMessage::Module { taints } => tell(Told::Module(taints)),
                GuestMessage::Racing(racing) => {
                    let log_start_s = self.witness.log_start_s(racing.start_ns);
                    self.journal.append(&Record::Racing(RacingMark {
                        racing: racing.clone(),
                        log_start_s,
                    }))?;
                    tell(Told::Racing(racing));
                }
                GuestMessage::Finished(finished) => self.journal.append(&Record::Word(finished))?,
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

fn trial_of(index: u32, seed: u64, conclusion: Conclusion, counts: &Snapshot) -> Trial {
    let crashed = conclusion.outcome == Outcome::Crashed;
    Trial {
        index,
        seed,
        outcome: conclusion.outcome,
        reason: conclusion.reason,
        exposure_s: conclusion.exposure_s,
        cycles: counts.cycles,
        reads: counts.reads,
        time_to_crash_s: conclusion.time_to_crash_s,
        time_to_crash_bounds_s: None,
        cycles_to_crash: crashed.then_some(counts.cycles + 1),
        crash: conclusion.crash,
        counters: counts.counters.clone(),
        signals: conclusion.signals,
        notes: conclusion.notes,
        bad_lines: Vec::new(),
        console: None,
        wall_s: 0.0,
    }
}

/// The boot that this is: it changes with each.
pub fn boot_id() -> String {
    fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
