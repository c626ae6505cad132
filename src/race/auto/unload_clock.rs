//! What a loader tells the readers of its own clock: when an unload begins,
//! that it is under way, and how long it took. Holds no policy: who reads when
//! is decided by `aim` and `arms`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use nix::unistd::gettid;

use crate::kernel::{clock, sys};

/// Longest nap of a sleeping worker before it looks at the stop flag again.
pub(in crate::race) const NAP: Duration = Duration::from_millis(100);

/// Longest wait of a loader for its readers, ns.
const PATIENCE_NS: u64 = 30_000_000;
/// The wait is halved each time that it was in vain, at most so often.
const MOST_HALVINGS: u32 = 5;
/// Time that both wait awake for each other, ns, before both sleep again.
const ATTEMPT_NS: u64 = 400_000;
/// Time in which a running reader must be seen to move, ns.
const LOOK_NS: u64 = 30_000;
/// Moves that must be seen.
const BEATS: u32 = 4;
/// Sleep between two looks.
const NOT_YET: Duration = Duration::from_micros(300);

/// Real-time priorities where loader and reader share a CPU, in ascending
/// order: the reader interrupts the loader, the preempter both.
pub(in crate::race) const LOADER_PRIORITY: i32 = 1;
pub(in crate::race) const READER_PRIORITY: i32 = 2;
pub(in crate::race) const PREEMPTER_PRIORITY: i32 = 3;

/// One loader's clock. The loader is the only writer of its words.
#[derive(Debug, Default)]
pub(in crate::race) struct UnloadClock {
    /// Odd while an unload is under way; two more with each cycle.
    epoch: AtomicU64,
    began_ns: AtomicU64,
    /// Set when the rehearsals are over.
    pub(in crate::race) rehearsed: AtomicBool,
    /// The shortest unload so far, ns.
    shortest_ns: AtomicU64,
    /// Unloads in a row for which no reader was seen in time.
    missed: AtomicU32,
    /// Unloads announced.
    summons: AtomicU64,
    /// Counts up while a reader waits awake.
    pulse: AtomicU64,
    sleepers: Mutex<Vec<Sleeper>>,
}

/// A reader that is woken at the beginning of every unload.
#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    tid: i32,
}

/// One unload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::race) struct Unload {
    epoch: u64,
    /// When it began, on the monotonic clock.
    pub(in crate::race) began_ns: u64,
}

impl Unload {
    /// Its number, from 0.
    pub(in crate::race) fn number(self) -> u64 {
        self.epoch / 2
    }
}

impl UnloadClock {
    /// The loader is about to call `delete_module`.
    pub(in crate::race) fn begin(&self) {
        self.began_ns
            .store(clock::monotonic_ns(), Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Release);
        self.wake();
    }

    /// Calls the readers and waits until one of them and the loader are seen to
    /// run at the same time. A hypervisor that gives two CPUs one core in turn,
    /// or has just taken the reader's away, would let the unload pass with
    /// nobody looking. Gives up after a while: not every machine can.
    pub(in crate::race) fn rendezvous(&self, stop: &AtomicBool) -> bool {
        if self.sleepers().is_empty() {
            return false;
        }
        let missed = self.missed.load(Ordering::Relaxed);
        let deadline = clock::monotonic_ns() + (PATIENCE_NS >> missed.min(MOST_HALVINGS));
        while !stop.load(Ordering::Relaxed) && clock::monotonic_ns() < deadline {
            self.summons.fetch_add(1, Ordering::Release);
            self.wake();
            let give_up = clock::monotonic_ns() + ATTEMPT_NS;
            while clock::monotonic_ns() < give_up {
                if self.reader_runs() {
                    self.missed.store(0, Ordering::Relaxed);
                    return true;
                }
            }
            // Who has slept is given a core soon, and seldom the reader's.
            thread::sleep(NOT_YET);
        }
        // A machine on which they never run together gets its cycles anyway.
        self.missed.store(missed + 1, Ordering::Relaxed);
        false
    }

    /// Whether a waiting reader is seen to move now.
    fn reader_runs(&self) -> bool {
        let start = clock::monotonic_ns();
        let mut last = self.pulse.load(Ordering::Relaxed);
        let mut beats = 0;
        let mut now = start;
        while now < start + LOOK_NS {
            let pulse = self.pulse.load(Ordering::Relaxed);
            beats += u32::from(pulse != last);
            last = pulse;
            now = clock::monotonic_ns();
            if beats >= BEATS {
                // A loader that was itself away in between has seen nothing.
                return now < start + LOOK_NS;
            }
        }
        false
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<Sleeper>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.sleepers()
            .iter()
            .for_each(|sleeper| sleeper.thread.unpark());
    }

    /// The call has returned.
    pub(in crate::race) fn end(&self) {
        let began_ns = self.began_ns.load(Ordering::Relaxed);
        let lasted_ns = clock::monotonic_ns().saturating_sub(began_ns);
        let shortest_ns = self.shortest_ns.load(Ordering::Relaxed);
        if shortest_ns == 0 || lasted_ns < shortest_ns {
            self.shortest_ns.store(lasted_ns, Ordering::Relaxed);
        }
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// The same after an unload that was none.
    pub(in crate::race) fn end_rehearsal(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// No rehearsal comes any more.
    pub(in crate::race) fn rehearsed(&self) {
        self.rehearsed.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether that unload is still under way.
    pub(in crate::race) fn lasts(&self, unload: Unload) -> bool {
        self.epoch.load(Ordering::Acquire) == unload.epoch
    }

    /// How long the shortest unload took, ns; 0 before the first. Longer ones
    /// were interrupted, by us or by the machine's other work.
    pub(in crate::race) fn shortest_ns(&self) -> u64 {
        self.shortest_ns.load(Ordering::Relaxed)
    }

    /// Has the calling thread woken at the beginning of every unload. To be
    /// called once by each reader.
    pub(in crate::race) fn wake_me(&self) {
        self.sleepers().push(Sleeper {
            thread: thread::current(),
            tid: gettid().as_raw(),
        });
    }

    /// Gives the readers that it wakes a priority.
    pub(in crate::race) fn raise_readers(&self, priority: i32) {
        for sleeper in self.sleepers().iter() {
            // Without the right to it the race goes on at the old priority.
            let _ = sys::set_priority(sleeper.tid, Some(priority));
        }
    }

    /// Waits for an unload that is not `before`: asleep where the loader needs
    /// this CPU; elsewhere awake for a moment whenever the loader calls, since
    /// a wake-up may take longer than all of the unload.
    pub(in crate::race) fn next(
        &self,
        before: Option<Unload>,
        asleep: bool,
        stop: &AtomicBool,
    ) -> Option<Unload> {
        let mut answered = self.summons.load(Ordering::Acquire).saturating_sub(1);
        while !stop.load(Ordering::Relaxed) {
            if let Some(unload) = self.under_way(before) {
                return Some(unload);
            }
            let summons = self.summons.load(Ordering::Acquire);
            if asleep || summons == answered {
                thread::park_timeout(NAP);
                continue;
            }
            answered = summons;
            let give_up = clock::monotonic_ns() + ATTEMPT_NS;
            while clock::monotonic_ns() < give_up {
                // No `pause` here: TCG leaves its loop for it.
                for _ in 0..16 {
                    self.pulse.fetch_add(1, Ordering::Relaxed);
                    if let Some(unload) = self.under_way(before) {
                        return Some(unload);
                    }
                }
            }
        }
        None
    }

    fn under_way(&self, before: Option<Unload>) -> Option<Unload> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let fresh = epoch % 2 == 1 && before.is_none_or(|before| before.epoch != epoch);
        fresh.then(|| Unload {
            epoch,
            began_ns: self.began_ns.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unload_is_handed_out_once_and_lasts_until_its_end() {
        let unload_clock = UnloadClock::default();
        let stop = AtomicBool::new(false);
        unload_clock.begin();
        let first = unload_clock.next(None, false, &stop).unwrap();
        assert!(unload_clock.lasts(first));
        assert_eq!(first.number(), 0);
        unload_clock.end();
        assert!(!unload_clock.lasts(first));
        unload_clock.begin();
        let second = unload_clock.next(Some(first), false, &stop).unwrap();
        assert_eq!(second.number(), 1);
        assert!(second.began_ns >= first.began_ns);
    }

    #[test]
    fn a_loader_without_a_reader_does_not_wait() {
        let start = clock::monotonic_ns();
        assert!(!UnloadClock::default().rendezvous(&AtomicBool::new(false)));
        assert!(clock::monotonic_ns() - start < PATIENCE_NS);
    }

    #[test]
    fn who_waits_for_an_unload_is_stopped() {
        let stop = AtomicBool::new(true);
        assert_eq!(UnloadClock::default().next(None, true, &stop), None);
    }
}
