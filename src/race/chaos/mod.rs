//! Chaos techniques: named, seeded perturbations of the race. One file each,
//! one row each in [`TECHNIQUES`].
//!
//! What a technique has to do here: a striking reader is in `m_show()` for most
//! of an unload, so an unload hits as often as the window's share of a read. An
//! interruption at random stretches the window and the rest alike and leaves
//! that share as it is: membarrier and TLB-shootdown interrupts, migrations,
//! long timer interrupts, hotplug and jitter of virtual CPUs were all tried, and
//! are worth nothing (`reports/ablation-candidates.md`). What helps is more
//! unloads per second, and letting the loader run where it shares its reader's
//! CPU.

mod agents;
mod offline;
mod preempter;
mod rcu_expedited;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::auto::TargetedReads;
use super::gate::RaceSeed;

use crate::model::{ChaosChoice, Strategy, Tunable};

/// Where a technique is armed.
#[derive(Clone, Debug)]
pub struct ChaosContext {
    /// CPUs that readers sit on.
    pub reader_cpus: Vec<usize>,
    /// CPUs without any worker.
    pub idle_cpus: Vec<usize>,
    /// Whether a loader has to run on a reader's CPU.
    pub shares_cpu: bool,
    /// The readers that targeted read by a loader's clock, with their CPUs.
    pub(super) targeted_readers: Option<Vec<(usize, Arc<TargetedReads>)>>,
    /// Seed of its random choices.
    pub(super) seed: RaceSeed,
}

/// A technique at work. Disarming puts back what it changed.
pub trait TechniqueGuard: Send {
    /// Settings of the kernel that it changed, for the report.
    fn tunables(&self) -> Vec<Tunable> {
        Vec::new()
    }

    /// Ends it; says what was put back.
    fn disarm(self: Box<Self>) -> Vec<Tunable>;
}

/// Starts a technique; none where it is of no use. An error means that this
/// kernel cannot do it.
pub type Arm = fn(&ChaosContext) -> io::Result<Option<Box<dyn TechniqueGuard>>>;

/// A row of the table.
#[derive(Debug)]
pub struct Technique {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// What it needs, in a line.
    pub needs: &'static str,
    /// Whether `--chaos auto` leaves it to disposable guests, because others
    /// on the machine would feel it.
    pub guests_only: bool,
    /// Settings of the kernel that it may change, by path: whatever kills the
    /// race, somebody else can put them back.
    pub changes: fn() -> Vec<PathBuf>,
    /// Starts it.
    pub arm: Arm,
}

/// Every technique there is.
pub const TECHNIQUES: &[Technique] = &[
    preempter::TECHNIQUE,
    rcu_expedited::TECHNIQUE,
    offline::TECHNIQUE,
];

/// The techniques that a choice means under a strategy, in a guest or on a
/// machine that others may use. Names in the choice were checked when it was
/// made; an unknown one means nothing.
pub fn chosen(choice: &ChaosChoice, strategy: Strategy, guest: bool) -> Vec<&'static Technique> {
    match choice {
        ChaosChoice::None => Vec::new(),
        // The bug report's recipe is a yardstick: nothing is added to it.
        ChaosChoice::Auto if strategy == Strategy::AsReported => Vec::new(),
        ChaosChoice::Auto => TECHNIQUES
            .iter()
            .filter(|technique| guest || !technique.guests_only)
            .collect(),
        ChaosChoice::These(names) => TECHNIQUES
            .iter()
            .filter(|technique| names.iter().any(|name| name == technique.name))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = TECHNIQUES.iter().map(|technique| technique.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TECHNIQUES.len());
    }

    #[test]
    fn as_reported_adds_nothing_unless_told_to() {
        assert!(chosen(&ChaosChoice::Auto, Strategy::AsReported, true).is_empty());
        let named = ChaosChoice::These(vec!["preempter".to_owned()]);
        assert_eq!(chosen(&named, Strategy::AsReported, true).len(), 1);
        assert!(!chosen(&ChaosChoice::Auto, Strategy::Auto, false).is_empty());
    }

    #[test]
    fn what_others_would_feel_is_for_guests_unless_named() {
        let has = |choice, guest| {
            let rows = chosen(&choice, Strategy::Auto, guest);
            rows.iter().any(|row| row.guests_only)
        };
        assert!(has(ChaosChoice::Auto, true));
        assert!(!has(ChaosChoice::Auto, false));
        assert!(has(ChaosChoice::These(vec!["offline".to_owned()]), false));
    }
}
