//! Which host CPUs a guest's virtual CPUs run on, as far as that is ours to say.
//! The virtual CPUs of the first loader and the first reader get host CPUs of
//! their own: a loaded host likes to put the two on one, where they never run at
//! the same time. The others stay where the host wants them. Trials under way at
//! once get different pairs as long as there are some, whatever they race.

use std::sync::{Mutex, PoisonError};

use crate::kernel::affinity;
use crate::model::Settings;
use crate::race::{Placement, Role};

/// Of each pair of host CPUs, how many machines of this process have it.
static TAKEN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Two host CPUs that a machine has until it is dropped.
#[derive(Debug)]
pub(super) struct HostCpuPair {
    cpus: [usize; 2],
    index: usize,
}

impl HostCpuPair {
    /// Takes the pair that the fewest have; none where nothing is to be kept
    /// apart, or there is nowhere to do so.
    pub(super) fn take(settings: &Settings) -> Option<Self> {
        apart(settings)?;
        let cpus = affinity::allowed_cpus().ok()?;
        let pairs: Vec<&[usize]> = cpus.chunks_exact(2).collect();
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() < pairs.len() {
            taken.resize(pairs.len(), 0);
        }
        let index = least(&taken[..pairs.len()])?;
        let &[cpu, other] = pairs[index] else {
            return None;
        };
        taken[index] += 1;
        Some(Self {
            cpus: [cpu, other],
            index,
        })
    }

    /// Puts the virtual CPUs, whose threads these are, on the pair.
    pub(super) fn seat(&self, settings: &Settings, threads: &[i32]) {
        let Some(virtual_cpus) = apart(settings) else {
            return;
        };
        for (virtual_cpu, cpu) in virtual_cpus.into_iter().zip(self.cpus) {
            if let Some(thread) = threads.get(virtual_cpu) {
                // One that stays where the host wants it races, too.
                let _ = affinity::pin_thread(*thread, cpu);
            }
        }
    }
}

impl Drop for HostCpuPair {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken[self.index] -= 1;
    }
}

/// Where the fewest are, the first of them.
fn least(taken: &[u32]) -> Option<usize> {
    (0..taken.len()).min_by_key(|&index| taken[index])
}
/// The virtual CPUs of the first loader and the first reader, if they sit
/// apart. The processes of `as-reported` sit nowhere.
fn apart(settings: &Settings) -> Option<[usize; 2]> {
    let all: Vec<usize> = (0..settings.smp as usize).collect();
    let cpus = if settings.cpus.is_empty() {
        &all
    } else {
        &settings.cpus
    };
    let placement = Placement::new(settings.strategy, settings.loaders, settings.readers, cpus);
    let loader = placement.first_cpu(Role::Loader)?;
    let reader = placement.first_cpu(Role::Reader)?;
    (loader != reader).then_some([loader, reader])
}

#[cfg(test)]
mod tests {
    #[test]
    fn trials_under_way_at_once_take_different_host_cpus() {
        let mut taken = [0, 0, 0];
        let turns: Vec<_> = (0..4)
            .map(|_| {
                let index = super::least(&taken).unwrap();
                taken[index] += 1;
                index
            })
            .collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        // One that ended leaves its pair to the next.
        taken[1] -= 1;
        assert_eq!(super::least(&taken), Some(1));
        assert_eq!(super::least(&[]), None);
    }

    #[test]
    fn the_virtual_cpus_kept_apart_are_those_that_workers_sit_on() {
        let apart = |changed: serde_json::Value| {
            let mut settings = serde_json::json!({
                "trials": 1, "duration_s": 1.0, "jobs": 1, "smp": 4, "mem_mib": 256,
                "accel": "tcg", "loaders": 1, "readers": 1, "strategy": "auto",
                "chaos": "auto", "background_modules": 0, "append": ""
            });
            let fields = settings.as_object_mut().unwrap();
            fields.extend(changed.as_object().unwrap().clone());
            super::apart(&serde_json::from_value(settings).unwrap())
        };
        assert_eq!(apart(serde_json::json!({})), Some([0, 3]));
        assert_eq!(apart(serde_json::json!({"cpus": [1, 2]})), Some([1, 2]));
        assert_eq!(apart(serde_json::json!({"cpus": [2]})), None);
        let loops = serde_json::json!({"strategy": "as-reported"});
        assert_eq!(apart(loops), None);
    }
}
