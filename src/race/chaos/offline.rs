//! CPUs without a worker go offline for the race. A load and an unload
//! interrupt every CPU and wait for each of them, many times
//! (`on_each_cpu()` in `flush_tlb_kernel_range()`, `synchronize_rcu_expedited()`):
//! fewer CPUs, shorter cycles. In a guest the idle ones have to be woken by the
//! host each time.

use std::io;
use std::path::PathBuf;

use super::{ChaosContext, Technique, TechniqueGuard};
use crate::kernel::affinity;
use crate::kernel::tunable::TunableGuard;
use crate::model::Tunable;

pub(super) const TECHNIQUE: Technique = Technique {
    name: "offline",
    help: "take CPUs without a worker offline, so that a cycle takes less time",
    needs: "root, CONFIG_HOTPLUG_CPU, and a CPU without a worker",
    guests_only: true,
    changes: switches,
    arm,
};

/// The CPUs taken offline, in that order. Dropping it brings them back.
struct Offline(Vec<TunableGuard>);

fn arm(context: &ChaosContext) -> io::Result<Option<Box<dyn TechniqueGuard>>> {
    if context.idle_cpus.is_empty() {
        return Ok(None);
    }
    let mut offline = Offline(Vec::new());
    for cpu in &context.idle_cpus {
        let switch = switch(*cpu);
        if switch.exists() {
            offline.0.push(TunableGuard::set(&switch, "0")?);
        }
    }
    if offline.0.is_empty() {
        return Err(io::Error::other("no CPU without a worker can go offline"));
    }
    Ok(Some(Box::new(offline)))
}

/// Where a CPU is switched off. The boot CPU has no switch on most machines.
fn switch(cpu: usize) -> PathBuf {
    PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/online"))
}

/// All such switches, but for CPUs that are off already.
fn switches() -> Vec<PathBuf> {
    let cpus = affinity::allowed_cpus().unwrap_or_default();
    cpus.into_iter().map(switch).collect()
}

impl TechniqueGuard for Offline {
    fn tunables(&self) -> Vec<Tunable> {
        self.0.iter().map(TunableGuard::record).collect()
    }

    fn disarm(self: Box<Self>) -> Vec<Tunable> {
        self.0.into_iter().map(TunableGuard::restore).collect()
    }
}
