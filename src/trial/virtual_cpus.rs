//! Which host CPUs a guest's virtual CPUs run on, as far as that is ours to say.

use crate::kernel::affinity;
use crate::model::Settings;
use crate::race::{Placement, Role};

/// Puts the virtual CPUs of the first loader and the first reader on host CPUs
/// of their own. A loaded host likes to put the two on one, where they never run
/// at the same time. The others stay where the host wants them. Trials in a row
/// take pairs of host CPUs in turn, since they may be under way at once.
pub(super) fn keep_apart(settings: &Settings, trial: u32, threads: &[i32]) {
    let Ok(cpus) = affinity::allowed_cpus() else {
        return;
    };
    if let (Some([loader, reader]), Some([cpu, other])) = (apart(settings), pair(&cpus, trial)) {
        for (virtual_cpu, cpu) in [(loader, cpu), (reader, other)] {
            if let Some(thread) = threads.get(virtual_cpu) {
                let _a_wish_only = affinity::pin_thread(*thread, cpu);
            }
        }
    }
}

/// Two host CPUs for a trial.
fn pair(cpus: &[usize], trial: u32) -> Option<[usize; 2]> {
    let pairs = cpus.chunks_exact(2);
    let turn = trial as usize % pairs.len().max(1);
    let &[cpu, other] = cpus.chunks_exact(2).nth(turn)? else {
        return None;
    };
    Some([cpu, other])
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
        let cpus = [2, 3, 5, 7, 8];
        let pairs: Vec<_> = (0..3).map(|trial| super::pair(&cpus, trial)).collect();
        assert_eq!(pairs, [Some([2, 3]), Some([5, 7]), Some([2, 3])]);
        assert_eq!(super::pair(&[4], 0), None);
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
