//! Who is to be named where a CPU or a task does not get on: what it was
//! called to do, not where in its loop it happened to be found.

use std::sync::LazyLock;

use regex::Regex;

use super::Names;
use super::frames::Frames;
use crate::crash::skip::{self, SHARED_WAITS};
use crate::crash::stack_line::StackLine;

/// The CPUs that a first line, or one of the next, says are stuck.
static STUCK: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this file")]
    Regex::new(
        r"CPU#(\d+) stuck|\bon (?:CPU|cpu) \{? ?(\d+)|CPU[ :](\d+) .*[Hh]ard LOCKUP|CPUs/tasks: \{ (\d+)|^\s*(?:rcu: )?\s*(\d+)-[.!?O\d]+: \(",
    )
    .expect("a pattern that compiles")
});
/// The CPU that a line says is stuck.
pub(in crate::crash) fn stuck_cpu(text: &str) -> Option<u32> {
    let found = STUCK.captures(text)?;
    found
        .iter()
        .skip(1)
        .flatten()
        .find_map(|group| group.as_str().parse().ok())
}

/// Lines that say whose state follows.
static SECTION: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this file")]
    Regex::new(
        r"NMI backtrace for cpu (\d+)|^CPU: (\d+) (?:UID: \d+ )?PID|Task dump for CPU (\d+)|^CPU:? +(\d+)\b|^CPU#(\d+),",
    )
    .expect("a pattern that compiles")
});

/// The CPU whose state follows this line.
pub(in crate::crash) fn section_cpu(text: &str) -> Option<u32> {
    if !text.contains("CPU") && !text.contains("cpu") {
        return None;
    }
    let found = SECTION.captures(text.trim_start())?;
    found
        .iter()
        .skip(1)
        .flatten()
        .find_map(|group| group.as_str().parse().ok())
}

/// The same; RCU's own thread, whose state may follow, is no CPU.
fn section_of(text: &str) -> Option<u32> {
    let thread = text.contains("grace-period kthread stack dump");
    section_cpu(text).or(thread.then_some(u32::MAX))
}

/// The part of a report that shows one of these CPUs: an NMI backtrace of it
/// rather than another dump, and only one that shows a function.
pub(in crate::crash) fn section<'a>(
    lines: &'a [StackLine],
    cpus: &[u32],
) -> Option<&'a [StackLine]> {
    let mut sections: Vec<(u32, usize, usize, bool)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(cpu) = section_of(&line.text) else {
            continue;
        };
        let nmi = line.text.contains("NMI backtrace");
        match sections.last_mut() {
            // `CPU: 7 PID: …` inside of CPU 7's own backtrace.
            Some(last) if last.0 == cpu && !nmi => {}
            last => {
                if let Some(last) = last {
                    last.2 = at;
                }
                sections.push((cpu, at, lines.len(), nmi));
            }
        }
    }
    let shows = |part: &[StackLine]| {
        part.iter().any(|line| {
            !line.frames.is_empty() || line.pc.as_ref().is_some_and(|pc| pc.frame.is_some())
        })
    };
    let mut fitting = sections
        .into_iter()
        .filter(|(cpu, from, to, _)| cpus.contains(cpu) && shows(&lines[*from..*to]));
    let first = fitting.next()?;
    let best = if first.3 {
        first
    } else {
        fitting.find(|section| section.3).unwrap_or(first)
    };
    Some(&lines[best.1..best.2])
}

/// A stuck CPU, by its program counter and call trace, or by the trace alone.
pub(super) fn cpu(
    names: &Names<'_>,
    frames: Frames<'_>,
    cpus: &[u32],
    trace_only: bool,
) -> Option<String> {
    if let Some(part) = section(frames.lines, cpus)
        && let Some(found) = one_cpu(names, frames.of(part), trace_only)
    {
        return Some(found);
    }
    one_cpu(names, frames, trace_only)
}

fn one_cpu(names: &Names<'_>, frames: Frames<'_>, trace_only: bool) -> Option<String> {
    // An NMI found it; what the NMI interrupted stands behind.
    let interrupted = frames.from(|line| line.text.contains("<<EOE>>"));
    if let Some(found) = interrupted.and_then(|frames| names.first(frames.until_heading())) {
        return Some(found);
    }
    let list = if trace_only {
        frames.below_heading()
    } else {
        frames.pc_then_trace()
    };
    stall_or_first(&names.all(list))
}

/// A stall is found by the timer interrupt; what it interrupted stands behind.
pub(super) fn rcu(names: &Names<'_>, frames: Frames<'_>, cpus: &[u32]) -> Option<String> {
    if let Some(part) = section(frames.lines, cpus) {
        let part = frames.of(part);
        let found = one_rcu(names, part).or_else(|| one_cpu(names, part, false));
        if found.is_some() {
            return found;
        }
    }
    one_rcu(names, frames)
}

/// Where each architecture enters an interrupt: what was interrupted stands
/// behind the last line with one of these.
const INTERRUPTED: &[&str] = &[
    "apic_timer_interrupt",
    "Exception stack",
    "el1h_64_irq",
    "el1_irq",
    "__irq_svc",
    "handle_int+",
    "--- interrupt:",
    "ret_from_exception",
    "ext_int_handler",
];

fn one_rcu(names: &Names<'_>, frames: Frames<'_>) -> Option<String> {
    let interrupt = |words: &'static [&'static str]| {
        frames.behind(|line| words.iter().any(|word| line.text.contains(word)))
    };
    if let Some(behind) = interrupt(&["apic_timer_interrupt"]) {
        let found = stall(&names.all(behind.pc_and_behind()));
        if found.is_some() {
            return found;
        }
    }
    if let Some(behind) = interrupt(INTERRUPTED) {
        let found = stall(&names.all(behind.until_heading()));
        if found.is_some() {
            return found;
        }
    }
    // Some kernels print the interrupted registers first. Behind a trace they
    // are another CPU's.
    let trace = frames.lines.iter().position(|line| line.heading)?;
    let (pc, _) = frames.pc()?;
    if pc > trace {
        return None;
    }
    stall_or_first(&names.all(frames.pc_then_trace()))
}

/// The workers' backtraces stand behind the list of work queues.
pub(super) fn workers(names: &Names<'_>, frames: Frames<'_>) -> Option<String> {
    let shown = frames.from(|line| line.text.contains("backtraces of busy workers"))?;
    stall(&names.all(shown.below_heading()))
}

/// What a stuck CPU was called to do: the frame just inside of where the
/// kernel handed over.
fn stall(names: &[String]) -> Option<String> {
    let mut inside = names.first()?;
    for name in names {
        if skip::hands_over(name) {
            // Whom it waits for differs; that it calls other CPUs does not.
            if name.contains("smp_call_function") {
                return Some("smp_call_function".to_owned());
            }
            return Some(inside.clone());
        }
        inside = name;
    }
    None
}

/// Without a place where the kernel handed over, the best that is left.
fn stall_or_first(names: &[String]) -> Option<String> {
    stall(names).or_else(|| names.first().cloned())
}

/// Who waits, unless many wait for the same.
pub(super) fn hung(names: &[String]) -> Option<String> {
    for name in names {
        for (part, shared) in SHARED_WAITS {
            if skip::matches(name, part) {
                return Some(shared.map_or_else(|| name.clone(), str::to_owned));
            }
        }
    }
    names.iter().find(|name| !skip::waits(name)).cloned()
}
