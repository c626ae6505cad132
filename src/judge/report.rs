//! A report of a crash, held against everything else that was seen.

use super::evidence::{Evidence, Report};
use super::{OutcomeAndReason, TAINT_HURT, broken, emulator};
use crate::model::{Crash, CrashKind, Outcome, Severity, TrialPhase};

pub(super) fn judge(
    report: &Report,
    evidence: &Evidence,
    notes: &mut Vec<String>,
) -> OutcomeAndReason {
    let crash = &report.crash;
    let in_boot = report.phase == TrialPhase::Boot;
    if let Some(verdict) = not_the_kernels(crash, report.phase) {
        return verdict;
    }
    if let Some(why) = emulator::fault(crash, evidence.accel) {
        // In boot it is tried again; a kernel that dies so each time is to blame.
        if !in_boot {
            return broken(why);
        }
        notes.push(why);
    }
    let confirmed = !evidence.deaths.is_empty() || evidence.new_taint() & TAINT_HURT != 0;
    if confirmed {
        return (Outcome::Crashed, crash.title.clone());
    }
    if let Some(why) = contradiction(crash, evidence) {
        return broken(format!(
            "the {} shows `{}`, and nothing else agrees: {why}",
            evidence.source, crash.title
        ));
    }
    let trouble = evidence.trouble.as_deref().unwrap_or("no other signal");
    if crash.corrupted {
        return broken(format!(
            "the {} shows the beginning of `{}`, and nothing could confirm it: {trouble}",
            evidence.source, crash.title
        ));
    }
    notes.push(format!(
        "nothing but its report could be had of the crash: {trouble}"
    ));
    (Outcome::Crashed, crash.title.clone())
}

/// Ends of a kernel that its user space or its command line caused.
fn not_the_kernels(crash: &Crash, phase: TrialPhase) -> Option<OutcomeAndReason> {
    let title = &crash.title;
    if title.contains("Attempted to kill init") {
        let when = if phase.is_before_race() {
            "before the race: "
        } else {
            ""
        };
        return Some(broken(format!("{when}the guest's own init died: {title}")));
    }
    if phase != TrialPhase::Boot {
        return None;
    }
    let no_init = [
        "Unable to mount root fs",
        "No working init found",
        "No init found",
    ];
    if no_init.iter().any(|words| title.contains(words)) {
        return Some((
            Outcome::Unsupported,
            format!(
                "before the race (boot): this kernel did not start the init that it was given \
                 ({title}): it needs CONFIG_BLK_DEV_INITRD, and memory for the initramfs"
            ),
        ));
    }
    (crash.kind == CrashKind::OutOfMemory).then(|| {
        broken(format!(
            "the guest ran out of memory in boot ({title}): give it more with --mem-mib"
        ))
    })
}

/// What says that the kernel did not crash, though its log does.
fn contradiction(crash: &Crash, evidence: &Evidence) -> Option<&'static str> {
    if evidence.went_on && crash.severity == Severity::Fatal {
        return Some("the guest's heartbeat went on");
    }
    let taint = evidence.taint?;
    // A bit that was set before the trial cannot be set again.
    let clean = (taint.before | taint.after) & TAINT_HURT == 0;
    (leaves_taint(crash) && clean).then_some("the kernel's taint word does not confirm it")
}

/// Whether the kernel taints itself with such a report. Not all do: lockdep,
/// KCSAN, UBSAN, kmemleak and the stall detectors only print
/// (`add_taint()` and its callers).
fn leaves_taint(crash: &Crash) -> bool {
    let silent = matches!(
        crash.kind,
        CrashKind::Kcsan
            | CrashKind::Ubsan
            | CrashKind::MemoryLeak
            | CrashKind::Locking
            | CrashKind::Rcu
            | CrashKind::ModuleLoader
            | CrashKind::Reboot
            | CrashKind::Stall
            | CrashKind::HungTask
            | CrashKind::Lockup
    );
    crash.severity == Severity::Fatal || !silent
}
