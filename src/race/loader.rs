//! A loader: load/unload cycles with bare system calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;

use crate::kernel::module::ModuleFile;
use crate::model::{Slot, Stage, bump};

/// Cycles until told to stop, and leaves the module unloaded.
pub(super) fn run(module: &ModuleFile, slot: &Slot, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        slot.enter(Stage::Loading);
        slot.begin_load();
        let loaded = module.load();
        if let Err(errno) = loaded {
            count(slot, errno);
            // Somebody else's module of that name, or one that an earlier
            // unload left behind: unloading it is the way on.
            if errno != Errno::EEXIST {
                slot.enter(Stage::Idle);
                thread::yield_now();
                continue;
            }
        }
        slot.enter(Stage::Unloading);
        match module.unload() {
            // Only a load of our own makes a cycle.
            Ok(()) if loaded.is_ok() => bump(&slot.cycles),
            Ok(()) => {}
            Err(errno) => {
                count(slot, errno);
                thread::yield_now();
            }
        }
    }
    slot.enter(Stage::Unloading);
    let _absent_is_what_we_want = module.unload();
    slot.enter(Stage::Ended);
}

/// Counts a failed load or unload by its reason: while racing, that is news of
/// the race, not an error.
pub(super) fn count(slot: &Slot, errno: Errno) {
    match errno {
        Errno::EBUSY => bump(&slot.ebusy),
        Errno::EEXIST => bump(&slot.eexist),
        Errno::ENOENT => bump(&slot.enoent),
        Errno::EWOULDBLOCK => bump(&slot.ewouldblock),
        other => {
            bump(&slot.other);
            slot.last_errno.store(other as u64, Ordering::Relaxed);
        }
    }
}
