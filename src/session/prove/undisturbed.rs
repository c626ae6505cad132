//! The rounds before any schedule: what they run are the points, and the points
//! of both sides make the schedules.

use std::collections::HashSet;

use super::bench::{Bench, ProveError, of_race};
use super::record;
use crate::decode::instructions::Instruction;
use crate::interleave::calls::Call;
use crate::interleave::coverage::Coverage;
use crate::interleave::driver::Driver;
use crate::interleave::machine::{LOADER, MachineError, READER};
use crate::interleave::points::{Point, points};
use crate::interleave::round::{Order, Round};
use crate::interleave::schedule::{Pair, pairs};
use crate::model::Who;

/// Undisturbed rounds of each form: what one of them ran is a point.
const UNDISTURBED: u32 = 2;
/// The same where forms differ: by chance a round runs what others do not, an
/// interrupt's work on the way out, and then another round of the other form
/// may run it too.
const MOST_UNDISTURBED: u32 = 6;

/// What the undisturbed rounds showed.
pub(super) struct Found {
    /// The code of each side's functions, sorted.
    pub(super) code: [Vec<Instruction>; 2],
    /// Points of each side for each form that has its own.
    pub(super) points: Vec<[Vec<Point>; 2]>,
    /// Whether each form has points of its own.
    pub(super) differs: Vec<bool>,
}

impl Found {
    /// The forms that have points of their own, and where each one's begin in
    /// the record, which lists the points of one after those of the other.
    fn listed(&self, side: usize) -> impl Iterator<Item = (usize, usize)> {
        let own = |form: &usize| *form == 0 || self.differs[*form];
        let forms = (0..self.points.len()).filter(own);
        forms.scan(0, move |next, form| {
            let begins = *next;
            *next += self.points[form][side].len();
            Some((form, begins))
        })
    }

    /// Every point of a side as the record lists them, with its form.
    pub(super) fn all(&self, side: usize) -> impl Iterator<Item = (usize, &Point)> {
        self.listed(side)
            .flat_map(move |(form, _)| self.points[form][side].iter().map(move |one| (form, one)))
    }

    /// The number in the record, from 1, of a side's point in a schedule.
    pub(super) fn number(&self, item: Item, side: usize) -> usize {
        let begins = self.listed(side).find(|(form, _)| *form == item.form);
        begins.map_or(0, |(_, begins)| begins) + item.pair.points[side] + 1
    }

    /// The form and the index in it of a point by its number in the record.
    fn of_number(&self, side: usize, number: usize) -> Option<(usize, usize)> {
        let index = number.checked_sub(1)?;
        self.listed(side)
            .filter_map(|(form, begins)| Some((form, index.checked_sub(begins)?)))
            .find(|(form, index)| *index < self.points[*form][side].len())
    }
}

/// A schedule to be forced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) pair: Pair,
    pub(super) form: usize,
}

pub(super) fn undisturbed(
    bench: &Bench<'_>,
    driver: &mut Driver<'_>,
    coverage: &mut [Coverage; 2],
) -> Result<Found, ProveError> {
    let mut code = [Vec::new(), Vec::new()];
    for side in [LOADER, READER] {
        for function in &driver.layout.functions[side] {
            code[side].extend(driver.machine.code(&function.range)?);
        }
        code[side].sort_by_key(|one: &Instruction| one.address);
    }
    let mut by_form = vec![[Vec::new(), Vec::new()]; bench.forms.len()];
    for round in 0..MOST_UNDISTURBED {
        for (form, seen) in by_form.iter_mut().enumerate() {
            let round = force(driver, &in_turn(form))?;
            let state = round
                .module
                .map(|module| module.wrapping_add_signed(bench.row.state_offset));
            for side in [LOADER, READER] {
                coverage[side].add(&round.traces[side]);
                let now = points(&round.traces[side], &code[side], state, &|_| false);
                merge(&mut seen[side], now);
            }
        }
        let alike = !differing(&by_form).contains(&true);
        if alike && round + 1 >= UNDISTURBED {
            break;
        }
    }
    let nothing = Order {
        first: LOADER,
        stops: [None, None],
        preempts: false,
        setting: of_race(0, Call::UnloadNothing),
    };
    let round = force(driver, &nothing)?;
    for side in [LOADER, READER] {
        coverage[side].add(&round.traces[side]);
    }
    Ok(Found {
        code,
        differs: differing(&by_form),
        points: by_form,
    })
}

/// Both calls, one after the other.
fn in_turn(form: usize) -> Order {
    Order {
        first: READER,
        stops: [None, None],
        preempts: false,
        setting: of_race(form, Call::Unload),
    }
}

/// Which forms have other points than the first.
fn differing(by_form: &[[Vec<Point>; 2]]) -> Vec<bool> {
    let addresses = |points: &[Vec<Point>; 2]| {
        let of = |side: usize| -> HashSet<u64> { points[side].iter().map(|p| p.address).collect() };
        [of(LOADER), of(READER)]
    };
    let first = by_form.first().map(addresses);
    by_form
        .iter()
        .map(|points| Some(addresses(points)) != first)
        .collect()
}

fn force(driver: &mut Driver<'_>, order: &Order) -> Result<Round, MachineError> {
    let round = driver.force(order)?;
    if round.crashed || round.hung.is_some() {
        return Err(driver.machine.undisturbed(round.hung));
    }
    Ok(round)
}

/// Adds points that an earlier round did not run, where they belong.
fn merge(all: &mut Vec<Point>, now: Vec<Point>) {
    let mut at = 0;
    for point in now {
        if let Some(index) = all.iter().position(|known| known.address == point.address) {
            at = index + 1;
        } else {
            all.insert(at, point);
            at += 1;
        }
    }
}

/// The schedules of all forms, the likeliest to crash first.
pub(super) fn queue(bench: &Bench<'_>, found: &Found) -> Result<Vec<Item>, ProveError> {
    if let Some((first, loader, reader)) = bench.subject.only {
        let here = |side: usize, letter: char, number: usize| {
            found.of_number(side, number).ok_or_else(|| {
                let counts = [LOADER, READER].map(|side| found.all(side).count());
                ProveError::NoPoint(format!("{letter}{number}"), counts[LOADER], counts[READER])
            })
        };
        let (form, of_loader) = here(LOADER, 'L', loader)?;
        let (form_of_reader, of_reader) = here(READER, 'R', reader)?;
        if form != form_of_reader {
            return Err(ProveError::TwoForms(loader, reader));
        }
        let pair = Pair {
            first: index_of(first),
            points: [of_loader, of_reader],
        };
        return Ok(vec![Item { pair, form }]);
    }
    let takes_lock = |point: &Point| record::takes_lock(bench, point);
    let mut items = Vec::new();
    for (form, points) in found.points.iter().enumerate() {
        if form > 0 && !found.differs[form] {
            continue;
        }
        let pairs = pairs([&points[LOADER], &points[READER]], &takes_lock);
        // Forms take turns: each has its likeliest schedules first.
        items.extend(
            pairs
                .into_iter()
                .enumerate()
                .map(|(place, pair)| (place, Item { pair, form })),
        );
    }
    items.sort_by_key(|(place, item)| (*place, item.form));
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn index_of(who: Who) -> usize {
    match who {
        Who::Loader => LOADER,
        Who::Reader => READER,
    }
}

pub(super) fn who(side: usize) -> Who {
    if side == LOADER {
        Who::Loader
    } else {
        Who::Reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: u64) -> Vec<Point> {
        let at = |address| Point {
            address,
            ..Point::default()
        };
        (0..count).map(at).collect()
    }

    /// Three forms of the module, of which the second has the first one's
    /// points.
    fn found() -> Found {
        let points = vec![
            [points(48), points(26)],
            [points(48), points(26)],
            [points(47), points(25)],
        ];
        Found {
            code: [Vec::new(), Vec::new()],
            differs: differing(&points),
            points,
        }
    }

    #[test]
    fn a_point_has_one_number_in_the_schedules_and_in_the_list_of_points() {
        let found = found();
        assert_eq!(found.differs, [false, false, true]);
        for side in [LOADER, READER] {
            let listed: Vec<(usize, u64)> = found
                .all(side)
                .map(|(form, point)| (form, point.address))
                .collect();
            for form in [0, 2] {
                for index in 0..found.points[form][side].len() {
                    let pair = Pair {
                        first: LOADER,
                        points: [index; 2],
                    };
                    let number = found.number(Item { pair, form }, side);
                    assert_eq!(listed[number - 1], (form, index as u64));
                    assert_eq!(found.of_number(side, number), Some((form, index)));
                }
            }
            assert_eq!(found.of_number(side, 0), None);
            assert_eq!(found.of_number(side, listed.len() + 1), None);
        }
    }
}
