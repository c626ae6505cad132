//! Inter-processor interrupts by `membarrier()`: an expedited private barrier
//! interrupts every CPU that runs a thread of this process, the reader's too.
//! Kernel: `membarrier_private_expedited()` in kernel/sched/membarrier.c.

use std::io;

use rand::RngExt;

use super::agents::Agents;
use super::{Arena, Armed, Auto, Technique};
use crate::kernel::sys;

pub(super) const TECHNIQUE: Technique = Technique {
    name: "membarrier",
    help: "bursts of interrupts to the reader's CPU by membarrier()",
    needs: "Linux 4.14 or later, and a CPU without a reader",
    side: super::Side::Kernel,
    auto: Auto::Named,
    arm,
};

/// Most barriers in a burst.
const LONGEST_BURST: u32 = 16;

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    sys::register_membarrier()?;
    let cpu = arena.cpu_without_reader()?;
    let agents = Agents::start("membarrier", &[cpu], arena.seed, |mut agent| {
        Ok(Box::new(move || {
            for _ in 0..agent.rng.random_range(1..=LONGEST_BURST) {
                let _registered_above = sys::membarrier();
            }
            agent.pause();
        }))
    })?;
    Ok(Box::new(agents))
}
