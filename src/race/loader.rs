//! A loader: load/unload cycles with bare system calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;

use super::auto::{LOADER_PRIORITY, READER_PRIORITY, UnloadClock};
use crate::kernel::clock;
use crate::kernel::module::{self, ModuleFile};
use crate::kernel::priority::RealTime;
use crate::recorder::{Slot, Stage, bump};

/// Time between the announcement of an unload and the unload, ns, where the
/// reader needs the loader's CPU to hear of it.
const LEAD_NS: u64 = 300_000;

/// Cycles before the race.
const WARM_UP_CYCLES: u32 = 8;
/// Unloads rehearsed.
const REHEARSALS: u32 = 16;
/// Length of one, ns: about that of an unload.
const REHEARSAL_NS: u64 = 300_000;

/// Announces unloads that are none, while the module stays loaded: the loader
/// contends for `module_mutex` by asking for the unload of a module that nobody
/// has. Nothing can crash, since nothing goes; but the readers' reads, and the
/// waiting for each other, have run before the clock does. First runs of code
/// are many times slower than later ones, above all in emulation.
pub(super) fn rehearse(unload_clock: &UnloadClock, shares_cpu: bool, stop: &AtomicBool) {
    for _ in 0..REHEARSALS {
        let raised = announce(unload_clock, shares_cpu, stop);
        let end_ns = clock::monotonic_ns() + REHEARSAL_NS;
        while clock::monotonic_ns() < end_ns {
            // No such module exists: only the call matters.
            let _ = module::unload_by_name("modrace_nobody");
        }
        unload_clock.end_rehearsal();
        drop(raised);
    }
    unload_clock.rehearsed();
}

/// Loads and unloads while nobody reads, for the same reason.
pub(super) fn warm_up(module: &ModuleFile, stop: &AtomicBool) {
    for _ in 0..WARM_UP_CYCLES {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // What fails here fails in the race, where it is counted.
        let _ = module.load().and_then(|()| module.unload());
    }
}

/// Says that an unload begins, to readers that are ready for it. The priority
/// that it may take is to be kept until the unload has ended.
fn announce(unload_clock: &UnloadClock, shares_cpu: bool, stop: &AtomicBool) -> Option<RealTime> {
    if shares_cpu {
        // Between two real-time threads: the reader interrupts it, and while
        // the reader is held back, nobody else comes before it.
        let raised = RealTime::take(LOADER_PRIORITY);
        unload_clock.raise_readers(READER_PRIORITY);
        unload_clock.begin();
        // Timers fire late in emulation, by as long as an unload takes: a
        // targeted read that is to come early in it is armed before it.
        clock::spin_ns(LEAD_NS);
        Some(raised)
    } else {
        unload_clock.rendezvous(stop);
        unload_clock.begin();
        None
    }
}

/// Cycles until told to stop, and leaves the module unloaded.
pub(super) fn run(
    module: &ModuleFile,
    unload_clock: &UnloadClock,
    shares_cpu: bool,
    slot: &Slot,
    stop: &AtomicBool,
) {
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
        let raised = announce(unload_clock, shares_cpu, stop);
        let unloaded = module.unload();
        unload_clock.end();
        drop(raised);
        match unloaded {
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
    // Fails where it is unloaded already.
    let _ = module.unload();
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
