//! The gates: workers wait at each and go on together.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// What lies between a worker's start and the race.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// All are warmed up: rehearsals may begin.
    pub(super) warm: Gate,
    /// All have rehearsed: from here to the race nobody reads.
    pub(super) rehearsed: Gate,
    /// All are ready for the race; a guest that is saved is saved here.
    pub(super) ready: Gate,
    /// The race begins.
    pub(super) race: Gate,
    /// The race's seed, known when it begins.
    pub(super) seed: RaceSeed,
}

/// The seed of a race. It is known when the race begins and not before: a guest
/// that is saved at the gate must hold nothing random that its clones share.
#[derive(Clone, Debug, Default)]
pub(super) struct RaceSeed(Arc<OnceLock<u64>>);

impl RaceSeed {
    /// Says it, once.
    pub(super) fn set(&self, seed: u64) {
        // It stays what it is.
        let _ = self.0.set(seed);
    }

    /// Waits for it, asleep.
    pub(super) fn wait(&self) -> u64 {
        *self.0.wait()
    }
}

impl Gates {
    /// Lets everybody go, wherever they wait.
    pub(super) fn open(&self) {
        self.warm.open();
        self.rehearsed.open();
        self.ready.open();
        // Who gets it now has been told to stop.
        self.seed.set(0);
        self.race.open();
    }
}

/// A common start. Opens once.
#[derive(Debug, Default)]
pub(super) struct Gate {
    waiting: AtomicUsize,
    open: AtomicBool,
}

impl Gate {
    /// Waits until the gate opens. Spins, so that nobody starts a wake-up
    /// late; yields, so that one CPU is enough for all.
    pub(super) fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        while !self.open.load(Ordering::Acquire) {
            thread::yield_now();
        }
    }

    /// Whether `workers` arrived before `patience` was over.
    pub(super) fn all_arrived(&self, workers: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.waiting.load(Ordering::Acquire) < workers {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Lets everybody go.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }
}
