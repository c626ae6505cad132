//! The arms of `auto`: what a reader can do with an unload that has just begun.
//! One row each; the schedule says which arm an unload gets. Pure.
//!
//! The mix is drawn, not learned: what tells the arms apart, the hit, ends the
//! trial. Readers with CPUs of their own hit as often with each; on a shared CPU
//! one hits twice as often as the others and gets most of the turns
//! (`reports/ablation.md`). The others stay: no arm is the best on every kernel,
//! and a kernel may be built without uevents. A run repeats from its seed alone.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::model::{Domain, derive};

/// When a reader starts to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::race) enum Start {
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
pub(in crate::race) enum Shape {
    /// The first record.
    Head,
    /// The whole file.
    Whole,
}

/// A row of the table.
#[derive(Debug)]
pub struct ReadPolicy {
    /// Its name in reports.
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    pub(in crate::race) start: Start,
    pub(in crate::race) shape: Shape,
    /// Turns in ten that it gets on a shared CPU; elsewhere all get as many.
    turns_on_shared_cpu: u32,
}

/// Every arm there is.
pub const READ_POLICIES: &[ReadPolicy] = &[
    ReadPolicy {
        name: "head-delayed",
        help: "head reads a learned delay after the unload began",
        start: Start::Delayed,
        shape: Shape::Head,
        turns_on_shared_cpu: 1,
    },
    ReadPolicy {
        name: "head-at-once",
        help: "head reads throughout the unload",
        start: Start::AtOnce,
        shape: Shape::Head,
        turns_on_shared_cpu: 1,
    },
    ReadPolicy {
        name: "head-uevent",
        help: "head reads when the kernel announces that the module goes (on a shared CPU)",
        start: Start::Uevent,
        shape: Shape::Head,
        turns_on_shared_cpu: 8,
    },
];

/// Which arm an unload gets: depends on nothing but the seed and the unload's
/// number, so that a run repeats.
#[derive(Clone, Debug)]
pub(in crate::race) struct Schedule {
    /// Each arm as often as it has turns.
    turns: Vec<usize>,
}

impl Schedule {
    /// A schedule over the arms named; over all when none is. `shares_cpu`: the
    /// reader is on its loader's CPU.
    pub(in crate::race) fn new(names: &[String], shares_cpu: bool) -> Self {
        let turns = (READ_POLICIES.iter().enumerate())
            .filter(|(_, arm)| names.is_empty() || names.iter().any(|name| name == arm.name))
            .flat_map(|(index, arm)| {
                let turns = if shares_cpu {
                    arm.turns_on_shared_cpu
                } else {
                    1
                };
                (0..turns).map(move |_| index)
            })
            .collect();
        Self { turns }
    }

    /// The index in [`READ_POLICIES`] of the arm for unload `number`.
    pub(in crate::race) fn arm(&self, seed: u64, number: u64) -> usize {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(derive(seed, Domain::Unload, number));
        self.turns[rng.random_range(0..self.turns.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_alone_decides_which_arm_an_unload_gets() {
        let arms = |seed| -> Vec<usize> {
            let schedule = Schedule::new(&[], false);
            (0..64).map(|number| schedule.arm(seed, number)).collect()
        };
        assert_eq!(arms(7), arms(7));
        assert_ne!(arms(7), arms(8));
    }

    #[test]
    fn every_arm_gets_its_turn_unless_one_is_named() {
        let turns = |names: &[String]| {
            let schedule = Schedule::new(names, true);
            let mut arms: Vec<usize> = (0..64).map(|number| schedule.arm(3, number)).collect();
            arms.sort_unstable();
            arms.dedup();
            arms
        };
        assert_eq!(turns(&[]).len(), READ_POLICIES.len());
        assert_eq!(turns(&[READ_POLICIES[1].name.to_owned()]), [1]);
    }
}
