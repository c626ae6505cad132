//! Which signature a line matches, and where. Whether the line is the
//! kernel's is told by its prefix and its surroundings.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::ignore;
use super::signature::{Anchor, FrameSelector, Signature};
use super::signatures::SIGNATURES;
use super::surroundings::Surroundings;
use crate::console::{Line, Origin};

/// A row with its patterns compiled.
pub(super) struct Compiled {
    pub(super) signature: &'static Signature,
    pub(super) pattern: Option<Regex>,
    pub(super) within: Option<Regex>,
    pub(super) confirm: Option<Regex>,
    pub(super) absorbs: Option<Regex>,
}

/// A pattern of the table.
fn pattern(text: &str) -> Option<Regex> {
    #[expect(clippy::expect_used, reason = "constants; a test compiles every row")]
    (!text.is_empty()).then(|| Regex::new(text).expect("a row's pattern compiles"))
}

static COMPILED: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    SIGNATURES
        .iter()
        .map(|signature| Compiled {
            signature,
            pattern: pattern(signature.pattern),
            within: pattern(signature.within),
            confirm: pattern(signature.confirm.0),
            absorbs: pattern(signature.absorbs),
        })
        .collect()
});

/// Tags of subsystems that a marker may stand behind.
const TAGS: &[&str] = &[
    "watchdog: ",
    "NMI watchdog: ",
    "rcu: ",
    "IPv6: ",
    "page_alloc: ",
    "slub: ",
    "kernel: ",
    "kernel:",
    "[ ",
    "Oops: ",
    "TASK stack guard page: ",
    "rust_kernel: ",
    "kmemleak: ",
];

/// A signature found in a line.
pub(super) struct Match {
    pub(super) row: &'static Compiled,
    /// Where the marker stands in the line's text, in bytes.
    pub(super) at: usize,
    /// Groups of the row's pattern, the first being the whole.
    pub(super) groups: Vec<String>,
}

/// How a kernel begins a warning: `__warn()` of kernel/panic.c. With the CPU
/// since 3.11, with file and line first since 6.18; the function may be left
/// out, and file and line on kernels without verbose BUGs.
static WARNING: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this file, tested below")]
    Regex::new(
        r"(?x)^WARNING:\ (?:
            CPU:\ \d+\ (?:UID:\ \d+\ )?PID:\ \d+\ at\ \S
          | (?:\[.*\]\ ?)?at\ [\w./+~-]+\.\w{1,3}:\d+(?:[\ /]|$)
          | at\ \.?[\w.]+\+0x[0-9a-f]+/0x
          | at\ (?:0x)?[0-9a-f]{8,16}\b
          | (?:\[.*\]\ ?)?[\w./+~-]+\.\w{1,3}:\d+\ at\ \S
        )",
    )
    .expect("a pattern that compiles")
});

/// Finds the markers in a line, so that only their rows are looked at.
static MARKERS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a list of constants")]
    AhoCorasick::new(SIGNATURES.iter().map(|row| row.marker)).expect("the markers build")
});

/// The rows whose marker is in the text, in the table's order.
fn candidates(text: &str) -> Vec<usize> {
    let mut rows: Vec<usize> = MARKERS
        .find_overlapping_iter(text)
        .map(|found| found.pattern().as_usize())
        .collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// The first row that matches the line.
pub(super) fn recognise(line: &Line<'_>, around: Surroundings) -> Option<Match> {
    if line.origin == Origin::UserSpace {
        return None;
    }
    let surely_kernel = line.origin == Origin::Kernel;
    let misplaced = !surely_kernel && around == Surroundings::Stamped;
    candidates(&line.text).into_iter().find_map(|row| {
        let row = &COMPILED[row];
        if misplaced && !row.signature.unstamped {
            return None;
        }
        let (at, marker) = anchored_at(row.signature, &line.text, surely_kernel)?;
        let rest = &line.text[at..];
        if row.signature.selector == FrameSelector::Warn
            && rest.starts_with("WARNING: ")
            && !WARNING.is_match(rest)
        {
            return None;
        }
        // Whether is cheaper than where.
        if row
            .pattern
            .as_ref()
            .is_some_and(|pattern| !pattern.is_match(rest))
            || ignore::harmless(&line.text, marker)
        {
            return None;
        }
        let groups = match &row.pattern {
            None => vec![row.signature.marker.to_owned()],
            Some(pattern) => pattern
                .captures(rest)?
                .iter()
                .map(|group| group.map_or_else(String::new, |g| g.as_str().to_owned()))
                .collect(),
        };
        Some(Match { row, at, groups })
    })
}

/// Where the pattern begins and where the marker stands, if that is where it
/// must be.
fn anchored_at(signature: &Signature, text: &str, surely_kernel: bool) -> Option<(usize, usize)> {
    if signature.anchor == Anchor::KernelLineStart && !surely_kernel {
        return None;
    }
    let begin = text.len() - text.trim_start().len();
    let mut at = begin;
    loop {
        let rest = &text[at..];
        if rest.starts_with(signature.marker) {
            return Some((at, at));
        }
        let Some(tag) = tag_length(rest) else {
            break;
        };
        at += tag;
    }
    if signature.anchor == Anchor::Within {
        let found = text[at..].find(signature.marker)?;
        return Some((at, at + found));
    }
    if signature.anchor != Anchor::Anywhere {
        return None;
    }
    let found = text.find(signature.marker)?;
    let before = &text[..found];
    // Lockdep's banner, glued behind another message, is unmistakable.
    let banner = before.ends_with("[ ") && text.ends_with(" ]");
    if !surely_kernel && !banner {
        return None;
    }
    // Part of another word, or what the kernel quotes of somebody's.
    let joined = before.ends_with(|c: char| c.is_alphanumeric() || "_'\"`=".contains(c));
    let quoted = before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1;
    (!joined && !quoted).then_some((found, found))
}

/// The length of a tag that a marker may stand behind.
fn tag_length(rest: &str) -> Option<usize> {
    if let Some(tag) = TAGS.iter().find(|tag| rest.starts_with(**tag)) {
        return Some(tag.len());
    }
    // mips and loongarch: `CPU 3 Unable to handle …`.
    let behind = rest.strip_prefix("CPU ")?;
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && behind[digits..].starts_with(" Unable")).then_some("CPU ".len() + digits + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::parse_line;

    fn name(line: &str) -> Option<&'static str> {
        recognise(&parse_line(line.as_bytes()), Surroundings::Bare)
            .map(|found| found.row.signature.name)
    }

    #[test]
    fn every_row_compiles_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = COMPILED.iter().map(|row| row.signature.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_marker_stands_first_or_behind_a_tag() {
        assert!(
            name("[    1.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]")
                .is_some()
        );
        assert!(name("[    1.000000] my note on BUG: something").is_none());
        assert!(name("BUG: mine").is_none());
    }

    #[test]
    fn a_warning_has_a_place_in_the_kernels_source() {
        for line in [
            "WARNING: can't convert coreboot GPIOs, 'lid' won't be resampled at runtime!",
            "WARNING: image at /boot/vmlinuz is not signed",
            "WARNING: device at address 0 not found",
            "WARNING: looking at 12 files",
        ] {
            assert_eq!(name(line), None, "{line}");
        }
        for line in [
            "WARNING: CPU: 1 PID: 2 at a/b.c:1 f+0x1/0x2",
            "WARNING: CPU: 1 PID: 2 at f+0x1/0x2",
            "WARNING: at fs/dcache.c:12 f+0x1/0x2()",
            "WARNING: at fs/dcache.c:12 f()",
            "WARNING: at f+0x1/0x2",
            "WARNING: fs/dcache.c:12 at f+0x1/0x2, CPU#1: a/2",
        ] {
            assert!(name(line).is_some(), "{line}");
        }
    }

    #[test]
    fn a_quoted_marker_is_no_crash() {
        let quoted =
            "[    1.000000] FAT-fs: unrecognized mount option \"a BUG: KASAN: b in c+0x1/0x2\"";
        assert!(name(quoted).is_none());
    }
}
