//! Jitter from outside: the host moves the reader's virtual CPU to the host CPU
//! of the loader's and back, so that it is paused in the middle of whatever it
//! does while the loader's goes on.

use std::io;
use std::time::Duration;

use rand::RngExt;

use super::agents::Agents;
use super::{Arena, Armed, Auto, Side, Technique};
use crate::kernel::affinity;

pub(super) const TECHNIQUE: Technique = Technique {
    name: "vcpu-jitter",
    help: "the host makes the reader's virtual CPU wait for the loader's",
    needs: "a VM with two virtual CPUs, and two host CPUs",
    side: Side::Host,
    auto: Auto::Named,
    arm,
};

/// Longest time on the loader's host CPU, and away from it, ns.
const LONGEST_STAY_NS: u64 = 3_000_000;

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    let missing = || io::Error::other("it needs two virtual CPUs and two host CPUs");
    let [loader, reader] = arena.vcpus[..] else {
        return Err(missing());
    };
    let [first, second, ..] = affinity::allowed_cpus()?[..] else {
        return Err(missing());
    };
    affinity::pin_thread(loader, first)?;
    let agents = Agents::start("vcpu-jitter", &[second], arena.seed, move |mut agent| {
        Ok(Box::new(move || {
            for cpu in [first, second] {
                let _gone_with_its_machine = affinity::pin_thread(reader, cpu);
                let stay_ns = agent.rng.random_range(0..LONGEST_STAY_NS);
                std::thread::sleep(Duration::from_nanos(stay_ns));
            }
        }))
    })?;
    Ok(Box::new(agents))
}
