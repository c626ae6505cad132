//! Loader actions: cycles without an audience, and two loaders of one name.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use super::{Actions, Pause};
use crate::kernel::clock;
use crate::kernel::module::ModuleFile;
use crate::race::loader::count;
use crate::recorder::{Slot, Stage, bump};

/// Tries to unload in a row without a pause; a reader may hold the module.
const EAGER_TRIES: u32 = 50;
/// Pause after each further one.
const HELD: Duration = Duration::from_micros(500);

/// Loads and unloads until told to stop, and leaves the module unloaded.
pub(super) fn cycle(
    module: &ModuleFile,
    actions: &Actions,
    mut pause: Pause,
    slot: &Slot,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        let loaded = load(module, actions, slot);
        if loaded != Ok(()) && loaded != Err(Errno::EEXIST) {
            thread::yield_now();
            continue;
        }
        pause.take();
        if unload_patiently(module, slot, stop) && loaded.is_ok() {
            end_cycle(slot);
        }
        pause.take();
    }
    slot.enter(Stage::Unloading);
    let _ = module.unload();
}

/// Whether it could be unloaded, before anybody said stop.
fn unload_patiently(module: &ModuleFile, slot: &Slot, stop: &AtomicBool) -> bool {
    let mut tries = 0;
    loop {
        match unload(module, slot) {
            Ok(()) => return true,
            Err(Errno::ENOENT) => return false,
            Err(_) if stop.load(Ordering::Relaxed) => return false,
            Err(_) => {}
        }
        tries += 1;
        if tries > EAGER_TRIES {
            thread::sleep(HELD);
        }
    }
}

/// A load shows the module live to whoever did it: the sighting of races that
/// have no readers.
fn load(module: &ModuleFile, actions: &Actions, slot: &Slot) -> Result<(), Errno> {
    slot.enter(Stage::Loading);
    slot.begin_load();
    let loaded = module.load_with(&actions.parameters);
    match loaded {
        Ok(()) => bump(&slot.live),
        Err(errno) => count(slot, errno),
    }
    slot.enter(Stage::Idle);
    loaded
}

fn unload(module: &ModuleFile, slot: &Slot) -> Result<(), Errno> {
    slot.enter(Stage::Unloading);
    let unloaded = module.unload();
    if let Err(errno) = unloaded {
        count(slot, errno);
    }
    slot.enter(Stage::Idle);
    unloaded
}

fn end_cycle(slot: &Slot) {
    bump(&slot.cycles);
    slot.cycle_ns
        .store(clock::monotonic_ns(), Ordering::Relaxed);
}

/// Where two loaders meet, before and after each of their rounds, and what they
/// have learned of each other.
#[derive(Debug, Default)]
pub(in crate::race) struct Rounds {
    arrived: [AtomicU64; 2],
    /// How long the unload waits, so that the load comes while it is under way.
    delay_ns: AtomicU64,
}

/// Least by which the delay is changed, ns.
const LEAST_STEP_NS: u64 = 20_000;
/// Longest delay, ns: longer than any load takes to get to the list of modules.
const LONGEST_DELAY_NS: u64 = 500_000_000;

impl Rounds {
    /// Waits for the other. False if told to stop meanwhile.
    fn meet(&self, who: usize, stop: &AtomicBool) -> bool {
        let mine = self.arrived[who].fetch_add(1, Ordering::AcqRel) + 1;
        while self.arrived[1 - who].load(Ordering::Acquire) < mine {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    /// Learns from a load: one that found the module still there was too early,
    /// so the unload has to come sooner, and the other way round. Between the two
    /// lies the time in which the load has to wait.
    fn learn(&self, loaded: Result<(), Errno>) {
        let delay_ns = self.delay_ns.load(Ordering::Relaxed);
        let step_ns = step_ns(delay_ns);
        let delay_ns = match loaded {
            Ok(()) => (delay_ns + step_ns).min(LONGEST_DELAY_NS),
            Err(_) => delay_ns.saturating_sub(step_ns),
        };
        self.delay_ns.store(delay_ns, Ordering::Relaxed);
    }
}

fn step_ns(delay_ns: u64) -> u64 {
    (delay_ns / 16).max(LEAST_STEP_NS)
}

/// The first loader unloads the module while the second loads it: a load that
/// finds the module unformed has to wait for the unload. Each round ends when
/// both have come back, and begins with the module loaded.
pub(super) fn duel(
    loader: usize,
    module: &ModuleFile,
    actions: &Actions,
    rounds: &Rounds,
    mut pause: Pause,
    slot: &Slot,
    stop: &AtomicBool,
) {
    let who = loader % 2;
    if who == 0 {
        let _ = load(module, actions, slot);
    }
    while rounds.meet(who, stop) {
        if who == 0 {
            let delay_ns = rounds.delay_ns.load(Ordering::Relaxed);
            let until_ns = clock::monotonic_ns() + delay_ns + pause.below(step_ns(delay_ns));
            while clock::monotonic_ns() < until_ns && !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            // A load that found the module going may have been refused, and may be
            // so for ever: what has come and gone is the module.
            if unload(module, slot).is_ok() {
                end_cycle(slot);
            }
        } else {
            rounds.learn(load(module, actions, slot));
        }
        if !rounds.meet(who, stop) {
            break;
        }
        if who == 0 && !module.is_loaded() {
            // The second came too early and found it still there.
            let _ = load(module, actions, slot);
        }
    }
    if who == 0 {
        slot.enter(Stage::Unloading);
        let _ = module.unload();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_settles_where_loads_begin_to_find_the_module_there() {
        let rounds = Rounds::default();
        let boundary_ns = 3_000_000;
        let mut last = Vec::new();
        for round in 0..400 {
            let delay_ns = rounds.delay_ns.load(Ordering::Relaxed);
            let too_late = delay_ns > boundary_ns;
            rounds.learn(if too_late { Err(Errno::EEXIST) } else { Ok(()) });
            if round >= 300 {
                last.push(delay_ns);
            }
        }
        let near = last
            .iter()
            .filter(|&&delay_ns| delay_ns.abs_diff(boundary_ns) <= 2 * step_ns(boundary_ns));
        assert_eq!(near.count(), last.len());
    }
}
