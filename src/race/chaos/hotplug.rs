//! CPU hotplug: a CPU without a worker goes offline and comes back, again and
//! again. Each time the kernel stops all CPUs at once (`stop_machine()`, called
//! by `takedown_cpu()`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::agents::Agents;
use super::{Arena, Armed, Auto, Technique};
use crate::kernel::knob::KnobGuard;
use crate::model::Knob;

pub(super) const TECHNIQUE: Technique = Technique {
    name: "hotplug",
    help: "a CPU without a worker goes offline and comes back",
    needs: "CONFIG_HOTPLUG_CPU, root, and a CPU without a worker",
    side: super::Side::Kernel,
    auto: Auto::Named,
    arm,
};

/// A CPU that comes and goes, and is put back at the end.
struct Hotplug {
    agents: Option<Agents>,
    online: Option<KnobGuard>,
}

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    let switch = arena
        .idle_cpus
        .iter()
        .map(|cpu| PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/online")))
        .find(|switch| switch.exists())
        .ok_or_else(|| io::Error::other("no CPU without a worker can go offline"))?;
    let online = KnobGuard::set(Path::new(&switch), "0")?;
    // Not from the CPU that goes.
    let cpu = arena.reader_cpus.first().copied().unwrap_or(0);
    let agents = Agents::start("hotplug", &[cpu], arena.seed, move |mut agent| {
        let switch = switch.clone();
        Ok(Box::new(move || {
            for state in ["1", "0"] {
                let _the_kernel_may_refuse = fs::write(&switch, state);
                agent.pause();
            }
        }))
    })?;
    Ok(Box::new(Hotplug {
        agents: Some(agents),
        online: Some(online),
    }))
}

impl Armed for Hotplug {
    fn knobs(&self) -> Vec<Knob> {
        self.online.iter().map(KnobGuard::record).collect()
    }

    fn disarm(mut self: Box<Self>) -> Vec<Knob> {
        // First who switches, then the switch.
        drop(self.agents.take());
        self.online
            .take()
            .map(KnobGuard::restore)
            .into_iter()
            .collect()
    }
}

impl Drop for Hotplug {
    fn drop(&mut self) {
        drop(self.agents.take());
    }
}
