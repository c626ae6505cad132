//! The flight recorder: the counter page that guest and host both see.
//! Its layout, word by word.
//!
//! Every field is an atomic word in native byte order, so a reader never sees
//! a torn count, whenever the writer dies. Each worker has a slot of its own,
//! so that counting costs no cache line that another worker writes.

use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromBytes;

#[allow(unused_imports, reason = "named in the documentation of fields")]
use crate::model::{Counters, ErrorCounts, LineCounts, Sightings};

/// Bytes of the shared page: a power of two, as a PCI BAR must be.
pub const RECORDER_BYTES: usize = 64 * 1024;
/// Workers that the page has slots for.
pub const MAX_WORKERS: usize = 128;
/// `modrace` and the layout's version.
pub const RECORDER_MAGIC: u64 = 0x6d6f_6472_6163_6502;

/// Where the guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Phase {
    /// Nothing was written yet.
    Boot = 0,
    /// PID 1 runs: the module is loaded once and checked.
    Setup = 1,
    /// The gate is open.
    Race = 2,
    /// The time is over: workers stop, the kernel is looked at once more.
    Settle = 3,
    /// The result was sent.
    Done = 4,
}

impl Phase {
    pub(super) fn from_word(word: u64) -> Self {
        match word {
            1 => Self::Setup,
            2 => Self::Race,
            3 => Self::Settle,
            4 => Self::Done,
            _ => Self::Boot,
        }
    }
}

/// What a worker is doing, for the diagnosis of a hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stage {
    /// No worker has this slot.
    Unused = 0,
    /// Between two calls.
    Idle = 1,
    /// In `finit_module` (or `insmod`).
    Loading = 2,
    /// In `delete_module` (or `rmmod`).
    Unloading = 3,
    /// In a read of the target.
    Reading = 4,
    /// Has ended.
    Ended = 5,
}

impl Stage {
    pub(super) fn from_word(word: u64) -> Self {
        match word {
            1 => Self::Idle,
            2 => Self::Loading,
            3 => Self::Unloading,
            4 => Self::Reading,
            5 => Self::Ended,
            _ => Self::Unused,
        }
    }

    /// The call that the worker is in, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Idle => "idle",
            Self::Loading => "loading the module",
            Self::Unloading => "unloading the module",
            Self::Reading => "reading",
            Self::Ended => "ended",
        }
    }
}

/// One worker's counts. 256 bytes: no false sharing, room to grow.
#[repr(C, align(256))]
#[derive(Debug, Default, FromBytes)]
pub struct Slot {
    /// A [`Stage`].
    pub stage: AtomicU64,
    /// Load/unload cycles completed.
    pub cycles: AtomicU64,
    /// Reads completed.
    pub reads: AtomicU64,
    /// Sightings, in the order of [`Sightings`].
    pub live: AtomicU64,
    /// See [`Sightings::loading`].
    pub loading: AtomicU64,
    /// See [`Sightings::unloading`].
    pub unloading: AtomicU64,
    /// See [`Sightings::absent`].
    pub absent: AtomicU64,
    /// See [`Counters::reopens`].
    pub reopens: AtomicU64,
    /// Failed loads and unloads, in the order of [`ErrorCounts`].
    pub ebusy: AtomicU64,
    /// See [`ErrorCounts::eexist`].
    pub eexist: AtomicU64,
    /// See [`ErrorCounts::enoent`].
    pub enoent: AtomicU64,
    /// See [`ErrorCounts::ewouldblock`].
    pub ewouldblock: AtomicU64,
    /// See [`ErrorCounts::other`].
    pub other: AtomicU64,
    /// The last error counted as other.
    pub last_errno: AtomicU64,
    /// Loads begun: tells a reader whether two of its reads can have shown the
    /// same load.
    pub loads: AtomicU64,
    /// Lines that cannot be; see [`LineCounts`].
    pub out_of_order: AtomicU64,
    /// See [`LineCounts::contradictory`].
    pub contradictory: AtomicU64,
    /// See [`LineCounts::torn`].
    pub torn: AtomicU64,
    /// See [`LineCounts::duplicate`].
    pub duplicate: AtomicU64,
    /// See [`LineCounts::near_misses`].
    pub near_misses: AtomicU64,
    /// The reader's active arm, by its index in the table, from 1; 0: none.
    pub arm: AtomicU64,
    /// The delay into an unload that the reader has learned, ns; 0: none.
    pub learned_ns: AtomicU64,
    /// The shortest unload of the reader's loader, ns; 0: none came back.
    pub unload_ns: AtomicU64,
    /// The monotonic clock when the last cycle was completed, ns; 0: none was,
    /// or nobody noted it.
    pub cycle_ns: AtomicU64,
    /// Of a loader: its cycles in which a reader could see; see
    /// [`Counters::watched_cycles`].
    pub watched: AtomicU64,
    /// The load that was last counted there, by its number from 1.
    pub(super) watched_load: AtomicU64,
}

impl Slot {
    /// Says what this worker does now.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u64, Ordering::Relaxed);
    }

    /// What counts up whenever this worker gets on: loads begun, cycles, reads,
    /// and calls that failed.
    pub fn progress(&self) -> u64 {
        [
            &self.loads,
            &self.cycles,
            &self.reads,
            &self.ebusy,
            &self.eexist,
            &self.enoent,
            &self.ewouldblock,
            &self.other,
        ]
        .iter()
        .fold(0, |sum, count| {
            sum.wrapping_add(count.load(Ordering::Relaxed))
        })
    }

    /// Says, of a loader, that a reader could see its load of this number, from
    /// 1. Counts each load once, however many readers say so.
    pub fn watch(&self, load: u64) {
        if load > self.watched_load.load(Ordering::Relaxed)
            && load > self.watched_load.fetch_max(load, Ordering::Relaxed)
        {
            self.watched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says that a load begins. Seen by all before the load can be.
    pub fn begin_load(&self) {
        self.loads.fetch_add(1, Ordering::SeqCst);
    }
}

/// Adds one. The slot's worker is its only writer, so a load and a store do.
pub fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// The page.
#[repr(C, align(4096))]
#[derive(Debug, FromBytes)]
pub struct Recorder {
    /// [`RECORDER_MAGIC`] once the guest has opened it.
    pub magic: AtomicU64,
    /// A [`Phase`].
    pub phase: AtomicU64,
    /// Counts up while the guest's user space is scheduled.
    pub heartbeat: AtomicU64,
    /// The guest's `CLOCK_MONOTONIC` at the last heartbeat, ns.
    pub heartbeat_ns: AtomicU64,
    /// The same clock when the gate opened, ns; 0 before.
    pub race_start_ns: AtomicU64,
    /// The same clock when the workers were told to stop, ns; 0 before.
    pub race_end_ns: AtomicU64,
    /// The same clock's time from the module's first load to the gate, ns; 0
    /// before.
    pub prepared_ns: AtomicU64,
    /// Whether the guest is held at the gate; see [`Recorder::hold`].
    pub(super) hold: AtomicU64,
    /// See [`Go::seed`](super::Go::seed).
    pub(super) go_seed: AtomicU64,
    /// See [`Go::duration`](super::Go::duration), ns.
    pub(super) go_duration_ns: AtomicU64,
    /// See [`Go::task`](super::Go::task).
    pub(super) go_task: AtomicU64,
    /// The workers' counts.
    pub slots: [Slot; MAX_WORKERS],
}

const _: () = assert!(
    size_of::<Recorder>() <= RECORDER_BYTES,
    "the page must hold the layout"
);

impl Recorder {
    /// A page in ordinary memory, all zero.
    pub fn new() -> Box<Self> {
        Box::new(Self {
            magic: AtomicU64::new(0),
            phase: AtomicU64::new(0),
            heartbeat: AtomicU64::new(0),
            heartbeat_ns: AtomicU64::new(0),
            race_start_ns: AtomicU64::new(0),
            race_end_ns: AtomicU64::new(0),
            prepared_ns: AtomicU64::new(0),
            hold: AtomicU64::new(0),
            go_seed: AtomicU64::new(0),
            go_duration_ns: AtomicU64::new(0),
            go_task: AtomicU64::new(0),
            slots: std::array::from_fn(|_| Slot::default()),
        })
    }

    /// Says where the guest is.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u64, Ordering::Release);
    }

    /// Load/unload cycles of all loaders so far.
    pub fn cycles(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.cycles.load(Ordering::Relaxed))
            .sum()
    }
}
