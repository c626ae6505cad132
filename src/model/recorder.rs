//! The flight recorder: the counter page that guest and host both see.
//! Layout and meaning only; mapping it is the work of `vm` and `kernel`.
//!
//! Every field is an atomic word in native byte order, so a reader never sees
//! a torn count, whenever the writer dies. Each worker has a slot of its own,
//! so that counting costs no cache line that another worker writes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Counters, ErrorCounts, LineCounts, Sightings};

/// Bytes of the shared page: a power of two, as a PCI BAR must be.
pub const RECORDER_BYTES: usize = 64 * 1024;
/// Workers that the page has slots for.
pub const MAX_WORKERS: usize = 128;
/// `modrace` and the layout's version.
pub const RECORDER_MAGIC: u64 = 0x6d6f_6472_6163_6501;

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
    fn from_word(word: u64) -> Self {
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
    fn from_word(word: u64) -> Self {
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
#[derive(Debug, Default)]
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
}

impl Slot {
    /// Says what this worker does now.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u64, Ordering::Relaxed);
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
#[derive(Debug)]
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

    /// What the page says now.
    pub fn snapshot(&self) -> Snapshot {
        let sum = |field: fn(&Slot) -> &AtomicU64| {
            self.slots
                .iter()
                .map(|slot| field(slot).load(Ordering::Relaxed))
                .sum()
        };
        let last_errno = self
            .slots
            .iter()
            .map(|slot| slot.last_errno.load(Ordering::Relaxed))
            .max();
        Snapshot {
            present: self.magic.load(Ordering::Relaxed) == RECORDER_MAGIC,
            phase: Phase::from_word(self.phase.load(Ordering::Acquire)),
            heartbeat: self.heartbeat.load(Ordering::Relaxed),
            heartbeat_ns: self.heartbeat_ns.load(Ordering::Relaxed),
            race_start_ns: self.race_start_ns.load(Ordering::Relaxed),
            race_end_ns: self.race_end_ns.load(Ordering::Relaxed),
            cycles: sum(|slot| &slot.cycles),
            reads: sum(|slot| &slot.reads),
            counters: Counters {
                sightings: Sightings {
                    live: sum(|slot| &slot.live),
                    loading: sum(|slot| &slot.loading),
                    unloading: sum(|slot| &slot.unloading),
                    absent: sum(|slot| &slot.absent),
                },
                errors: ErrorCounts {
                    ebusy: sum(|slot| &slot.ebusy),
                    eexist: sum(|slot| &slot.eexist),
                    enoent: sum(|slot| &slot.enoent),
                    ewouldblock: sum(|slot| &slot.ewouldblock),
                    other: sum(|slot| &slot.other),
                    last_errno: last_errno.filter(|&errno| errno != 0),
                },
                reopens: sum(|slot| &slot.reopens),
                lines: LineCounts {
                    out_of_order: sum(|slot| &slot.out_of_order),
                    contradictory: sum(|slot| &slot.contradictory),
                    torn: sum(|slot| &slot.torn),
                    duplicate: sum(|slot| &slot.duplicate),
                    near_misses: sum(|slot| &slot.near_misses),
                },
            },
            stages: self
                .slots
                .iter()
                .map(|slot| Stage::from_word(slot.stage.load(Ordering::Relaxed)))
                .take_while(|stage| *stage != Stage::Unused)
                .collect(),
            aims: self
                .slots
                .iter()
                .map(|slot| {
                    [&slot.arm, &slot.learned_ns, &slot.unload_ns]
                        .map(|word| word.load(Ordering::Relaxed))
                })
                .enumerate()
                .filter(|(_, [arm, ..])| *arm != 0)
                .collect(),
        }
    }
}

/// The page at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Whether a guest has opened the page.
    pub present: bool,
    /// See [`Recorder::phase`].
    pub phase: Phase,
    /// See [`Recorder::heartbeat`].
    pub heartbeat: u64,
    /// See [`Recorder::heartbeat_ns`].
    pub heartbeat_ns: u64,
    /// See [`Recorder::race_start_ns`].
    pub race_start_ns: u64,
    /// See [`Recorder::race_end_ns`].
    pub race_end_ns: u64,
    /// Load/unload cycles of all loaders.
    pub cycles: u64,
    /// Reads of all readers.
    pub reads: u64,
    /// The rest of the counts.
    pub counters: Counters,
    /// What each worker was doing.
    pub stages: Vec<Stage>,
    /// Of each reader that strikes, with its slot: [`Slot::arm`],
    /// [`Slot::learned_ns`] and [`Slot::unload_ns`].
    pub aims: Vec<(usize, [u64; 3])>,
}

impl Snapshot {
    /// Time raced on the guest's clock, seconds: to the end of the race, or to
    /// the last heartbeat while it is under way.
    pub fn raced_s(&self) -> f64 {
        let end = if self.race_end_ns == 0 {
            self.heartbeat_ns
        } else {
            self.race_end_ns
        };
        if self.race_start_ns == 0 {
            return 0.0;
        }
        end.saturating_sub(self.race_start_ns) as f64 / 1e9
    }

    /// Times that a reader saw our module in any state.
    pub fn sightings(&self) -> u64 {
        let seen = &self.counters.sightings;
        seen.live + seen.loading + seen.unloading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_workers_add_up() {
        let page = Recorder::new();
        page.magic.store(RECORDER_MAGIC, Ordering::Relaxed);
        page.enter(Phase::Race);
        page.race_start_ns.store(1_000_000_000, Ordering::Relaxed);
        page.heartbeat_ns.store(3_500_000_000, Ordering::Relaxed);
        page.slots[0].enter(Stage::Unloading);
        bump(&page.slots[0].cycles);
        page.slots[1].enter(Stage::Reading);
        bump(&page.slots[1].reads);
        bump(&page.slots[1].live);
        bump(&page.slots[MAX_WORKERS - 1].cycles);
        let seen = page.snapshot();
        assert!(seen.present);
        assert_eq!((seen.phase, seen.cycles, seen.reads), (Phase::Race, 2, 1));
        assert_eq!(seen.stages, [Stage::Unloading, Stage::Reading]);
        assert_eq!(seen.sightings(), 1);
        assert!((seen.raced_s() - 2.5).abs() < 1e-12);
    }

    #[test]
    fn an_untouched_page_says_boot() {
        let seen = Recorder::new().snapshot();
        assert!(!seen.present);
        assert_eq!(seen.phase, Phase::Boot);
        assert!(seen.raced_s().abs() < f64::EPSILON);
    }
}
