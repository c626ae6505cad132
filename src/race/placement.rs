//! The line-up: which worker sits on which CPU. Pure.
//!
//! Loaders take CPUs from the front, readers from the back, so that a loader
//! and a reader share a CPU only when there are too few.

use crate::model::Strategy;
use crate::recorder::MAX_WORKERS;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Loads and unloads.
    Loader,
    /// Reads.
    Reader,
}

/// One worker's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedWorker {
    /// What it does.
    pub role: Role,
    /// The CPU that it is pinned to; none: wherever the scheduler likes.
    pub cpu: Option<usize>,
}

/// All workers' places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Loaders first, then readers. The index is the worker's recorder slot.
    pub seats: Vec<PlacedWorker>,
}

impl Placement {
    /// Seats `loaders` and `readers` on `cpus`. The processes of the bug
    /// report were not pinned, so `as-reported` pins none.
    pub fn new(strategy: Strategy, loaders: u32, readers: u32, cpus: &[usize]) -> Self {
        let pinned = strategy != Strategy::AsReported && !cpus.is_empty();
        let loaders = (0..loaders as usize).map(|i| PlacedWorker {
            role: Role::Loader,
            cpu: pinned.then(|| cpus[i % cpus.len()]),
        });
        let readers = (0..readers as usize).map(|i| PlacedWorker {
            role: Role::Reader,
            cpu: pinned.then(|| cpus[cpus.len() - 1 - i % cpus.len()]),
        });
        Self {
            seats: loaders.chain(readers).take(MAX_WORKERS).collect(),
        }
    }

    /// Whether a worker of the other role is pinned to the same CPU.
    pub fn shares_cpu(&self, seat: &PlacedWorker) -> bool {
        self.seats
            .iter()
            .any(|other| other.role != seat.role && other.cpu.is_some() && other.cpu == seat.cpu)
    }

    /// Which of the workers of its role a worker is, from 0, and how many there are.
    pub fn number(&self, index: usize) -> (usize, usize) {
        let role = self.seats[index].role;
        let of_role =
            |seats: &[PlacedWorker]| seats.iter().filter(|seat| seat.role == role).count();
        (of_role(&self.seats[..index]), of_role(&self.seats))
    }

    /// The CPU that the first worker of a role is pinned to.
    pub fn first_cpu(&self, role: Role) -> Option<usize> {
        self.seats.iter().find(|seat| seat.role == role)?.cpu
    }

    /// The CPUs that readers sit on, each once.
    pub fn reader_cpus(&self) -> Vec<usize> {
        let mut cpus: Vec<usize> = self
            .seats
            .iter()
            .filter(|seat| seat.role == Role::Reader)
            .filter_map(|seat| seat.cpu)
            .collect();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loader_and_reader_keep_apart_where_there_is_room() {
        let placement = Placement::new(Strategy::Auto, 1, 2, &[0, 1, 2, 3]);
        let cpus: Vec<_> = placement.seats.iter().map(|seat| seat.cpu).collect();
        assert_eq!(cpus, [Some(0), Some(3), Some(2)]);
        assert_eq!(placement.reader_cpus(), [2, 3]);
        assert_eq!(placement.number(0), (0, 1));
        assert_eq!(placement.number(2), (1, 2));
        assert_eq!(placement.first_cpu(Role::Loader), Some(0));
        assert_eq!(placement.first_cpu(Role::Reader), Some(3));
    }

    #[test]
    fn one_cpu_is_shared() {
        let placement = Placement::new(Strategy::Head, 1, 1, &[5]);
        assert!(placement.seats.iter().all(|seat| seat.cpu == Some(5)));
        assert!(
            placement
                .seats
                .iter()
                .all(|seat| placement.shares_cpu(seat))
        );
        let apart = Placement::new(Strategy::Head, 1, 1, &[5, 6]);
        assert!(!apart.seats.iter().any(|seat| apart.shares_cpu(seat)));
    }

    #[test]
    fn as_reported_pins_nobody() {
        let placement = Placement::new(Strategy::AsReported, 1, 1, &[0, 1]);
        assert!(placement.seats.iter().all(|seat| seat.cpu.is_none()));
        assert_eq!(placement.first_cpu(Role::Reader), None);
    }
}
