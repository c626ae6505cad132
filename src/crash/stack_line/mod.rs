//! One line of a report: frames, a program counter, a link register, a
//! heading, or just text. `symbol` reads a function's name, `registers` the
//! lines that name one of the two registers.

mod registers;
mod symbol;

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::model::Frame;
use symbol::{pattern, symbol};

/// What a line of a report is.
#[derive(Clone, Debug, Default)]
pub(super) struct StackLine {
    /// Its text, without the log's prefix.
    pub(super) text: String,
    /// Frames in it: one, several in old kernels, or on 32-bit arm two
    /// (callee, caller).
    pub(super) frames: Vec<Frame>,
    /// The kernel's program counter.
    pub(super) pc: Option<ProgramCounter>,
    /// The function that the link register points into.
    pub(super) link: Option<Frame>,
    /// `at: FUNCTION` in a report on locks.
    pub(super) at: Option<String>,
    /// Whether a call trace, or another list of frames, begins with it.
    pub(super) heading: bool,
    /// Whether the report's lines belong to another report that began inside
    /// it.
    pub(super) foreign: bool,
}

/// A program counter.
#[derive(Clone, Debug, Default)]
pub(super) struct ProgramCounter {
    /// Where it points; none if the address has no name.
    pub(super) frame: Option<Frame>,
}

/// What stands before a frame's name: names of stacks, up to two addresses
/// (their beginning perhaps lost to a line break), `?`.
static BEFORE_FRAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x)^[\s|]*(?:Trace;\s*|Caller)?
        (?:<+[/\#A-Z0-9]+>+\s*)*
        \(?(?:
            (?: (?:\[<?)?(?:0x)?(?:[0-9a-f]{6,16}|\(_*ptrval_*\))>?\]\)?[:\ ]?
              | <[0-9a-f]{8,16}>
              | \[[0-9a-f]{8}\ :
              | [0-9a-f]{8,16}\b
            )\s*){0,2}
        (?:<+[/\#A-Z0-9]+>+\s*)*
        (\?\ +)?\(?\s*",
    )
});

/// `name file.c:12 [inline]`, from a symboliser.
static INLINED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*([A-Za-z_]\w*) (\S+:\d+) \[inline\]$"));

/// 32-bit arm: `[<c0>] (callee) from [<c0>] (caller+0x1/0x2)`, without
/// addresses since 5.17; `dump_backtrace_entry()`.
static ARM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^\s*(?:\[<[0-9a-f]+>\] ?)?\(?([A-Za-z_][\w.]*)(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?(?: \[\w+\])?\)? from (?:\[<[0-9a-f]+>\] ?)?\(?([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: \[(\w+)\])?",
    )
});

/// Hexagon: `[fp] 0xip: name + 0x12`.
static HEXAGON: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^\[[0-9a-f]+\] 0x[0-9a-f]+: ([A-Za-z_][\w.]*) \+ 0x([0-9a-f]+)(?: \[(\w+)\])?")
});

/// `at: function+0x1/0x2`, `at: [<ffff>] function+0x1/0x2`, or with a place.
static AT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\bat: (?:\[<?(?:0x)?[0-9a-f]+>?\] +)?\.?([A-Za-z_]\w*)(?:[.+]| \()")
});

/// Headings of lists of frames.
static HEADING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"Call [Tt]race|^Stack Trace:|^Trace:|Allocated(?: by task [0-9]+)?:|Freed(?: by task [0-9]+)?:|(?:^|[^k]) ?backtrace(?: \(crc [[:xdigit:]]*\))?:|Backtrace:|Last Breaking-Event-Address|Uninit was stored to memory at|Uninit was created at:|Local variable .* created at:|status: [0-9a-f]{16} badaddr: [0-9a-f]{16} cause: [0-9a-f]{16}",
    )
});

/// A heading that frames follow on the same line, as kernels before 2.6.10 and
/// klogd print it.
static TRACE_HEADING: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*(?:Call [Tt]race|Backtrace):\s*"));

impl StackLine {
    pub(super) fn new(text: &str) -> Self {
        // kmemleak puts its name before each line since 6.8.
        let text = text.strip_prefix("kmemleak: ").unwrap_or(text);
        let mut line = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        if let Some(found) = ARM.captures(text) {
            line.frames = arm_frames(&found);
            return line;
        }
        line.frames = frames(text);
        if !line.frames.is_empty() {
            return line;
        }
        if let Some(found) = INLINED.captures(text) {
            line.frames.push(Frame {
                function: found[1].to_owned(),
                reliable: true,
                inlined: true,
                source: Some(found[2].to_owned()),
                ..Frame::default()
            });
            return line;
        }
        if let Some(found) = HEXAGON.captures(text) {
            line.frames.push(Frame {
                function: found[1].to_owned(),
                offset: hex(found.get(2)),
                module: found.get(3).map(|m| m.as_str().to_owned()),
                reliable: true,
                ..Frame::default()
            });
            return line;
        }
        line.pc = registers::program_counter(text);
        line.link = registers::link_register(text);
        line.at = AT.captures(text).map(|found| found[1].to_owned());
        line.heading = HEADING.is_match(text) && !text.contains("stack backtrace:");
        if line.heading
            && let Some(found) = TRACE_HEADING.find(text)
        {
            line.frames = frames(&text[found.end()..]);
        }
        line
    }
}

/// Whether a line holds a frame. Most lines hold nothing like one.
pub(super) fn has_frame(text: &str) -> bool {
    let likely = text.contains("+0x")
        || text.contains(".c:")
        || text.contains(".h:")
        || text.contains(".S:")
        || text.contains("[<")
        || text.contains(">{")
        || text.contains(" [")
        || text.starts_with('[')
        || text.starts_with("Trace;");
    likely && !StackLine::new(text).frames.is_empty()
}

fn hex(text: Option<regex::Match<'_>>) -> Option<u64> {
    u64::from_str_radix(text?.as_str(), 16).ok()
}

/// The frames in a line that consists of frames: one, or several.
fn frames(text: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut rest = text;
    while let Some(before) = BEFORE_FRAME.captures(rest) {
        let Some(found) = symbol(&rest[before[0].len()..]) else {
            break;
        };
        let mut frame = found.frame;
        frame.reliable = before.get(1).is_none()
            && !found.behind.ends_with("(unreliable)")
            // s390 puts what it is not sure of in parentheses.
            && !before[0].trim_start().starts_with("([<");
        frame.inlined = found.behind.ends_with("[inline]");
        if frame.source.is_none() {
            frame.source = place(found.behind);
        }
        frames.push(frame);
        rest = found.behind.trim_start_matches([')', '>', ' ']);
        // Only an address or a bracket begins another frame; else it is text.
        if !rest.starts_with(['[', '<', '{']) {
            break;
        }
    }
    frames
}

/// `file.c:12` behind a frame.
fn place(behind: &str) -> Option<String> {
    behind
        .split_whitespace()
        .find(|word| word.contains(".c:") || word.contains(".h:") || word.contains(".S:"))
        .map(str::to_owned)
}

fn arm_frames(found: &Captures<'_>) -> Vec<Frame> {
    let inner = Frame {
        function: found[1].to_owned(),
        reliable: true,
        ..Frame::default()
    };
    let outer = Frame {
        function: found[2].to_owned(),
        offset: hex(found.get(3)),
        size: hex(found.get(4)),
        module: found.get(5).map(|m| m.as_str().to_owned()),
        reliable: true,
        ..Frame::default()
    };
    vec![inner, outer]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Frame {
        let entry = StackLine::new(text);
        assert_eq!(entry.frames.len(), 1, "{text}");
        entry.frames.into_iter().next().expect("one frame")
    }

    #[test]
    fn frames_of_every_age() {
        for text in [
            " [<ffffffff811e4d7e>] seq_read+0x16e/0x3b0",
            " seq_read+0x16e/0x3b0",
            "  <TASK> seq_read+0x16e/0x3b0",
            "ffffffff811e4d7e>] seq_read+0x16e/0x3b0",
            "[c000000000123456] [c0000000001abcde] seq_read+0x16e/0x3b0",
            "[<000000000012abcd>] seq_read+0x16e/0x3b0",
            " <EOI>  [<ffffffff811e4d7e>] seq_read+0x16e/0x3b0",
            "    [<ffffffff811e4d7e>] seq_read+0x16e/0x3b0 fs/seq_file.c:12",
            "    [<(____ptrval____)>] seq_read+0x16e/0x3b0",
            "    [<(ptrval)>] seq_read+0x16e/0x3b0",
            "[c000000000123456] [c0000000001abcde] .seq_read+0x16e/0x3b0",
            "[<000000000012abcd>] seq_read+0x16e/0x3b0 ",
            "Caller[0000000000734c30]: seq_read+0x16e/0x3b0",
            "[f0012345 : seq_read+0x16e/0x3b0 ] ",
            " <<EOE>>  [<ffffffff811e4d7e>] seq_read+0x16e/0x3b0",
        ] {
            let frame = only(text);
            assert_eq!(frame.function, "seq_read", "{text}");
            assert_eq!((frame.offset, frame.size), (Some(0x16e), Some(0x3b0)));
            assert!(frame.reliable, "{text}");
        }
        assert!(!only(" ? seq_read+0x16e/0x3b0").reliable);
        assert!(!only(" [<ffffffff811e4d7e>] ? seq_read+0x1/0x2").reliable);
        assert!(
            !only("[c000000000123456] [c0000000001abcde] seq_read+0x1/0x2 (unreliable)").reliable
        );
        assert_eq!(
            only(" m_init+0x1/0x2 [dummy(O+)]").module.as_deref(),
            Some("dummy")
        );
        assert!(!only("([<000000000012abcd>] seq_read+0x1/0x2)").reliable);
        assert!(only(" list_del include/linux/list.h:117 [inline]").inlined);
    }

    #[test]
    fn arm_writes_two_frames_in_a_line() {
        let entry = StackLine::new(
            "[<c0010e1c>] (unwind_backtrace) from [<c000d6f8>] (show_stack+0x10/0x14)",
        );
        let names: Vec<_> = entry.frames.iter().map(|f| f.function.as_str()).collect();
        assert_eq!(names, ["unwind_backtrace", "show_stack"]);
        let unspaced = StackLine::new(
            "[<c0019e08>](dump_backtrace+0x0/0x118) from [<c001a16c>](show_stack+0x18/0x1c)",
        );
        assert_eq!(unspaced.frames.len(), 2);
        assert_eq!(
            StackLine::new(" show_stack from dump_stack_lvl+0x40/0x4c")
                .frames
                .len(),
            2
        );
    }

    #[test]
    fn frames_of_symbolisers_and_klogd() {
        let decoded = only(" ? find_held_lock (kernel/locking/lockdep.c:4935) ");
        assert_eq!(decoded.function, "find_held_lock");
        assert!(!decoded.reliable);
        assert_eq!(
            decoded.source.as_deref(),
            Some("kernel/locking/lockdep.c:4935")
        );
        let module = only(" demo_init (drivers/demo.c:7 (discriminator 1)) demo");
        assert_eq!(module.module.as_deref(), Some("demo"));
        let klogd = only(" [usb_unbind_interface+110/112] usb_unbind_interface+0x6e/0x70");
        assert_eq!(
            (klogd.function.as_str(), klogd.offset),
            ("usb_unbind_interface", Some(0x6e))
        );
        assert_eq!(only("[10012345] 0x1234: demo_x + 0x1c").offset, Some(0x1c));
    }

    #[test]
    fn old_kernels_put_several_frames_in_a_line() {
        for text in [
            "Call Trace: [sys_delete_module+318/496] [system_call+51/56]",
            "Call Trace: [<c0123456>] sys_delete_module+0x13e/0x1f0 [<c0109876>] system_call+0x33/0x38",
            "Call Trace:<ffffffff8014f5f4>{sys_delete_module+324} <ffffffff8010d1f6>{system_call+126}",
            "       [<c0123456>] sys_delete_module+0x13e/0x1f0  [<c0109876>] system_call+0x33/0x38",
        ] {
            let names: Vec<_> = StackLine::new(text)
                .frames
                .into_iter()
                .map(|frame| frame.function)
                .collect();
            assert_eq!(names, ["sys_delete_module", "system_call"], "{text}");
        }
    }

    #[test]
    fn text_with_an_offset_is_no_frame() {
        for text in [
            "WARNING: at kernel/x.c:12 foo+0x1/0x2()",
            "last sysfs file: /sys/x",
            "Modules linked in: a b c",
            "Code: 48 63 c2 <0f> 0b",
        ] {
            assert!(StackLine::new(text).frames.is_empty(), "{text}");
        }
    }
}
