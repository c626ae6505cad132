//! From what a trial came to, and what was counted, to its record: the same
//! for guests and for bare machines.

use super::conclusion::Conclusion;
use crate::model::{AimRecord, Crash, CrashClass, CrashKind, Outcome, Settings, Severity, Trial};
use crate::race::{READ_POLICIES, races};
use crate::recorder::{Snapshot, Stage};
use crate::vm::protocol::Racing;

/// A trial's record.
pub(crate) fn trial(index: u32, seed: u64, conclusion: Conclusion, counts: &Snapshot) -> Trial {
    // Cycles of warming up are none of the race.
    let crashed = conclusion.outcome == Outcome::Crashed && !conclusion.phase.is_before_race();
    let aim = aim(conclusion.crash.as_ref(), &counts.aims);
    Trial {
        exposure_s: conclusion.exposure_s,
        prepared_s: counts.prepared_s(),
        cycles: counts.cycles,
        reads: counts.reads,
        time_to_crash_s: conclusion.time_to_crash_s,
        cycles_to_crash: crashed.then_some(counts.cycles + 1),
        phase: conclusion.phase,
        crash: conclusion.crash,
        warnings: conclusion.warnings,
        counters: counts.counters.clone(),
        aim,
        chaos: conclusion.chaos,
        signals: conclusion.signals,
        notes: conclusion.notes,
        ..Trial::new(index, seed, conclusion.outcome, conclusion.reason)
    }
}

/// Brings into a trial's record what only its race's row knows: which crash is
/// the race's own, and whether a hang is.
pub(crate) fn of_race(
    settings: &Settings,
    mut trial: Trial,
    counts: &Snapshot,
    leaks: &[String],
) -> Trial {
    if settings.driver.is_some() {
        warned(&mut trial);
    }
    leaked(&mut trial, leaks);
    if let Some(row) = races::named(&settings.race).filter(|_| settings.driver.is_none()) {
        if let Some(crash) = &mut trial.crash {
            crash.class = row.class_of(crash);
        }
        if let (Outcome::Hung, Some(call)) = (trial.outcome, row.hang)
            && counts.stages.contains(&call)
        {
            hung(&mut trial, call, counts);
        }
    } else if let Some(crash) = &mut trial.crash {
        // Whatever a driver does to the kernel is what its author looks for.
        crash.class = CrashClass::Target;
    }
    trial.reason = reason(settings, trial.outcome, trial.reason);
    trial
}

/// A kernel that a driver leaves something behind in has not survived it.
fn leaked(trial: &mut Trial, leaks: &[String]) {
    let (Outcome::Survived, Some(first)) = (trial.outcome, leaks.first()) else {
        return;
    };
    let title = format!("leak: {first}");
    trial.outcome = Outcome::Crashed;
    trial.time_to_crash_s = Some(trial.exposure_s);
    trial.cycles_to_crash = Some(trial.cycles);
    trial
        .notes
        .extend(leaks.iter().map(|leak| format!("leak: {leak}")));
    trial.reason.clone_from(&title);
    trial.crash = Some(Crash {
        signature: "leak".to_owned(),
        kind: CrashKind::MemoryLeak,
        severity: Severity::Error,
        class: CrashClass::Target,
        title,
        ends_trial: true,
        ..Crash::default()
    });
}

/// A warning is what a driver's author looks for, whether or not the kernel lives
/// on after it.
fn warned(trial: &mut Trial) {
    let (Outcome::Survived, Some(first)) = (trial.outcome, trial.warnings.first()) else {
        return;
    };
    let title = first.title.clone();
    let crash = Crash {
        signature: "warning".to_owned(),
        kind: CrashKind::Warning,
        severity: Severity::Warning,
        class: CrashClass::Target,
        title: title.clone(),
        excerpt: vec![first.first_line.clone()],
        ends_trial: true,
        ..Crash::default()
    };
    trial.outcome = Outcome::Crashed;
    trial.time_to_crash_s = Some(trial.exposure_s);
    trial.cycles_to_crash = Some(trial.cycles);
    trial.crash = Some(crash);
    trial.reason = title;
}

/// A hang that is the race's own: nothing is printed, so the record is made of
/// what the flight recorder shows. It happened after the last cycle; where there
/// was none, in the time that was raced: its end is the safe bound.
fn hung(trial: &mut Trial, call: Stage, counts: &Snapshot) {
    let cycled_ns = counts.last_cycle_ns.saturating_sub(counts.race_start_ns);
    let raced_s = match cycled_ns {
        0 => trial.exposure_s,
        _ => cycled_ns as f64 / 1e9,
    };
    trial.outcome = Outcome::Crashed;
    trial.time_to_crash_s = Some(raced_s);
    trial.exposure_s = raced_s;
    trial.cycles_to_crash = Some(counts.cycles + 1);
    trial.notes.push(trial.reason.clone());
    trial.crash = Some(Crash {
        signature: "no_progress".to_owned(),
        kind: CrashKind::HungTask,
        severity: Severity::Fatal,
        class: CrashClass::Target,
        title: format!("hang: {} never came back", call.as_str()),
        ends_trial: true,
        ..Crash::default()
    });
    trial.reason = format!("hang: {} never came back", call.as_str());
}

/// What was at work and is worth knowing.
pub(crate) fn notes(racing: &Racing) -> Vec<String> {
    let skipped = racing.skipped.iter();
    let mut notes: Vec<String> = skipped
        .map(|name| format!("chaos technique skipped: {name}"))
        .collect();
    if !racing.files.is_empty() {
        notes.push(format!("readers open {}", racing.files.join(", ")));
    }
    notes
}

/// The reason, with the target named if it is not the default: nobody may take
/// a survivor for one of `m_show()`. A crash names its function itself.
fn reason(settings: &Settings, outcome: Outcome, reason: String) -> String {
    match outcome {
        Outcome::Crashed => reason,
        _ => settings.about(reason),
    }
}

/// The record of a trial that gave no conclusion.
pub(crate) fn broken(index: u32, seed: u64, reason: String) -> Trial {
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
    fn a_hang_in_the_first_cycle_took_the_time_that_was_raced() {
        let hang = |last_cycle_ns| {
            let mut trial = Trial {
                exposure_s: 3.0,
                ..Trial::new(1, 1, Outcome::Hung, String::new())
            };
            let counts = Snapshot {
                race_start_ns: 1_000_000_000,
                last_cycle_ns,
                ..crate::recorder::Recorder::new().snapshot()
            };
            hung(&mut trial, Stage::Loading, &counts);
            (trial.time_to_crash_s, trial.exposure_s)
        };
        assert_eq!(hang(0), (Some(3.0), 3.0));
        assert_eq!(hang(1_500_000_000), (Some(0.5), 0.5));
    }

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
