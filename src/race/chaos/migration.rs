//! Reschedule interrupts: a thread that changes its own affinity hops to the
//! reader's CPU and away again. Each hop wakes the stopper thread there, which
//! outranks every other thread. Kernel: `__set_cpus_allowed_ptr()`,
//! `migration_cpu_stop()`.

use std::io;

use super::agents::Agents;
use super::{Arena, Armed, Auto, Technique};
use crate::kernel::affinity;

pub(super) const TECHNIQUE: Technique = Technique {
    name: "migration",
    help: "a thread hops to the reader's CPU and away again by changes of affinity",
    needs: "a CPU without a reader",
    side: super::Side::Kernel,
    auto: Auto::Named,
    arm,
};

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    let elsewhere = arena.cpu_without_reader()?;
    let readers = arena.reader_cpus.clone();
    let agents = Agents::start("migration", &readers, arena.seed, move |mut agent| {
        Ok(Box::new(move || {
            for cpu in [elsewhere, agent.cpu] {
                let _stays_where_it_is = affinity::pin_to(cpu);
            }
            let _stays_where_it_is = affinity::pin_to(elsewhere);
            agent.pause();
        }))
    })?;
    Ok(Box::new(agents))
}
