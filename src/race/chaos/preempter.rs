//! A real-time thread on each reader's CPU. Where readers strike by the
//! loader's clock it preempts each strike once, soon after it began; elsewhere
//! it wakes at random, keeps the CPU for a random time and sleeps again.
//!
//! Where the kernel can be preempted it pauses the reader between `m_show()`'s
//! check of the state and `module_flags()`' `BUG_ON`, for longer than an unload
//! needs to set `MODULE_STATE_UNFORMED`. Everywhere else it pauses the reader
//! between reads, which frees `module_mutex` for the loader.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Arena, Armed, Technique};
use crate::kernel::{affinity, clock, sys};
use crate::model::Knob;
use crate::race::moments::{Moments, PREEMPTER_PRIORITY};

pub(super) const TECHNIQUE: Technique = Technique {
    name: "preempter",
    help: "a SCHED_FIFO thread on each reader's CPU that preempts it at random",
    needs: "the right to use SCHED_FIFO (CAP_SYS_NICE)",
    arm,
};

/// Longest sleep between two preemptions, ns.
const LONGEST_SLEEP_NS: u64 = 200_000;
/// Longest time that the CPU is kept, ns: an unload fits in.
const LONGEST_SPIN_NS: u64 = 300_000;

/// Latest moment of an aimed preemption, ns after the strike began.
const LATEST_NS: u64 = 60_000;

struct Preempters {
    stop: Arc<AtomicBool>,
}

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    if arena.moments.is_some() && !arena.shares_cpu && !preempts_itself(&version()) {
        // There it only takes the reader away (see reports/ablation.md).
        return Err(io::Error::other(
            "this kernel is not preempted in system calls",
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, readiness) = mpsc::channel();
    for (index, &cpu) in arena.reader_cpus.iter().enumerate() {
        let stop = Arc::clone(&stop);
        let ready = ready.clone();
        let seed = arena.seed.wrapping_add(index as u64);
        let moments = arena
            .moments
            .as_ref()
            .map(|moments| Arc::clone(&moments[index % moments.len()]));
        let shares_cpu = arena.shares_cpu;
        thread::Builder::new()
            .name(format!("preempter/{cpu}"))
            .spawn(move || {
                let armed = affinity::pin_to(cpu).map_err(io::Error::from);
                let armed = armed.and_then(|()| sys::set_priority(0, Some(PREEMPTER_PRIORITY)));
                let go_on = armed.is_ok();
                let _nobody_listens = ready.send(armed);
                drop(ready);
                match moments {
                    _ if !go_on => {}
                    None => preempt(seed, &stop),
                    Some(moments) => aimed(&moments, shares_cpu, seed, &stop),
                }
            })?;
    }
    drop(ready);
    let armed = Preempters { stop };
    for outcome in readiness {
        // Dropping `armed` stops those that did start.
        outcome?;
    }
    Ok(Box::new(armed))
}

/// The kernel's version as `uname -v` prints it.
fn version() -> String {
    nix::sys::utsname::uname()
        .map(|names| names.version().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Whether a kernel of that version may be preempted inside a system call.
fn preempts_itself(version: &str) -> bool {
    version
        .split_whitespace()
        .any(|word| matches!(word, "PREEMPT" | "PREEMPT_RT" | "PREEMPT_DYNAMIC"))
}

fn preempt(seed: u64, stop: &AtomicBool) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    sys::exact_timers();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_nanos(rng.random_range(0..LONGEST_SLEEP_NS)));
        clock::spin_ns(rng.random_range(0..LONGEST_SPIN_NS));
    }
}

/// Preempts the reader in every strike, soon after it began.
fn aimed(moments: &Moments, shares_cpu: bool, seed: u64, stop: &AtomicBool) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut strike = 0;
    sys::exact_timers();
    moments.preempter_is_me();
    while let Some((number, at_ns)) = moments.next_strike(strike, stop) {
        strike = number;
        clock::sleep_until(at_ns + rng.random_range(0..LATEST_NS));
        if !moments.is_latest_strike(number) {
            continue;
        }
        if shares_cpu {
            // The loader has this CPU until it needs the mutex that the reader
            // holds; that is after the store. It gives the reader its priority
            // back before the next unload.
            let reader = moments.reader_tid.load(Ordering::Relaxed);
            let _gone = sys::set_priority(reader, None);
        } else {
            clock::spin_ns(rng.random_range(0..LONGEST_SPIN_NS));
        }
    }
}

impl Armed for Preempters {
    fn disarm(self: Box<Self>) -> Vec<Knob> {
        Vec::new()
    }
}

impl Drop for Preempters {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_whether_a_system_call_can_be_preempted() {
        assert!(preempts_itself("#1 SMP PREEMPT 2014-10-14 00:00:00 UTC"));
        assert!(preempts_itself("#1 SMP PREEMPT_DYNAMIC Debian 6.1.99-1"));
        assert!(!preempts_itself("#1 SMP 2014-10-14 00:00:00 UTC"));
        assert!(!preempts_itself("#2 SMP PREEMPT_VOLUNTARY Sun Nov 22"));
    }
}
