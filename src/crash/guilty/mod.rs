//! Names the function that a kernel developer would look at first. Works on
//! the lines of one report; what is skipped stands in `skip`, which frames are
//! looked at in `frames`, stuck CPUs and tasks in `stuck`.

mod frames;
mod stuck;

use std::sync::LazyLock;

use regex::Regex;

use super::signature::FrameSelector;
use super::skip::{self, SYSCALL_PREFIXES};
use super::stack_line::StackLine;
use super::title::plain;
use crate::model::CrashKind;
use frames::Frames;
pub(super) use frames::leaf_caller;
pub(super) use stuck::{section, section_cpu, stuck_cpu};

/// What is known of a report whose guilty function is wanted.
pub(super) struct Evidence<'a> {
    /// What sort of report it is.
    pub(super) kind: CrashKind,
    /// Where the signature says to look.
    pub(super) selector: FrameSelector,
    /// What the signature skips besides what is always skipped.
    pub(super) skip: &'a [&'a str],
    /// The first line from the marker on.
    pub(super) header: &'a str,
    /// The report's lines.
    pub(super) lines: &'a [StackLine],
    /// The CPUs that the report is about.
    pub(super) cpus: &'a [u32],
    /// Whether another report's lines are mixed into it, line by line.
    pub(super) mixed: bool,
    /// Whether a fault came while this one was printed, before its registers.
    pub(super) nested: bool,
}

/// The guilty function, if the report has one.
pub(super) fn function(evidence: &Evidence<'_>) -> Option<String> {
    let names = Names {
        skip: evidence.skip,
    };
    if evidence.mixed {
        // Whose frames they are cannot be told; the first line is its own.
        return names
            .first(header_function(evidence.header))
            .or_else(|| names.first(warned_function(evidence.header)));
    }
    let own: Vec<StackLine> = if evidence.lines.iter().any(|line| line.foreign) {
        evidence
            .lines
            .iter()
            .filter(|line| !line.foreign)
            .cloned()
            .collect()
    } else {
        Vec::new()
    };
    let lines = if own.is_empty() {
        evidence.lines
    } else {
        &own[..]
    };
    let sure = Frames {
        lines,
        unsure: false,
    };
    let unsure = Frames {
        lines,
        unsure: true,
    };
    if evidence.nested
        && let Some(first) = sure.interrupted()
        && let Some(found) = names.first(first.pc_and_behind())
    {
        return Some(found);
    }
    select(evidence, &names, sure)
        .or_else(|| select(evidence, &names, unsure))
        .or_else(|| by_foreign_trace(evidence, &names))
}

fn select(evidence: &Evidence<'_>, names: &Names<'_>, frames: Frames<'_>) -> Option<String> {
    let header = evidence.header;
    match evidence.selector {
        FrameSelector::Nowhere => None,
        FrameSelector::Pc => names.first(frames.pc_name()),
        FrameSelector::PcThenTrace => names.first(frames.pc_then_trace()),
        FrameSelector::Trace => names.first(frames.below_heading()),
        FrameSelector::HeaderThenTrace => names
            .first(header_function(header))
            .or_else(|| names.first(frames.below_heading_or_not())),
        FrameSelector::Warn => names
            .first(frames.pc_and_behind())
            .or_else(|| names.first(frames.below_heading()))
            .or_else(|| names.first(warned_function(header)))
            .or_else(|| names.first(frames.below_heading_or_not())),
        FrameSelector::LockSite(words) => frames
            .from(|line| line.text.contains(words))?
            .lines
            .iter()
            .find_map(|line| line.at.clone()),
        FrameSelector::TwoLockSites => names.first(frames.two_lock_sites()),
        FrameSelector::TraceAfter(words) => names.first(
            frames
                .behind(|line| line.text.contains(words))?
                .until_heading(),
        ),
        FrameSelector::Following => names.first(frames.of(frames.lines.get(1..)?).until_heading()),
        FrameSelector::ReleaseSite => names.first(frames.release_site()),
        FrameSelector::Stuck => stuck::cpu(names, frames, evidence.cpus, false),
        FrameSelector::StuckTrace => stuck::cpu(names, frames, evidence.cpus, true),
        FrameSelector::RcuStall => stuck::rcu(names, frames, evidence.cpus),
        FrameSelector::Workers => stuck::workers(names, frames),
        FrameSelector::Hung => stuck::hung(&names.all(frames.below_heading())),
        FrameSelector::Named => names
            .first(named_function(header))
            .or_else(|| names.first(warned_function(header))),
    }
}

/// `in FUNCTION+0x1/0x2` or `in FUNCTION (file.c:12)` of a first line.
fn header_function(header: &str) -> Option<String> {
    let (_, behind) = header.split_once(" in ")?;
    let behind = behind.strip_prefix('.').unwrap_or(behind);
    let name: String = behind
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let next = &behind[name.len()..];
    let function = next.starts_with(['.', '+']) || next.starts_with(" (");
    (!name.is_empty() && function).then_some(name)
}

/// A warning's function: `at FILE:LINE FUNCTION+0x1/0x2`, `FILE:LINE at
/// FUNCTION+0x1/0x2`, `at FILE:LINE FUNCTION()`, `FUNCTION (file.c:12)`.
static WARNED: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this file")]
    Regex::new(r"(?:^|[ :/])\.?([A-Za-z_][\w.]*)(?:\+0x[0-9a-f]+/0x| \(\S+:\d|\(\))")
        .expect("a pattern that compiles")
});

/// The function that a warning's first line names: all that is left if the
/// rest was lost.
fn warned_function(header: &str) -> Option<String> {
    if let Some(rest) = header.strip_prefix("Badness in ") {
        return rest.split(' ').next().map(str::to_owned);
    }
    let found = WARNED.captures(header)?;
    Some(plain(&found[1]).to_owned())
}

/// `INFO: Freed in FUNCTION+0x1/0x2 age=…`: with an offset or without.
fn named_function(header: &str) -> Option<String> {
    let (_, behind) = header.split_once(" in ")?;
    let name: String = behind
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// Functions that print a report, by kind: what they were called by stands
/// below them in a trace that was taken while they printed.
const REPORTERS: &[(CrashKind, &[&str])] = &[
    (
        CrashKind::Kasan,
        &[
            "kasan_report",
            "print_report",
            "print_address_description",
            "end_report",
            "kasan_end_report",
        ],
    ),
    (CrashKind::Kfence, &["kfence_report_error"]),
    (CrashKind::Ubsan, &["ubsan_epilogue"]),
    (
        CrashKind::Locking,
        &[
            "print_circular_bug",
            "print_usage_bug",
            "print_bad_irq_dependency",
            "print_irq_inversion_bug",
            "print_deadlock_bug",
            "print_unlock_imbalance_bug",
            "print_lock_invalid_wait_context",
        ],
    ),
    (CrashKind::Rcu, &["lockdep_rcu_suspicious"]),
    (
        CrashKind::AtomicSleep,
        &["__might_resched", "__schedule_bug"],
    ),
    (
        CrashKind::Stall,
        &[
            "print_cpu_stall",
            "print_other_cpu_stall",
            "rcu_check_callbacks",
            "rcu_sched_clock_irq",
        ],
    ),
    (
        CrashKind::Lockup,
        &["watchdog_timer_fn", "watchdog_overflow_callback"],
    ),
    (CrashKind::Warning, &["__warn"]),
];

/// The guilty function by a trace that another report, which began while this
/// one was printed, has left: what stands below this report's printer.
fn by_foreign_trace(evidence: &Evidence<'_>, names: &Names<'_>) -> Option<String> {
    if !evidence.lines.iter().any(|line| line.foreign) {
        return None;
    }
    let reporters = REPORTERS
        .iter()
        .find_map(|(kind, functions)| (*kind == evidence.kind).then_some(*functions))?;
    let frames = Frames {
        lines: evidence.lines,
        unsure: false,
    };
    let list = frames.below_heading();
    let last = list
        .iter()
        .rposition(|name| reporters.contains(&name.as_str()))?;
    if matches!(evidence.kind, CrashKind::Stall | CrashKind::Lockup) {
        return stuck::rcu(names, frames, &[]);
    }
    names.first(list[last + 1..].iter().cloned())
}

/// Chooses among names.
pub(super) struct Names<'a> {
    skip: &'a [&'a str],
}

impl Names<'_> {
    fn skipped(&self, name: &str) -> bool {
        skip::always(name) || self.skip.iter().any(|pattern| skip::matches(name, pattern))
    }

    /// Those that may be guilty, in their order.
    fn all(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        names
            .into_iter()
            .filter(|name| !self.skipped(name))
            .map(|name| short(&name))
            .collect()
    }

    /// The first that may be guilty.
    fn first(&self, names: impl IntoIterator<Item = String>) -> Option<String> {
        names
            .into_iter()
            .find(|name| !self.skipped(name))
            .map(|name| short(&name))
    }
}

/// A system call's own name: what every architecture and age agrees on.
fn short(name: &str) -> String {
    SYSCALL_PREFIXES
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .filter(|rest| !rest.is_empty())
        .min_by_key(|rest| rest.len())
        .unwrap_or(name)
        .to_owned()
}

#[cfg(test)]
mod tests;
