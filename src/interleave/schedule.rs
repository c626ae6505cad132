//! Which schedules there are, and in which order they are forced: the likeliest
//! to crash first. Pure.

use super::machine::{LOADER, READER};
use super::points::{Point, conflict};

/// A schedule by the indices of its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The side that stops first.
    pub first: usize,
    /// Each side's point.
    pub points: [usize; 2],
}

/// Every pair of points, both ways of who stops first. Those come first whose
/// points conflict over the module's state, then those where one side is about
/// to write the state or to take a lock and the other to read the state, then
/// other conflicts, then the rest in the order of the calls.
pub fn pairs(sides: [&[Point]; 2], takes_lock: &dyn Fn(&Point) -> bool) -> Vec<Pair> {
    let rank = |pair: &Pair| {
        let one = &sides[LOADER][pair.points[LOADER]];
        let other = &sides[READER][pair.points[READER]];
        let conflicts = conflict(one, other);
        if conflicts && one.state.is_some() && other.state.is_some() {
            0
        } else if other.state.is_some() && (one.state == Some(true) || takes_lock(one)) {
            1
        } else if conflicts {
            2
        } else {
            3
        }
    };
    let mut all = Vec::new();
    for first in [LOADER, READER] {
        for loader in 0..sides[LOADER].len() {
            for reader in 0..sides[READER].len() {
                all.push(Pair {
                    first,
                    points: [loader, reader],
                });
            }
        }
    }
    // Within a rank later stores of the state first: what follows them finds
    // the module furthest gone.
    all.sort_by_key(|pair| {
        let rank = rank(pair);
        let loader = pair.points[LOADER];
        let late = if rank < 2 {
            sides[LOADER].len() - loader
        } else {
            0
        };
        (rank, pair.first, late)
    });
    all
}

#[cfg(test)]
mod tests {
    use super::super::machine::Touch;
    use super::*;

    fn point(memory: u64, store: bool, state: bool) -> Point {
        Point {
            address: 0,
            text: String::new(),
            calls: None,
            is_call: false,
            touches: vec![Touch {
                memory,
                bytes: 4,
                store,
            }],
            state: state.then_some(store),
        }
    }

    #[test]
    fn every_pair_comes_once_each_way_and_the_race_comes_first() {
        let loader = [
            point(0x10, false, false),
            point(0x80, true, true),
            point(0x20, true, false),
        ];
        let reader = [point(0x40, false, false), point(0x80, false, true)];
        let all = pairs([&loader, &reader], &|_| false);
        assert_eq!(all.len(), 12);
        assert_eq!(
            all[0],
            Pair {
                first: LOADER,
                points: [1, 1]
            }
        );
        let mut sorted: Vec<_> = all.iter().map(|pair| (pair.first, pair.points)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 12);
    }
}
