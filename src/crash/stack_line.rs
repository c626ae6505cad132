//! One line of a report: a frame, an instruction pointer, a heading, or just
//! text. Every architecture's and every age's way of writing them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::model::Frame;

/// What a line of a report is.
#[derive(Clone, Debug, Default)]
pub(super) struct StackLine {
    /// Its text, without the log's prefix.
    pub(super) text: String,
    /// Frames in it: one, or on 32-bit arm two (callee, caller).
    pub(super) frames: Vec<Frame>,
    /// The kernel's instruction pointer.
    pub(super) ip: Option<Ip>,
    /// `at: FUNCTION` in a report on locks.
    pub(super) at: Option<String>,
    /// Whether a call trace, or another list of frames, begins behind it.
    pub(super) heading: bool,
}

/// An instruction pointer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ip {
    /// Where it points; none if the address has no name.
    pub(super) frame: Option<Frame>,
}

/// A pattern of this file.
fn pattern(text: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "constants of this file; the tests use each"
    )]
    Regex::new(text).expect("a pattern of this file compiles")
}

/// `[<ffffffff810d64c5>]`, once or twice, its beginning perhaps lost to a line
/// break; stack names; `?`; then `name+0x1/0x2 [module]`.
static FRAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^[\s|]*(?:<[/#A-Z0-9]+>\s*)*\(?(?:(?:\[<?)?(?:0x)?[0-9a-f]{6,16}>?\]\)?[: ]\s*){0,2}(?:<[/#A-Z0-9]+>\s*)*(\? )?\(?\s*(?:\d+:)?([A-Za-z_$][\w.$:<>-]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: +\[([\w-]+)[^\]]*\])?(.*)$",
    )
});

/// The same without offsets, from a symboliser: ` name file.c:12 [inline]`.
static INLINED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*([A-Za-z_]\w*) (\S+:\d+) \[inline\]$"));

/// 32-bit arm: `[<c0>] (callee) from [<c0>] (caller+0x1/0x2)`, or without
/// addresses.
static ARM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^\s*(?:\[<[0-9a-f]+>\] )?\(?([A-Za-z_][\w.]*)(?: \[\w+\])?\)? from (?:\[<[0-9a-f]+>\] )?\(?([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: \[(\w+)\])?",
    )
});

/// Where an instruction pointer is told, and by what name.
static IP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:\b[ER]?IP:?(?: is at)?|\bNIP:?|\b[PI]C is at|\be?pc ?:|\bKrnl PSW :|--- interrupt: [0-9a-f]+ at|\bepc   :) *(.*)$",
    )
});

/// What stands behind it, if the address has a name.
static IP_NAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[0-9a-f]{2,4}:)?(?:(?:[\[<(]*(?:0x)?[0-9a-f]{6,16}[\]>)]*|[0-9a-f]{8,16})\s+){0,2}\(?([A-Za-z_$][\w.$]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: +\[([\w-]+)[^\]]*\])?",
    )
});

/// The same without a name. An address alone is none: some architectures
/// print it on another line than its name.
static IP_BARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:[0-9a-f]{2,4}:)?(?:0x[0-9a-f]+|(?:\[<[0-9a-f]+>\]\s+)?(?:\[<)?\s*\(null\))")
});

/// `at: function+0x1/0x2` or `at: [<ffff>] function+0x1/0x2`.
static AT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\bat: (?:\[<?(?:0x)?[0-9a-f]+>?\] +)?([A-Za-z_]\w*)[.+]"));

/// Headings of lists of frames.
static HEADING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"Call [Tt]race|Allocated(?: by task [0-9]+)?:|Freed(?: by task [0-9]+)?:|(?:^|[^k]) ?backtrace(?: \(crc [[:xdigit:]]*\))?:|Backtrace:|Uninit was stored to memory at|Uninit was created at:|Local variable .* created at:|status: [0-9a-f]{16} badaddr: [0-9a-f]{16} cause: [0-9a-f]{16}",
    )
});

impl StackLine {
    pub(super) fn new(text: &str) -> Self {
        let mut entry = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        if let Some(found) = frame(text) {
            entry.frames.push(found);
            return entry;
        }
        if let Some(found) = ARM.captures(text) {
            entry.frames = arm_frames(&found);
            return entry;
        }
        if let Some(found) = INLINED.captures(text) {
            entry.frames.push(Frame {
                function: found[1].to_owned(),
                reliable: true,
                inlined: true,
                source: Some(found[2].to_owned()),
                ..Frame::default()
            });
            return entry;
        }
        entry.ip = ip(text);
        entry.at = AT.captures(text).map(|found| found[1].to_owned());
        entry.heading = HEADING.is_match(text) && !text.contains("stack backtrace:");
        entry
    }
}

fn hex(text: Option<regex::Match<'_>>) -> Option<u64> {
    u64::from_str_radix(text?.as_str(), 16).ok()
}

/// The frame in a line that is one.
fn frame(text: &str) -> Option<Frame> {
    let found = FRAME.captures(text)?;
    let behind = &found[6];
    Some(Frame {
        function: found[2].to_owned(),
        offset: hex(found.get(3)),
        size: hex(found.get(4)),
        module: found.get(5).map(|m| m.as_str().to_owned()),
        reliable: found.get(1).is_none() && !behind.ends_with("(unreliable)"),
        inlined: behind.ends_with("[inline]"),
        source: behind
            .split_whitespace()
            .find(|word| word.contains(".c:") || word.contains(".h:") || word.contains(".S:"))
            .map(str::to_owned),
    })
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

/// The instruction pointer that a line tells, unless it is user space's.
fn ip(text: &str) -> Option<Ip> {
    let found = IP.captures(text)?;
    let behind = found.get(1)?.as_str();
    // CS 0x33 and 0x23 are user space's on x86.
    if ["0033:", "0023:", "0073:"]
        .iter()
        .any(|cs| behind.starts_with(cs))
    {
        return None;
    }
    // s390 writes the mask before the address.
    let behind = match behind.split_once(' ') {
        Some((mask, rest)) if text.contains("Krnl PSW") && mask.len() == 16 => rest,
        _ => behind,
    };
    if let Some(name) = IP_NAME.captures(behind) {
        return Some(Ip {
            frame: Some(Frame {
                function: name[1].to_owned(),
                offset: hex(name.get(2)),
                size: hex(name.get(3)),
                module: name.get(4).map(|m| m.as_str().to_owned()),
                reliable: true,
                ..Frame::default()
            }),
        });
    }
    IP_BARE.is_match(behind).then(Ip::default)
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
        assert!(only(" list_del include/linux/list.h:117 [inline]").inlined);
    }

    #[test]
    fn arm_writes_two_frames_in_a_line() {
        let entry = StackLine::new(
            "[<c0010e1c>] (unwind_backtrace) from [<c000d6f8>] (show_stack+0x10/0x14)",
        );
        let names: Vec<_> = entry.frames.iter().map(|f| f.function.as_str()).collect();
        assert_eq!(names, ["unwind_backtrace", "show_stack"]);
        assert_eq!(
            StackLine::new(" show_stack from dump_stack_lvl+0x40/0x4c")
                .frames
                .len(),
            2
        );
    }

    #[test]
    fn instruction_pointers_of_every_architecture() {
        for text in [
            "RIP: 0010:[<ffffffff810d64c5>]  [<ffffffff810d64c5>] module_flags+0xb5/0xc0",
            "RIP: 0010:module_flags+0xb5/0xc0",
            "IP: [<ffffffff810d64c5>] module_flags+0xb5/0xc0",
            "IP: module_flags+0xb5/0xc0",
            "EIP: 0060:[<c10d64c5>] module_flags+0xb5/0xc0",
            "EIP: module_flags+0xb5/0xc0",
            "EIP is at module_flags+0xb5/0xc0",
            "PC is at module_flags+0xb5/0xc0",
            "pc : module_flags+0xb5/0xc0",
            "epc : module_flags+0xb5/0xc0",
            "epc   : 80123456 module_flags+0xb5/0xc0",
            "NIP [c0000000001abcde] module_flags+0xb5/0xc0",
            "Krnl PSW : 0704d00180000000 00000000004c1d1c (module_flags+0xb5/0xc0)",
            "--- interrupt: 700 at module_flags+0xb5/0xc0",
            "RIP  [<ffffffff810d64c5>] module_flags+0xb5/0xc0",
        ] {
            let ip = StackLine::new(text).ip.unwrap_or_else(|| panic!("{text}"));
            assert_eq!(ip.frame.expect(text).function, "module_flags", "{text}");
        }
        assert!(StackLine::new("RIP: 0033:0x7f0012345678").ip.is_none());
        assert!(
            StackLine::new("RIP: 0010:0x0")
                .ip
                .expect("an address")
                .frame
                .is_none()
        );
    }
}
