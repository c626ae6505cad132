//! The rounds before any schedule: what they run are the points, and the points
//! of both sides make the schedules.

use super::bench::{Bench, ProveError, of_race};
use super::record;
use crate::interleave::calls::Call;
use crate::interleave::coverage::Coverage;
use crate::interleave::decode::Instruction;
use crate::interleave::driver::Driver;
use crate::interleave::machine::{LOADER, MachineError, READER};
use crate::interleave::points::{Point, points};
use crate::interleave::round::{Order, Round};
use crate::interleave::schedule::{Pair, pairs};
use crate::model::Who;

/// Undisturbed rounds of each form: what one of them ran is a point.
const UNDISTURBED: u32 = 2;

/// What the undisturbed rounds showed.
pub(super) struct Found {
    /// The code of each side's functions, sorted.
    pub(super) code: [Vec<Instruction>; 2],
    /// Points of each side for each form that has its own.
    pub(super) points: Vec<[Vec<Point>; 2]>,
    /// Whether each form has points of its own.
    pub(super) differs: Vec<bool>,
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
    let mut by_form: Vec<[Vec<Point>; 2]> = Vec::new();
    for form in 0..bench.forms.len() {
        let order = Order {
            first: READER,
            stops: [None, None],
            preempts: false,
            setting: of_race(form, Call::Unload),
        };
        let mut seen: [Vec<Point>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..UNDISTURBED {
            let round = force(driver, &order)?;
            let state = round
                .module
                .map(|module| module.wrapping_add_signed(bench.row.state_offset));
            for side in [LOADER, READER] {
                coverage[side].add(&round.traces[side]);
                let now = points(&round.traces[side], &code[side], state, &|_| false);
                merge(&mut seen[side], now);
            }
        }
        by_form.push(seen);
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
    let addresses = |points: &[Vec<Point>; 2]| {
        let of = |side: usize| -> Vec<u64> { points[side].iter().map(|p| p.address).collect() };
        [of(LOADER), of(READER)]
    };
    let first = addresses(&by_form[0]);
    let differs: Vec<bool> = by_form
        .iter()
        .map(|points| addresses(points) != first)
        .collect();
    Ok(Found {
        code,
        points: by_form,
        differs,
    })
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
        let [loaders, readers] = &found.points[0];
        let here = |number: usize, points: &[Point], letter: char| {
            number
                .checked_sub(1)
                .filter(|&index| index < points.len())
                .ok_or_else(|| {
                    let name = format!("{letter}{number}");
                    ProveError::NoPoint(name, loaders.len(), readers.len())
                })
        };
        let pair = Pair {
            first: index_of(first),
            points: [here(loader, loaders, 'L')?, here(reader, readers, 'R')?],
        };
        return Ok(vec![Item { pair, form: 0 }]);
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
