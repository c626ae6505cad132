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
use std::sync::atomic::Ordering;

use rand::RngExt;

use super::agents::{Agent, Agents, Round};
use super::{Arena, Armed, Auto, Side, Technique};
use crate::kernel::{clock, sys};
use crate::race::moments::{Moments, PREEMPTER_PRIORITY};

pub(super) const TECHNIQUE: Technique = Technique {
    name: "preempter",
    help: "a SCHED_FIFO thread on each reader's CPU that preempts it at random",
    needs: "the right to use SCHED_FIFO (CAP_SYS_NICE)",
    side: Side::Kernel,
    auto: Auto::Everywhere,
    arm,
};

/// Longest time that the CPU is kept, ns: an unload fits in.
const LONGEST_SPIN_NS: u64 = 300_000;

/// Latest moment of an aimed preemption, ns after the strike began.
const LATEST_NS: u64 = 60_000;

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    if arena.moments.is_some() && !arena.shares_cpu {
        // There it only takes the reader away (see reports/ablation.md).
        return Err(io::Error::other("readers have CPUs of their own"));
    }
    let moments = arena.moments.clone();
    let agents = Agents::start("preempter", &arena.reader_cpus, arena.seed, move |agent| {
        sys::set_priority(0, Some(PREEMPTER_PRIORITY))?;
        Ok(match &moments {
            None => at_random(agent),
            Some(moments) => {
                let moments = Arc::clone(&moments[agent.index % moments.len()]);
                moments.preempter_is_me();
                aimed(moments, agent)
            }
        })
    })?;
    Ok(Box::new(agents))
}

fn at_random(mut agent: Agent) -> Round {
    Box::new(move || {
        agent.pause();
        clock::spin_ns(agent.rng.random_range(0..LONGEST_SPIN_NS));
    })
}

/// Preempts the reader in every strike, soon after it began.
fn aimed(moments: Arc<Moments>, mut agent: Agent) -> Round {
    let mut strike = 0;
    Box::new(move || {
        let Some((number, at_ns)) = moments.next_strike(strike, &agent.stop) else {
            return;
        };
        strike = number;
        clock::sleep_until(at_ns + agent.rng.random_range(0..LATEST_NS));
        if moments.is_latest_strike(number) {
            // The loader has this CPU until it needs the mutex that the reader
            // holds; that is after the store. It gives the reader its priority
            // back before the next unload.
            let reader = moments.reader_tid.load(Ordering::Relaxed);
            let _gone = sys::set_priority(reader, None);
        }
    })
}
