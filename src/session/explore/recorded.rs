//! What the calls of each scene run, undisturbed: on a guest in which the whole
//! kernel is watched. Slow, so it is done once.

use std::collections::{BTreeMap, BTreeSet};

use super::ExploreError;
use super::ground::Ground;
use crate::decode::instructions::{Instruction, decode};
use crate::interleave::driver::Driver;
use crate::interleave::machine::{LOADER, READER, Setting, Watched};
use crate::interleave::noise::is_noise;
use crate::interleave::points::Point;
use crate::interleave::round::Order;
use crate::interleave::search::{Code, Scene, Window, look};
use crate::vm::instrument::page::kind;

/// Undisturbed rounds of each scene, for each side that goes first.
const ROUNDS: usize = 2;

/// What was recorded.
pub(super) struct Recorded {
    pub(super) settings: Vec<Setting>,
    pub(super) scenes: Vec<Scene>,
    /// The instructions that ran, sorted.
    pub(super) instructions: Vec<Instruction>,
}

impl Recorded {
    pub(super) fn of(ground: &Ground<'_>) -> Result<Self, ExploreError> {
        let layout = ground.watching(everything(ground))?;
        let mut driver = ground.boot(&layout)?;
        let settings = ground.scenes();
        let mut windows: Vec<Vec<Window>> = Vec::new();
        let mut module = Vec::new();
        for setting in &settings {
            let mut seen = Vec::new();
            for first in [READER, LOADER] {
                for _ in 0..ROUNDS {
                    let round = driver.force(&Order {
                        first,
                        stops: [None, None],
                        preempts: false,
                        setting: *setting,
                    })?;
                    if round.crashed || round.hung.is_some() {
                        return Err(driver.machine.undisturbed(round.hung).into());
                    }
                    module = round.code;
                    seen.push(Window {
                        first,
                        traces: round.traces,
                    });
                }
            }
            windows.push(seen);
        }
        let instructions = instructions(ground, &driver, &windows, &module);
        let code = Code {
            symbols: &ground.symbols,
            instructions: &instructions,
            home: &ground.home,
        };
        let scenes = windows.iter().map(|windows| look(windows, code)).collect();
        Ok(Self {
            settings,
            scenes,
            instructions,
        })
    }

    /// What is known of the code.
    pub(super) fn code<'b>(&'b self, ground: &'b Ground<'_>) -> Code<'b> {
        Code {
            symbols: &ground.symbols,
            instructions: &self.instructions,
            home: &ground.home,
        }
    }

    /// How many points each side has, in all scenes.
    pub(super) fn points(&self) -> [u64; 2] {
        let of = |side: usize| -> u64 {
            let points = self.scenes.iter().flat_map(|scene| &scene.points[side]);
            points
                .map(|point: &Point| point.address)
                .collect::<BTreeSet<u64>>()
                .len() as u64
        };
        [of(LOADER), of(READER)]
    }

    /// What is watched where sides are stopped at these points alone.
    pub(super) fn watched(&self, ground: &Ground<'_>) -> Vec<Watched> {
        let points = self
            .scenes
            .iter()
            .flat_map(|scene| scene.points.iter().flatten());
        watched(ground, points.map(|point| point.address))
    }
}

/// What is watched where sides are stopped at these addresses alone.
pub(super) fn watched(ground: &Ground<'_>, stops: impl Iterator<Item = u64>) -> Vec<Watched> {
    let addresses: BTreeSet<u64> = stops.filter(|&at| !ground.home.holds(at)).collect();
    let mut all: Vec<Watched> = addresses
        .into_iter()
        .map(|at| (at, at + 1, kind::RUN))
        .collect();
    all.push(modules(ground, kind::RUN));
    all.extend(interrupts(ground));
    all
}

/// The kernel's code but for what belongs to no call.
fn everything(ground: &Ground<'_>) -> Vec<Watched> {
    let symbols = &ground.symbols;
    let first = symbols.address("_stext").unwrap_or(0);
    let end = symbols.address("_etext").unwrap_or(u64::MAX);
    let mut all: Vec<Watched> = symbols
        .all()
        .filter(|(name, range)| (first..end).contains(&range.start) && !is_noise(name))
        .map(|(_, range)| (range.start, range.end, kind::RUN | kind::TOUCH))
        .collect();
    all.push(modules(ground, kind::RUN | kind::TOUCH));
    all.extend(interrupts(ground));
    all
}

fn modules(ground: &Ground<'_>, kinds: u64) -> Watched {
    let modules = &ground.guests.arch.modules;
    (modules.start, modules.end, kinds)
}

/// Where interrupts begin and end: what runs between is no side's.
fn interrupts(ground: &Ground<'_>) -> Vec<Watched> {
    let arch = ground.guests.arch;
    let begin = |prefix: &&str| -> Vec<Watched> {
        let found = ground.symbols.beginning(prefix);
        found
            .map(|(_, range)| (range.start, range.start + 1, kind::INTERRUPT))
            .collect()
    };
    let groups = arch.interrupts.iter();
    let begins = groups
        .map(|group| group.iter().flat_map(begin).collect::<Vec<_>>())
        .find(|found| !found.is_empty())
        .unwrap_or_default();
    let ends = arch
        .resumes
        .iter()
        .find_map(|name| ground.symbols.address(name));
    let ends = ends.map(|at| (at, at + 1, kind::RESUME));
    begins.into_iter().chain(ends).collect()
}

/// Every instruction that ran, decoded from the guest's memory, or from the
/// module's bytes as they were while it was loaded.
fn instructions(
    ground: &Ground<'_>,
    driver: &Driver<'_>,
    windows: &[Vec<Window>],
    module: &[u8],
) -> Vec<Instruction> {
    let ran = windows
        .iter()
        .flatten()
        .flat_map(|window| window.traces.iter().flatten());
    let addresses: BTreeSet<u64> = ran.map(|ran| ran.address).collect();
    let mut found: BTreeMap<u64, Instruction> = BTreeMap::new();
    for address in addresses {
        let longest = ground.guests.arch.longest_instruction;
        let bytes = if ground.home.holds(address) {
            let at = usize::try_from(address - ground.home.code).unwrap_or(usize::MAX);
            let rest = module.get(at..).unwrap_or_default();
            rest[..rest.len().min(longest)].to_vec()
        } else {
            driver
                .machine
                .memory()
                .as_far_as_mapped(address, longest as u64)
        };
        if let Some(first) = decode(&bytes, address).into_iter().next()
            && first.address == address
        {
            found.insert(address, first);
        }
    }
    found.into_values().collect()
}
