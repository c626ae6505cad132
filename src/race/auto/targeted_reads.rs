//! What a reader tells whoever preempts it: that it reads, when, and which
//! thread it is. One for each reader: two may targeted read at the same unload.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use nix::unistd::gettid;

use super::unload_clock::NAP;

/// One reader's reads. The reader is the only writer of its words.
#[derive(Debug, Default)]
pub(in crate::race) struct TargetedReads {
    at_ns: AtomicU64,
    number: AtomicU64,
    tid: AtomicI32,
    preempter: Mutex<Option<Thread>>,
}

impl TargetedReads {
    /// The calling thread is the reader.
    pub(in crate::race) fn are_mine(&self) {
        self.tid.store(gettid().as_raw(), Ordering::Relaxed);
    }

    /// The reader's thread id; 0 before it has said so.
    pub(in crate::race) fn reader(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// The reader reads at `at_ns`; whoever preempts it is told.
    pub(in crate::race) fn announce(&self, at_ns: u64) {
        self.at_ns.store(at_ns, Ordering::Release);
        self.number.fetch_add(1, Ordering::Release);
        if let Some(thread) = self.preempter().as_ref() {
            thread.unpark();
        }
    }

    /// Waits, asleep, for a targeted read after number `before`: its number and time.
    pub(in crate::race) fn next(&self, before: u64, stop: &AtomicBool) -> Option<(u64, u64)> {
        while !stop.load(Ordering::Relaxed) {
            let number = self.number.load(Ordering::Acquire);
            if number != before {
                return Some((number, self.at_ns.load(Ordering::Acquire)));
            }
            thread::park_timeout(NAP);
        }
        None
    }

    /// Whether no targeted read came after this one.
    pub(in crate::race) fn is_latest(&self, number: u64) -> bool {
        self.number.load(Ordering::Acquire) == number
    }

    /// The calling thread preempts this reader.
    pub(in crate::race) fn preempter_is_me(&self) {
        *self.preempter() = Some(thread::current());
    }

    fn preempter(&self) -> MutexGuard<'_, Option<Thread>> {
        self.preempter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targeted_read_is_handed_out_once_and_is_the_latest_until_the_next() {
        let targeted_reads = TargetedReads::default();
        let stop = AtomicBool::new(false);
        targeted_reads.announce(7);
        let (number, at_ns) = targeted_reads.next(0, &stop).unwrap();
        assert_eq!(at_ns, 7);
        assert!(targeted_reads.is_latest(number));
        targeted_reads.announce(8);
        assert!(!targeted_reads.is_latest(number));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(targeted_reads.next(0, &stop), None);
    }
}
