//! A real-time thread on each reader's CPU. Where readers latest by the clock
//! of a loader on the same CPU it preempts each latest once, soon after it
//! began; readers that run freely it preempts at random, for a random time.
//!
//! Where the kernel can be preempted it pauses the reader between `m_show()`'s
//! check of the state and `module_flags()`' `BUG_ON`, for longer than an unload
//! needs to set `MODULE_STATE_UNFORMED`. Everywhere else it pauses the reader
//! between reads, which frees `module_mutex` for the loader.

use std::io;
use std::sync::Arc;

use rand::RngExt;

use super::agents::{Agent, Agents, Round};
use super::{ChaosContext, Technique, TechniqueGuard};
use crate::kernel::{clock, sys};
use crate::race::auto::PREEMPTER_PRIORITY;
use crate::race::auto::TargetedReads;

pub(super) const TECHNIQUE: Technique = Technique {
    name: "preempter",
    help: "a SCHED_FIFO thread on each reader's CPU that preempts it at random",
    needs: "CAP_SYS_NICE, and readers that share a loader's CPU or run freely",
    guests_only: false,
    changes: Vec::new,
    arm,
};

/// Longest time that the CPU is kept, ns: an unload fits in.
const LONGEST_SPIN_NS: u64 = 300_000;

/// Latest moment of an aimed preemption, ns after the latest began: some dozen
/// reads. Earlier ones meet reads that have hardly begun.
const LATEST_NS: u64 = 150_000;

fn arm(context: &ChaosContext) -> io::Result<Option<Box<dyn TechniqueGuard>>> {
    if context.targeted_readers.is_some() && !context.shares_cpu {
        // There it only takes the reader away (see reports/ablation.md).
        return Ok(None);
    }
    let (cpus, targeted_reads): (Vec<usize>, Vec<Arc<TargetedReads>>) =
        match &context.targeted_readers {
            Some(targeted_readers) => targeted_readers.iter().cloned().unzip(),
            None => (context.reader_cpus.clone(), Vec::new()),
        };
    let agents = Agents::start("preempter", &cpus, &context.seed, move |agent| {
        sys::set_priority(0, Some(PREEMPTER_PRIORITY))?;
        Ok(match targeted_reads.get(agent.index) {
            None => at_random(agent),
            Some(targeted_reads) => {
                targeted_reads.preempter_is_me();
                aimed(Arc::clone(targeted_reads), agent)
            }
        })
    })?;
    Ok(Some(Box::new(agents)))
}

fn at_random(mut agent: Agent) -> Round {
    Box::new(move || {
        agent.pause();
        clock::spin_ns(agent.rng().random_range(0..LONGEST_SPIN_NS));
    })
}

/// Preempts the reader in every targeted read, soon after it began.
fn aimed(targeted_reads: Arc<TargetedReads>, mut agent: Agent) -> Round {
    let mut latest = 0;
    Box::new(move || {
        let Some((number, at_ns)) = targeted_reads.next(latest, &agent.stop) else {
            return;
        };
        latest = number;
        clock::sleep_until(at_ns + agent.rng().random_range(0..LATEST_NS));
        if targeted_reads.is_latest(number) {
            // The loader has this CPU until it needs the mutex that the reader
            // holds; that is after the store. It gives the reader its priority
            // back before the next unload.
            let _gone = sys::set_priority(targeted_reads.reader(), None);
        }
    })
}
