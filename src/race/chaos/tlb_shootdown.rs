//! TLB shootdowns: taking rights to a page away, or the page itself, interrupts
//! every CPU that runs a thread of this process, the reader's too.
//! Kernel: `flush_tlb_mm_range()` (x86).

use std::io;

use memmap2::MmapMut;
use rand::RngExt;

use super::agents::Agents;
use super::{Arena, Armed, Auto, Technique};

pub(super) const TECHNIQUE: Technique = Technique {
    name: "tlb-shootdown",
    help: "interrupts to the reader's CPU by mprotect() and munmap()",
    needs: "a CPU without a reader",
    side: super::Side::Kernel,
    auto: Auto::Named,
    arm,
};

/// Bytes of the mapping.
const LENGTH: usize = 16 * 4096;
/// Most changes of rights before it goes.
const LONGEST_BURST: u32 = 8;

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    let cpu = arena.cpu_without_reader()?;
    let agents = Agents::start("tlb-shootdown", &[cpu], arena.seed, |mut agent| {
        Ok(Box::new(move || {
            let burst = agent.rng.random_range(1..=LONGEST_BURST);
            // Out of memory: the next round may have more luck.
            let _next_round = shoot_down(burst);
            agent.pause();
        }))
    })?;
    Ok(Box::new(agents))
}

fn shoot_down(burst: u32) -> io::Result<()> {
    let mut map = MmapMut::map_anon(LENGTH)?;
    for _ in 0..burst {
        // Only pages that were touched are in a TLB.
        map.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        map = map.make_read_only()?.make_mut()?;
    }
    Ok(())
}
