//! Where in an unload to targeted read: learned from sightings. Pure.
//!
//! The bug needs the unlocked store of `MODULE_STATE_UNFORMED` to fall between
//! the check of the state in `m_show()` and the `BUG_ON` in `module_flags()`.
//! That store cannot be seen; what comes before and after it can. A reader that
//! reads a delay after `delete_module` began and sees the module `Live` came
//! too early, one that no longer sees it came too late, and one that sees it
//! `Unloading` came between `MODULE_STATE_GOING` and the store: from there the
//! store is still ahead, and the reader only has to go on. So the delays that
//! showed `Unloading` are remembered, and repeated with some spread.

use rand::{Rng, RngExt};

use crate::procfs::modules::State;

/// Delays remembered: enough for the spread, few enough to follow a drift.
const MEMORY: usize = 16;
/// One targeted read in this many explores, however well the aim is known.
const EXPLORE_ONE_IN: u32 = 8;
/// Before anything was learned, delays are drawn below this, ns.
const FIRST_RANGE_NS: u64 = 100_000;

/// The learner of one reader.
#[derive(Debug, Default)]
pub(in crate::race) struct DelayEstimator {
    good_ns: Vec<u64>,
    next: usize,
}

impl DelayEstimator {
    /// The delay for the next targeted read, ns. `unload_ns` is how long the last
    /// unload took, 0 if none did.
    pub(in crate::race) fn delay_ns(&self, unload_ns: u64, rng: &mut impl Rng) -> u64 {
        if self.good_ns.is_empty() {
            // Too early costs little: the reader goes on until the module is
            // gone. Too late is too late.
            return rng.random_range(0..=FIRST_RANGE_NS);
        }
        if rng.random_ratio(1, EXPLORE_ONE_IN) {
            return rng.random_range(0..=unload_ns.max(FIRST_RANGE_NS));
        }
        let base = self.good_ns[rng.random_range(0..self.good_ns.len())];
        // Spread by an eighth to either side: a delay that never varies can
        // fall into step with the loader.
        base - base / 8 + rng.random_range(0..=base / 4)
    }

    /// What a read set for that delay showed.
    pub(in crate::race) fn saw(&mut self, delay_ns: u64, seen: Option<State>) {
        if seen != Some(State::Unloading) {
            return;
        }
        if self.good_ns.len() < MEMORY {
            self.good_ns.push(delay_ns);
        } else {
            self.good_ns[self.next] = delay_ns;
            self.next = (self.next + 1) % MEMORY;
        }
    }

    /// The median of the delays that are known to be good, ns.
    pub(in crate::race) fn learned_ns(&self) -> Option<u64> {
        let mut sorted = self.good_ns.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Reads at a module that is seen going from `from` to `to` ns.
    fn hits(from: u64, to: u64, targeted_reads: u32, aim: &mut DelayEstimator) -> u32 {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut hits = 0;
        for _ in 0..targeted_reads {
            let delay = aim.delay_ns(1_000_000, &mut rng);
            let seen = match delay {
                d if d < from => Some(State::Live),
                d if d < to => Some(State::Unloading),
                _ => None,
            };
            hits += u32::from(seen == Some(State::Unloading));
            aim.saw(delay, seen);
        }
        hits
    }

    #[test]
    fn the_aim_settles_where_the_module_is_seen_going() {
        let mut aim = DelayEstimator::default();
        hits(50_000, 300_000, 200, &mut aim);
        assert!(hits(50_000, 300_000, 200, &mut aim) > 100);
        let learned = aim.learned_ns().unwrap();
        assert!((50_000..300_000).contains(&learned), "{learned}");
    }

    #[test]
    fn the_aim_follows_when_unloads_get_slower() {
        let mut aim = DelayEstimator::default();
        hits(50_000, 200_000, 200, &mut aim);
        hits(500_000, 700_000, 2000, &mut aim);
        assert!(hits(500_000, 700_000, 200, &mut aim) > 80);
    }

    #[test]
    fn nothing_is_learned_from_reads_that_came_too_early_or_too_late() {
        let mut aim = DelayEstimator::default();
        aim.saw(1, Some(State::Live));
        aim.saw(2, None);
        assert_eq!(aim.learned_ns(), None);
    }
}
