//! The arms of `auto`: what a reader can do with an unload that has just begun.
//! One row each; the schedule says which arm an unload gets. Pure.
//!
//! The mix is drawn evenly, not learned. What could be learned from is whether a
//! strike saw the module going, and nearly every strike of every arm does; what
//! tells the arms apart, the hit, ends the trial. Readers with CPUs of their own
//! hit as often with each (0.19 to 0.23 per unload). On a shared CPU the arm that
//! is ahead by far in one run is behind in the next (`reports/ablation.md`): an
//! even draw is never far behind, and a run repeats from its seed alone.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// When a reader starts to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At once: it contends with the loader for the mutex from the beginning.
    AtOnce,
    /// When the kernel announces the module's removal. A wake-up on another CPU
    /// comes too late, so there it means at once.
    Uevent,
    /// A learned delay after the unload began.
    Delayed,
}

/// What a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The first record.
    Head,
    /// The whole file.
    Whole,
}

/// A row of the table.
#[derive(Debug)]
pub struct Arm {
    /// Its name in reports.
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    pub(super) start: Start,
    pub(super) shape: Shape,
}

/// Every arm there is.
pub const ARMS: &[Arm] = &[
    Arm {
        name: "head-delayed",
        help: "head reads a learned delay after the unload began",
        start: Start::Delayed,
        shape: Shape::Head,
    },
    Arm {
        name: "head-at-once",
        help: "head reads throughout the unload",
        start: Start::AtOnce,
        shape: Shape::Head,
    },
    Arm {
        name: "head-uevent",
        help: "head reads when the kernel announces that the module goes (on a shared CPU)",
        start: Start::Uevent,
        shape: Shape::Head,
    },
];

/// Which arm an unload gets: depends on nothing but the seed and the unload's
/// number, so that a run repeats.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    seed: u64,
    arms: Vec<usize>,
}

impl Schedule {
    /// A schedule over the arms named; over all when none is.
    pub(super) fn new(seed: u64, names: &[String]) -> Self {
        let arms = (0..ARMS.len())
            .filter(|&arm| names.is_empty() || names.iter().any(|name| name == ARMS[arm].name))
            .collect();
        Self { seed, arms }
    }

    /// The index in [`ARMS`] of the arm for unload `number`.
    pub(super) fn arm(&self, number: u64) -> usize {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ number);
        self.arms[rng.random_range(0..self.arms.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_alone_decides_which_arm_an_unload_gets() {
        let arms = |seed| -> Vec<usize> {
            let schedule = Schedule::new(seed, &[]);
            (0..64).map(|number| schedule.arm(number)).collect()
        };
        assert_eq!(arms(7), arms(7));
        assert_ne!(arms(7), arms(8));
    }

    #[test]
    fn every_arm_gets_its_turn_unless_one_is_named() {
        let turns = |names: &[String]| {
            let schedule = Schedule::new(3, names);
            let mut arms: Vec<usize> = (0..64).map(|number| schedule.arm(number)).collect();
            arms.sort_unstable();
            arms.dedup();
            arms
        };
        assert_eq!(turns(&[]).len(), ARMS.len());
        assert_eq!(turns(&[ARMS[1].name.to_owned()]), [1]);
    }
}
