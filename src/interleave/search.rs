//! A search's schedules: from what two calls ran, undisturbed, to the places at
//! which one or both are stopped, the likeliest to find something first. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::machine::{LOADER, READER, Ran};
use super::noise::is_noise;
use super::points::{Point, points};
use crate::decode::instructions::Instruction;
use crate::decode::symbols::Symbols;

/// A conflict is looked for in words of this many bytes.
const WORD: u64 = 8;
/// Of the undisturbed rounds of a scene, those that must show a conflict: what
/// only one shows is of something else that happened to run.
const SEEN_IN: usize = 2;

/// Where the module's code lies: in each load elsewhere. Addresses of it are
/// kept as those of one load, the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its first address.
    pub code: u64,
    /// Bytes of the module.
    pub bytes: u64,
    /// Where modules lie.
    pub modules: Range<u64>,
}

impl Home {
    /// The address as it is kept of one that is so now.
    pub fn kept(&self, address: u64, code_now: u64) -> u64 {
        match address.checked_sub(code_now) {
            Some(offset) if offset < self.bytes && code_now != 0 => self.code + offset,
            _ => address,
        }
    }

    /// The address as it is now of one that is kept.
    pub fn now(&self, address: u64, code_now: u64) -> u64 {
        if self.holds(address) {
            address - self.code + code_now
        } else {
            address
        }
    }

    /// Whether a kept address is the module's.
    pub fn holds(&self, address: u64) -> bool {
        address
            .checked_sub(self.code)
            .is_some_and(|offset| offset < self.bytes)
    }
}

/// Both sides' calls in undisturbed rounds, each side's with kept addresses.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The side that went first.
    pub first: usize,
    /// What each side ran.
    pub traces: [Vec<Ran>; 2],
}

/// Two instructions that touch the same memory, one of them a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conflict {
    /// The address of each side's.
    pub at: [u64; 2],
    /// Whether the memory is a module's.
    pub of_module: bool,
}

/// What the undisturbed rounds of a scene showed.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Each side's points.
    pub points: [Vec<Point>; 2],
    /// Those of them that it comes to where it goes first.
    pub first: [HashSet<u64>; 2],
    /// What conflicts.
    pub conflicts: Vec<Conflict>,
    /// Functions that call the module's code.
    pub callers: HashSet<String>,
}

/// What is known of the code.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// The kernel's symbols.
    pub symbols: &'a Symbols,
    /// The instructions that ran, sorted.
    pub instructions: &'a [Instruction],
    /// Where the module lies.
    pub home: &'a Home,
}

impl Code<'_> {
    fn function(&self, address: u64) -> Option<&str> {
        self.symbols.at(address).map(|(name, _)| name)
    }

    fn is_noise(&self, point: &Point) -> bool {
        let noise = |address: u64| self.function(address).is_some_and(is_noise);
        let only_calls_noise =
            point.touches.is_empty() && point.calls.is_some_and(noise) && point.is_call;
        !self.home.holds(point.address) && (noise(point.address) || only_calls_noise)
    }
}

/// Looks through the windows of one scene.
pub fn look(windows: &[Window], code: Code<'_>) -> Scene {
    let mut scene = Scene::default();
    let mut seen: BTreeMap<Conflict, usize> = BTreeMap::new();
    for window in windows {
        for (side, trace) in window.traces.iter().enumerate() {
            let inside = |address: u64| code.home.holds(address);
            let now = points(trace, code.instructions, None, &inside);
            let known: HashSet<u64> = scene.points[side].iter().map(|p| p.address).collect();
            let new = now
                .into_iter()
                .filter(|point| !known.contains(&point.address) && !code.is_noise(point));
            scene.points[side].extend(new);
            if side == window.first {
                scene.first[side].extend(trace.iter().map(|ran| ran.address));
            }
            scene.callers.extend(callers(trace, code));
        }
        for conflict in conflicts(window, code.home) {
            *seen.entry(conflict).or_default() += 1;
        }
    }
    let known =
        |side: usize| -> HashSet<u64> { scene.points[side].iter().map(|p| p.address).collect() };
    let known = [known(LOADER), known(READER)];
    scene.conflicts = seen
        .into_iter()
        .filter(|(_, count)| *count >= SEEN_IN)
        .map(|(conflict, _)| conflict)
        .filter(|one| {
            known[LOADER].contains(&one.at[LOADER]) && known[READER].contains(&one.at[READER])
        })
        .collect();
    scene
}

/// Functions of the kernel from which the module's code is entered.
fn callers(trace: &[Ran], code: Code<'_>) -> HashSet<String> {
    trace
        .windows(2)
        .filter(|two| code.home.holds(two[1].address) && !code.home.holds(two[0].address))
        .filter_map(|two| code.function(two[0].address).map(str::to_owned))
        .collect()
}

fn conflicts(window: &Window, home: &Home) -> HashSet<Conflict> {
    let mut by_word: HashMap<u64, [Vec<(u64, bool)>; 2]> = HashMap::new();
    for (side, trace) in window.traces.iter().enumerate() {
        for ran in trace {
            for touch in &ran.touches {
                let known = &mut by_word.entry(touch.memory / WORD).or_default()[side];
                if !known.contains(&(ran.address, touch.store)) {
                    known.push((ran.address, touch.store));
                }
            }
        }
    }
    let mut found = HashSet::new();
    for (word, [loader, reader]) in by_word {
        let of_module = home.modules.contains(&(word * WORD));
        for &(one, stores) in &loader {
            for &(other, other_stores) in &reader {
                if stores || other_stores {
                    found.insert(Conflict {
                        at: [one, other],
                        of_module,
                    });
                }
            }
        }
    }
    found
}

/// A schedule: where each side is stopped, by kept addresses, and who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stops {
    /// The scene, by its index.
    pub scene: usize,
    /// The side that begins.
    pub first: usize,
    /// Where each side is stopped.
    pub at: [Option<u64>; 2],
    /// The task is preempted there, and its CPU lives on; else its CPU stands.
    pub preempts: bool,
}

impl Stops {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.at.iter().flatten().count()
    }
}

/// How likely a stop is to find something; the least is the likeliest.
fn rank(point: &Point, scene: &Scene, side: usize, code: Code<'_>, takes_lock: bool) -> u8 {
    let of_module = |point: &Point| {
        let mut touches = point.touches.iter();
        touches.any(|touch| code.home.modules.contains(&touch.memory))
    };
    let in_conflict = || {
        scene
            .conflicts
            .iter()
            .any(|one| one.at[side] == point.address)
    };
    let calls_module = || {
        code.function(point.address)
            .is_some_and(|name| scene.callers.contains(name))
    };
    if code.home.holds(point.address) {
        0
    } else if calls_module() || of_module(point) {
        1
    } else if in_conflict() || takes_lock {
        2
    } else {
        3
    }
}

/// Every schedule of the scenes: each point alone, both ways, and pairs of those that
/// conflict or take locks.
pub fn schedules(
    scenes: &[Scene],
    code: Code<'_>,
    takes_lock: &dyn Fn(&Point) -> bool,
) -> Vec<Stops> {
    let mut ranked: Vec<(u8, usize, Stops)> = Vec::new();
    for (index, scene) in scenes.iter().enumerate() {
        // The reader first: a use after free takes a reader that stands.
        for side in [READER, LOADER] {
            let comes_to = |point: &&Point| scene.first[side].contains(&point.address);
            for (place, point) in scene.points[side].iter().filter(comes_to).enumerate() {
                let mut at = [None, None];
                at[side] = Some(point.address);
                let rank = rank(point, scene, side, code, takes_lock(point));
                for preempts in [false, true] {
                    let stops = Stops {
                        scene: index,
                        first: side,
                        at,
                        preempts,
                    };
                    ranked.push((rank * 3 + u8::from(preempts), place, stops));
                }
            }
        }
        for (place, (of_module, at)) in pairs(scene, takes_lock).into_iter().enumerate() {
            for first in [LOADER, READER] {
                let stops = Stops {
                    scene: index,
                    first,
                    at: at.map(Some),
                    preempts: false,
                };
                ranked.push((if of_module { 5 } else { 8 }, place, stops));
            }
        }
    }
    // Scenes take turns: each has its likeliest schedules first.
    ranked.sort_by_key(|(rank, place, stops)| (*rank, *place, stops.scene));
    ranked.into_iter().map(|(.., stops)| stops).collect()
}

/// Pairs of places, and whether both touch the module's memory: what conflicts,
/// and each lock operation with each place at which the other side touches what
/// conflicts.
fn pairs(scene: &Scene, takes_lock: &dyn Fn(&Point) -> bool) -> Vec<(bool, [u64; 2])> {
    let mut all: Vec<(bool, [u64; 2])> = scene
        .conflicts
        .iter()
        .map(|conflict| (conflict.of_module, conflict.at))
        .collect();
    for side in [LOADER, READER] {
        let others: Vec<u64> = scene
            .conflicts
            .iter()
            .filter(|conflict| conflict.of_module)
            .map(|conflict| conflict.at[1 - side])
            .collect();
        for lock in scene.points[side].iter().filter(|point| takes_lock(point)) {
            for &other in &others {
                let mut at = [other; 2];
                at[side] = lock.address;
                all.push((false, at));
            }
        }
    }
    let mut seen = HashSet::new();
    all.retain(|(_, at)| seen.insert(*at));
    all.sort_by_key(|(of_module, _)| !of_module);
    all
}

#[cfg(test)]
mod tests;
