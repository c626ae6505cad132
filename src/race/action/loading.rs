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

/// Where two loaders meet, before and after each of their rounds.
#[derive(Debug, Default)]
pub(in crate::race) struct Rounds {
    arrived: [AtomicU64; 2],
}

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
}

/// The first loader unloads the module while the second loads it: the load has
/// to wait for the unload. Each round ends when both have come back, and begins
/// with the module loaded.
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
        pause.take();
        if who == 0 {
            let _ = unload(module, slot);
        } else if load(module, actions, slot).is_ok() {
            end_cycle(slot);
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
