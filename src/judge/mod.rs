//! The judge: evidence of one trial → one outcome and its reason. Pure, and the
//! only one: a VM, a bare machine and a recovery bring the same value here.
//!
//! - A kernel that dies, hangs or complains fails, whatever the trial was doing.
//!   Broken is what the host or modrace did.
//! - A crash needs a report and a second sign that agrees: the machine's reset,
//!   a stopped heartbeat, the kernel's own taint. A report that something
//!   contradicts is no crash; one that nobody could confirm any more, because
//!   the machine was taken away, counts if it is whole.
//! - A machine that nobody watched, and that booted again in mid-race without a
//!   word of why, died: its kernel may have crashed, and nothing says so.
//! - Survival needs the result of who raced, counts that agree, an untainted
//!   kernel and a log without a crash.

pub(crate) mod conclusion;
mod emulator;
pub(crate) mod evidence;
mod finished;
pub(crate) mod kernel_log;
pub(crate) mod race_clock;
pub(crate) mod record;
mod report;
pub(crate) mod stall_detector;

pub use conclusion::Conclusion;

use self::evidence::{DeathSign, Evidence, Report};
use self::kernel_log::is_complaint;
use crate::kernel::preflight::TAINT_DIE;
use crate::model::{Crash, CrashKind, Outcome, Severity, TrialPhase, Warning};
use crate::vm::protocol::Ending;

/// Bits of the taint word that a crash leaves: B (5: KASAN, bad pages) and D (7),
/// by Documentation/admin-guide/tainted-kernels.rst.
const TAINT_CRASHED: u64 = 1 << 5 | TAINT_DIE;
/// Bits that a lesser report leaves: W (9) and L (14: a soft lockup).
const TAINT_WARNED: u64 = 1 << 9 | 1 << 14;
/// Bits that any report leaves.
const TAINT_HURT: u64 = TAINT_CRASHED | TAINT_WARNED;

/// What the evidence comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) outcome: Outcome,
    /// Why, in a sentence.
    pub(crate) reason: String,
    /// Where the trial was.
    pub(crate) phase: TrialPhase,
    /// The crash that decided, or that was the only thing seen of a machine
    /// that was taken away.
    pub(crate) crash: Option<Crash>,
    /// Reports that the kernel lived on after.
    pub(crate) warnings: Vec<Warning>,
    /// What the outcome rests on, one line each.
    pub(crate) signals: Vec<String>,
    /// Things worth knowing that change no outcome.
    pub(crate) notes: Vec<String>,
}

/// An outcome with its reason.
type OutcomeAndReason = (Outcome, String);

fn broken(reason: impl Into<String>) -> OutcomeAndReason {
    (Outcome::Broken, reason.into())
}

/// The outcome of a trial.
pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    let deciding = evidence.reports.iter().position(decides);
    let found = deciding.map(|index| &evidence.reports[index]);
    let complaint = (evidence.reports.iter())
        .find(|report| is_complaint(report.crash.kind, report.crash.severity));
    let mut notes = Vec::new();
    let (outcome, reason, crash) = match found {
        Some(report) => {
            let (outcome, reason) = report::judge(report, evidence, &mut notes);
            (outcome, reason, Some(report.crash.clone()))
        }
        None => without_report(evidence, complaint),
    };
    let phase = match outcome {
        Outcome::Crashed => found.map_or(evidence.phase, |report| {
            // Behind the race's end, and before it, the log does not tell.
            match report.phase {
                TrialPhase::Race => evidence.phase.max(TrialPhase::Race),
                earlier => earlier,
            }
        }),
        Outcome::Hung | Outcome::Died => evidence.phase,
        _ => TrialPhase::Race,
    };
    let reason = match outcome {
        Outcome::Crashed | Outcome::Hung if phase.is_before_race() => {
            format!("before the race ({}): {reason}", phase.as_str())
        }
        _ => reason,
    };
    let (mut warnings, others) = lesser(evidence, deciding, crash.as_ref());
    warnings.extend(unreported_warning(evidence));
    notes.extend(others);
    if evidence.lost_records > 0 {
        notes.push(format!(
            "{} kernel messages were overwritten before they could be read",
            evidence.lost_records
        ));
    }
    Judgement {
        outcome,
        reason,
        phase,
        signals: signals(evidence, crash.as_ref().filter(|_| found.is_some())),
        crash,
        warnings,
        notes,
    }
}

/// Whether a report decides a trial by itself.
fn decides(report: &Report) -> bool {
    let crash = &report.crash;
    crash.ends_trial && !is_complaint(crash.kind, crash.severity)
}

/// No report in the log says that the kernel crashed.
fn without_report(
    evidence: &Evidence,
    complaint: Option<&Report>,
) -> (Outcome, String, Option<Crash>) {
    if let Some(silent) = silent_death(evidence) {
        return silent;
    }
    let hung = evidence.deaths.iter().find_map(|sign| match sign {
        DeathSign::Stalled(why) => Some(why.clone()),
        // The machine booted again behind a complaint.
        DeathSign::JournalStops => complaint.map(|_| "then the machine rebooted".to_owned()),
        _ => None,
    });
    if evidence.interrupted {
        let (outcome, reason) = broken(format!(
            "interrupted after {:.1} s of race; no crash until then",
            evidence.last.raced_s()
        ));
        return (outcome, reason, None);
    }
    // A set-up that failed because tasks were blocked did not fail by itself.
    let result = (evidence.finished.as_ref())
        .filter(|result| hung.is_none() || result.ending != Ending::Broken);
    if let Some(result) = result {
        let (outcome, reason) = finished::judge(result, evidence);
        return (outcome, reason, None);
    }
    if let Some(why) = hung {
        let crash = complaint.map(|report| report.crash.clone());
        let reason = match &crash {
            Some(crash) => format!("{}; {why}", crash.title),
            None => why,
        };
        return (Outcome::Hung, reason, crash);
    }
    let died = evidence.deaths.contains(&DeathSign::JournalStops);
    let (outcome, reason) = match &evidence.trouble {
        Some(why) if died && !evidence.phase.is_before_race() => (Outcome::Died, why.clone()),
        // The kernel said itself that it does not get on.
        Some(why) if complaint.is_some() && evidence.phase.is_before_race() => {
            let title = complaint.map_or("", |report| &report.crash.title);
            (Outcome::Hung, format!("{title}; {why}"))
        }
        Some(why) => broken(why.clone()),
        None if evidence.powered_off => broken("the guest powered off without a result"),
        None => broken("who raced gave no result"),
    };
    (outcome, reason, None)
}

/// A kernel that died without a report that reached us.
fn silent_death(evidence: &Evidence) -> Option<(Outcome, String, Option<Crash>)> {
    let has = |sign: &DeathSign| evidence.deaths.contains(sign);
    let panicked = has(&DeathSign::Pvpanic) || has(&DeathSign::GuestPanic);
    let reset = has(&DeathSign::Reset);
    let new_taint = evidence.new_taint();
    let log = &evidence.source;
    if let Some(result) = evidence.finished.as_ref().filter(|_| panicked || reset) {
        let what = if panicked {
            format!("pvpanic reports a panic, but the {log} shows none")
        } else {
            "the guest reset instead of powering off".to_owned()
        };
        let said = finished::said(result);
        return Some((
            Outcome::Broken,
            format!("{what}, and the guest says: {said}"),
            None,
        ));
    }
    let (title, kind) = if panicked {
        ("panic without a report", CrashKind::Panic)
    } else if reset {
        ("reset without a report", CrashKind::Reboot)
    } else if new_taint & TAINT_CRASHED != 0 {
        ("taint without a report", CrashKind::Oops)
    } else {
        return None;
    };
    let reason = match kind {
        CrashKind::Panic => format!("pvpanic reports a panic, but the {log} shows none"),
        CrashKind::Reboot => format!("the guest reset without a report on the {log}"),
        _ => format!(
            "the kernel is newly tainted ({:#x}: {}), but the {log} shows no report",
            new_taint & TAINT_CRASHED,
            if new_taint & TAINT_DIE != 0 {
                "it died, D"
            } else {
                "B"
            }
        ),
    };
    let crash = Crash {
        signature: "none".to_owned(),
        kind,
        title: title.to_owned(),
        ends_trial: true,
        ..Crash::default()
    };
    Some((Outcome::Crashed, reason, Some(crash)))
}

/// The reports that did not decide: what the kernel complained of in the trial,
/// and what stands beside it.
fn lesser(
    evidence: &Evidence,
    deciding: Option<usize>,
    crash: Option<&Crash>,
) -> (Vec<Warning>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut notes = Vec::new();
    for (index, report) in evidence.reports.iter().enumerate() {
        if deciding == Some(index) || crash == Some(&report.crash) {
            continue;
        }
        let behind = deciding.is_some_and(|deciding| index > deciding);
        let title = &report.crash.title;
        if report.phase == TrialPhase::Boot {
            notes.push(format!("in boot, the {} shows: {title}", evidence.source));
        } else if behind || report.crash.severity == Severity::Fatal {
            notes.push(format!("the {} also shows: {title}", evidence.source));
        } else {
            warnings.push(Warning {
                title: title.clone(),
                count: report.count,
                first_line: report.crash.matched_line().to_owned(),
            });
        }
    }
    (warnings, notes)
}

/// A warning that only the taint word tells of.
fn unreported_warning(evidence: &Evidence) -> Option<Warning> {
    let new = evidence.new_taint() & TAINT_WARNED;
    let reported = evidence
        .reports
        .iter()
        .any(|report| report.phase > TrialPhase::Boot);
    (new != 0 && !reported).then(|| Warning {
        title: "warning without a report".to_owned(),
        count: 1,
        first_line: format!("the kernel is newly tainted ({new:#x})"),
    })
}

/// Everything that the outcome rests on, one line each.
fn signals(evidence: &Evidence, crash: Option<&Crash>) -> Vec<String> {
    let mut signals = Vec::new();
    if let Some(crash) = crash {
        signals.push(format!("{}: {}", evidence.source, crash.title));
    }
    signals.extend(evidence.deaths.iter().map(ToString::to_string));
    if evidence.powered_off {
        signals.push("QMP: the guest powered off".to_owned());
    }
    if let Some(result) = &evidence.finished {
        signals.push(format!("result: {}", finished::said(result)));
    }
    let new = evidence.new_taint();
    if new & TAINT_DIE != 0 {
        signals.push("kernel: tainted by a death (D)".to_owned());
    } else if new & TAINT_HURT != 0 {
        signals.push(format!("kernel: newly tainted ({:#x})", new & TAINT_HURT));
    }
    signals
}
