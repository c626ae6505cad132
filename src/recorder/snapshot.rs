//! What a recorder page says at one moment, as plain numbers.

use std::sync::atomic::Ordering;

use super::layout::{Phase, RECORDER_MAGIC, Recorder, Slot, Stage};
use crate::model::{Counters, ErrorCounts, LineCounts, Sightings};
use std::sync::atomic::AtomicU64;

impl Recorder {
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
            prepared_ns: self.prepared_ns.load(Ordering::Relaxed),
            cycles: sum(|slot| &slot.cycles),
            last_cycle_ns: self
                .slots
                .iter()
                .map(|slot| slot.cycle_ns.load(Ordering::Relaxed))
                .max()
                .unwrap_or(0),
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
                watched_cycles: Some(sum(|slot| &slot.watched)).filter(|&count| count > 0),
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
    /// See [`Recorder::prepared_ns`].
    pub prepared_ns: u64,
    /// Load/unload cycles of all loaders.
    pub cycles: u64,
    /// Reads of all readers.
    pub reads: u64,
    /// The rest of the counts.
    pub counters: Counters,
    /// The guest's clock when the last cycle was completed, ns; 0 if unknown.
    pub last_cycle_ns: u64,
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

    /// Time from the module's first load to the gate, seconds.
    pub fn prepared_s(&self) -> Option<f64> {
        (self.prepared_ns > 0).then(|| self.prepared_ns as f64 / 1e9)
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
    use crate::recorder::layout::{MAX_WORKERS, bump};

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
