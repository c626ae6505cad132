//! From what a trial came to, and what was counted, to its record: the same
//! for guests and for bare machines.

use super::watch::Conclusion;
use crate::model::{AimRecord, Crash, Outcome, Settings, Trial};
use crate::race::READ_POLICIES;
use crate::recorder::Snapshot;

/// A trial's record.
pub(super) fn trial(index: u32, seed: u64, conclusion: Conclusion, counts: &Snapshot) -> Trial {
    let crashed = conclusion.outcome == Outcome::Crashed;
    let aim = aim(conclusion.crash.as_ref(), &counts.aims);
    Trial {
        exposure_s: conclusion.exposure_s,
        cycles: counts.cycles,
        reads: counts.reads,
        time_to_crash_s: conclusion.time_to_crash_s,
        cycles_to_crash: crashed.then_some(counts.cycles + 1),
        crash: conclusion.crash,
        counters: counts.counters.clone(),
        aim,
        chaos: conclusion.chaos,
        signals: conclusion.signals,
        notes: conclusion.notes,
        ..Trial::new(index, seed, conclusion.outcome, conclusion.reason)
    }
}

/// The reason, with the target named if it is not the default: nobody may take
/// a survivor for one of `m_show()`. A crash names its function itself.
pub(super) fn reason(settings: &Settings, outcome: Outcome, reason: String) -> String {
    match outcome {
        Outcome::Crashed => reason,
        _ => settings.about(reason),
    }
}

/// The record of a trial that gave no conclusion.
pub(super) fn broken(index: u32, seed: u64, reason: String) -> Trial {
    Trial::new(index, seed, Outcome::Broken, reason)
}

/// The words of the page, in words: those of the reader that died, if the crash
/// names one; else of the first.
fn aim(crash: Option<&Crash>, aims: &[(usize, [u64; 3])]) -> Option<AimRecord> {
    // Workers are called after their slots.
    let died = crash
        .and_then(|crash| crash.comm.as_deref()?.strip_prefix("reader/"))
        .and_then(|slot| slot.parse::<usize>().ok());
    let (_, [arm, learned_ns, unload_ns]) = *aims
        .iter()
        .find(|(slot, _)| Some(*slot) == died)
        .or(aims.first())?;
    let index = usize::try_from(arm).ok()?.checked_sub(1)?;
    Some(AimRecord {
        arm: READ_POLICIES.get(index)?.name.to_owned(),
        learned_ns: Some(learned_ns).filter(|&ns| ns != 0),
        unload_ns: Some(unload_ns).filter(|&ns| ns != 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aim_is_that_of_the_reader_that_died() {
        let aims = [(1, [1, 0, 5]), (2, [2, 7, 5])];
        let arm = |comm: Option<&str>| {
            let crash = comm.map(|comm| Crash {
                comm: Some(comm.to_owned()),
                ..Crash::default()
            });
            aim(crash.as_ref(), &aims).unwrap().arm
        };
        assert_eq!(arm(Some("reader/2")), READ_POLICIES[1].name);
        assert_eq!(arm(Some("cat")), READ_POLICIES[0].name);
        assert_eq!(arm(None), READ_POLICIES[0].name);
        assert_eq!(aim(None, &[]), None);
    }
}
