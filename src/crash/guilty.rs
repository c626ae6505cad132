//! Names the function that a kernel developer would look at first. Works on
//! the lines of one report; what is skipped stands in `skip`.

use super::signature::FrameSelector;
use super::skip::{self, HAND_OVERS, SHARED_WAITS, SYSCALL_PREFIXES, WAITING};
use super::stack_line::{ProgramCounter, StackLine};
use super::title::plain;
use crate::model::Frame;

/// The guilty function, if the report has one. `header` is the rest of the
/// first line, behind the marker.
pub(super) fn function(
    selector: FrameSelector,
    skip: &[&str],
    header: &str,
    lines: &[StackLine],
) -> Option<String> {
    let names = Names { skip };
    match selector {
        FrameSelector::Nowhere => None,
        FrameSelector::Ip => names.first(ip_frame(lines)),
        FrameSelector::IpThenTrace => names.first(ip_then_trace(lines)),
        FrameSelector::Trace => names.first(frames_below_heading(lines)),
        FrameSelector::HeaderThenTrace => header_function(header)
            .filter(|name| !names.skipped(name))
            .map(|name| short(&name))
            .or_else(|| names.first(frames_below_heading_or_not(lines))),
        FrameSelector::Warn => names
            .first(ip_and_behind(lines))
            .or_else(|| names.first(frames_below_heading(lines)))
            .or_else(|| names.first(warned_function(header))),
        FrameSelector::At(words) => {
            let from = lines.iter().position(|entry| entry.text.contains(words))?;
            lines[from..].iter().find_map(at_function)
        }
        FrameSelector::AtThenTrace => names.first(at_then_frames(lines)),
        FrameSelector::TraceAfter(words) => names.first(frames_after(lines, words)),
        FrameSelector::Frames => names.first(until_heading(lines.get(1..)?)),
        FrameSelector::Unlock => names.first(unlock(lines)),
        FrameSelector::Stall => stall_or_first(&names.all(ip_then_trace(lines))),
        FrameSelector::StallTrace => stall_or_first(&names.all(frames_below_heading(lines))),
        FrameSelector::RcuStall => rcu_stall(&names, lines),
        FrameSelector::Workers => workers(&names, lines),
        FrameSelector::Hung => hung(&names.all(frames_below_heading(lines))),
    }
}

/// `in FUNCTION+0x1/0x2` of a first line.
fn header_function(header: &str) -> Option<String> {
    let (_, behind) = header.split_once(" in ")?;
    let name: String = behind
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let next = behind[name.len()..].chars().next();
    (!name.is_empty() && matches!(next, Some('.' | '+'))).then_some(name)
}

/// `at FILE:LINE FUNCTION+0x1/0x2`, or `FILE:LINE at FUNCTION+0x1/0x2`: all
/// that is left if the rest of a warning was lost.
fn warned_function(header: &str) -> Option<String> {
    let (before, _) = header.split_once("+0x")?;
    let name = before.rsplit([' ', ':']).next()?;
    (!name.is_empty()).then(|| plain(name).to_owned())
}

/// `at: FUNCTION`, on the line or as the frame that the line below holds.
fn at_function(entry: &StackLine) -> Option<String> {
    entry.at.clone()
}

/// Chooses among names.
struct Names<'a> {
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

/// A frame that a title may name.
fn nameable(frame: &Frame) -> Option<String> {
    (frame.reliable && !frame.inlined).then(|| plain(&frame.function).to_owned())
}

fn names_of<'a>(lines: impl IntoIterator<Item = &'a StackLine>) -> impl Iterator<Item = String> {
    lines.into_iter().flat_map(|entry| {
        // Where an interrupt's stack ends, the frame is certain.
        let certain = entry.text.contains("<EOI>");
        entry.frames.iter().filter_map(move |frame| {
            if certain && !frame.inlined {
                return Some(plain(&frame.function).to_owned());
            }
            nameable(frame)
        })
    })
}

/// The frames up to the next heading.
fn until_heading(lines: &[StackLine]) -> Vec<String> {
    let end = lines
        .iter()
        .position(|entry| entry.heading)
        .unwrap_or(lines.len());
    names_of(&lines[..end]).collect()
}

/// The frames below the next heading of a call trace. 32-bit arm prints none.
fn frames_below_heading(lines: &[StackLine]) -> Vec<String> {
    let heading = lines
        .iter()
        .position(|entry| entry.heading && call_trace(&entry.text));
    heading.map_or_else(
        || names_of(lines.iter().filter(|entry| entry.frames.len() > 1)).collect(),
        |at| until_heading(&lines[at + 1..]),
    )
}

/// The same for reports that may list frames without a heading.
fn frames_below_heading_or_not(lines: &[StackLine]) -> Vec<String> {
    let first_frame = lines.iter().position(|entry| !entry.frames.is_empty());
    let heading = lines.iter().position(|entry| entry.heading);
    match (first_frame, heading) {
        (Some(frame), Some(heading)) if frame < heading => until_heading(lines),
        (Some(_), None) => until_heading(lines),
        _ => frames_below_heading(lines),
    }
}

fn call_trace(text: &str) -> bool {
    text.contains("Call Trace:") || text.contains("Call trace:") || text.contains("Backtrace:")
}

fn ip_at(lines: &[StackLine]) -> Option<(usize, &ProgramCounter)> {
    lines
        .iter()
        .enumerate()
        .find_map(|(at, entry)| Some((at, entry.pc.as_ref()?)))
}

fn ip_name(ip: &ProgramCounter) -> Option<String> {
    ip.frame.as_ref().and_then(nameable)
}

fn ip_frame(lines: &[StackLine]) -> Option<String> {
    ip_at(lines).and_then(|(_, ip)| ip_name(ip))
}

/// The instruction pointer, then the call trace behind it. If a cut took the
/// instruction pointer away, the trace alone.
fn ip_then_trace(lines: &[StackLine]) -> Vec<String> {
    let Some((at, ip)) = ip_at(lines) else {
        return frames_below_heading(lines);
    };
    let mut names: Vec<_> = ip_name(ip).into_iter().collect();
    names.extend(frames_below_heading(&lines[at + 1..]));
    names
}

/// The instruction pointer, then the frames right behind it: old kernels print
/// a warning's registers in the middle of its call trace.
fn ip_and_behind(lines: &[StackLine]) -> Vec<String> {
    let Some((at, ip)) = ip_at(lines) else {
        return Vec::new();
    };
    let mut names: Vec<_> = ip_name(ip).into_iter().collect();
    names.extend(until_heading(&lines[at + 1..]));
    names
}

/// Where two locks were taken, then the frames behind.
fn at_then_frames(lines: &[StackLine]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, entry) in lines.iter().enumerate() {
        if let Some(name) = &entry.at {
            names.push(name.clone());
            if names.len() == 2 {
                names.extend(until_heading(&lines[at + 1..]));
                return names;
            }
        }
    }
    names
}

fn frames_after(lines: &[StackLine], words: &str) -> Vec<String> {
    let at = lines.iter().position(|entry| entry.text.contains(words));
    at.map_or_else(Vec::new, |at| until_heading(&lines[at + 1..]))
}

/// `at:` a line break, then the address where the lock was released.
fn unlock(lines: &[StackLine]) -> Vec<String> {
    let released = lines
        .iter()
        .position(|entry| !entry.frames.is_empty() && entry.text.contains('['));
    let Some(at) = released else {
        return frames_below_heading(lines);
    };
    let mut names: Vec<_> = names_of(&lines[at..=at]).collect();
    names.extend(frames_below_heading(&lines[at + 1..]));
    names
}

/// What a stuck CPU was called to do: the frame just inside of where the
/// kernel handed over. Where in its loop it was found is chance.
fn stall(names: &[String]) -> Option<String> {
    let mut inside = names.first()?;
    for name in names {
        let hands_over = HAND_OVERS
            .iter()
            .any(|(_, patterns)| patterns.iter().any(|p| skip::matches(name, p)));
        if hands_over {
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

/// A stall is found by the timer interrupt; what it interrupted stands behind.
fn rcu_stall(names: &Names<'_>, lines: &[StackLine]) -> Option<String> {
    let interrupt = |words: &[&str]| {
        lines
            .iter()
            .position(|entry| words.iter().any(|word| entry.text.contains(word)))
    };
    if let Some(at) = interrupt(&["apic_timer_interrupt"]) {
        let found = stall(&names.all(ip_and_behind(&lines[at + 1..])));
        if found.is_some() {
            return found;
        }
    }
    if let Some(at) = interrupt(&["apic_timer_interrupt", "Exception stack", "el1h_64_irq"]) {
        let found = stall(&names.all(until_heading(&lines[at + 1..])));
        if found.is_some() {
            return found;
        }
    }
    // Some kernels print the interrupted registers first. Behind a trace they
    // are another CPU's.
    let trace = lines.iter().position(|entry| entry.heading)?;
    let (ip, _) = ip_at(lines)?;
    if ip > trace {
        return None;
    }
    stall_or_first(&names.all(ip_then_trace(lines)))
}

/// The workers' backtraces stand behind the list of work queues.
fn workers(names: &Names<'_>, lines: &[StackLine]) -> Option<String> {
    let at = lines
        .iter()
        .position(|entry| entry.text.contains("backtraces of busy workers"))?;
    stall(&names.all(frames_below_heading(&lines[at + 1..])))
}

/// Without a place where the kernel handed over, the best that is left.
fn stall_or_first(names: &[String]) -> Option<String> {
    stall(names).or_else(|| names.first().cloned())
}

/// Who waits, unless many wait for the same.
fn hung(names: &[String]) -> Option<String> {
    for name in names {
        for (part, shared) in SHARED_WAITS {
            if name.contains(part) {
                return Some(shared.map_or_else(|| name.clone(), str::to_owned));
            }
        }
    }
    names
        .iter()
        .find(|name| !WAITING.iter().any(|part| name.contains(part)))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &str) -> Vec<StackLine> {
        lines.lines().map(StackLine::new).collect()
    }

    #[test]
    fn a_stall_names_what_the_cpu_was_called_to_do() {
        let report = lines(
            "BUG: soft lockup\nRIP: 0010:memcpy+0x1/0x2\nCall Trace:\n a+0x1/0x2\n b+0x1/0x2\n do_syscall_64+0x1/0x2\n",
        );
        assert_eq!(
            function(FrameSelector::Stall, &[], "", &report).as_deref(),
            Some("b")
        );
    }

    #[test]
    fn a_hang_names_who_waits() {
        let report = lines(
            "INFO: task\nCall Trace:\n __schedule+0x1/0x2\n schedule+0x1/0x2\n rwsem_x+0x1/0x2\n ext4_y+0x1/0x2\n",
        );
        assert_eq!(
            function(FrameSelector::Hung, &[], "", &report).as_deref(),
            Some("ext4_y")
        );
    }

    #[test]
    fn a_copy_is_not_guilty() {
        let report = lines(
            "x\nRIP: 0010:memcpy+0x1/0x2\nCall Trace:\n ? old+0x1/0x2\n caller.isra.0+0x1/0x2\n",
        );
        assert_eq!(
            function(FrameSelector::IpThenTrace, &[], "", &report).as_deref(),
            Some("caller")
        );
    }

    #[test]
    fn a_system_call_has_one_name() {
        assert_eq!(short("__x64_sys_read"), "sys_read");
        assert_eq!(short("__do_sys_read"), "read");
        assert_eq!(short("SyS_read"), "read");
        assert_eq!(short("m_show"), "m_show");
    }
}
