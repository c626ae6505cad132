//! What a signature is, and how one is matched against a line. The rows
//! themselves stand in `signatures`.

use std::sync::LazyLock;

use regex::Regex;

use super::signatures::SIGNATURES;
use crate::console::{Line, Origin};
use crate::model::{CrashKind, Severity};

/// One kind of report: how its first line looks, and what to make of it.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "columns of a table; each row sets few of them"
)]
pub struct Signature {
    /// Its name in reports and in `modrace list signatures`.
    pub name: &'static str,
    /// The text that its first line has.
    pub marker: &'static str,
    /// Where the marker must stand.
    pub anchor: Anchor,
    /// What must follow the marker; its groups are `{1}`, `{2}` of the title.
    pub pattern: &'static str,
    /// A line further down; its groups are `{w1}`, `{w2}` of the title.
    pub within: &'static str,
    /// How the title is made.
    pub title: &'static str,
    /// Where the function that the title names is looked for.
    pub selector: FrameSelector,
    /// Functions skipped besides those that always are.
    pub skip: &'static [&'static str],
    /// What sort of report it is.
    pub kind: CrashKind,
    /// How bad it is.
    pub severity: Severity,
    /// Whether a trial is over with it.
    pub ends_trial: bool,
    /// Whether it belongs to the report before it, if one has just begun.
    pub continues: bool,
    /// Whether the title does without a function where there is none.
    pub function_optional: bool,
    /// Whether the line may come without printk's time where other lines have
    /// it: a boot loader or a program that reads debugfs prints it.
    pub unstamped: bool,
    /// Whether its being the first line means that the real one was lost.
    pub cut: bool,
}

/// Where a marker must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// First in the kernel's text, or behind a subsystem's tag. The words are
    /// the kernel's alone, so a log without printk's times will do.
    Start,
    /// The same, in a line that is certainly the kernel's.
    StartOfKernelLine,
    /// Anywhere in the line if that is certainly the kernel's, else first:
    /// two CPUs may have written into one line.
    Anywhere,
}

/// Where the function that a title names is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSelector {
    /// The title names none.
    Nowhere,
    /// The instruction pointer.
    Ip,
    /// The instruction pointer, then the call trace.
    IpThenTrace,
    /// The call trace.
    Trace,
    /// `in FUNCTION` of the first line, then the call trace.
    HeaderThenTrace,
    /// A warning: the instruction pointer and what is printed right behind
    /// it, else the call trace.
    Warn,
    /// The first `at: FUNCTION` behind a line with these words.
    At(&'static str),
    /// The first two `at: FUNCTION`, then the frames behind them.
    AtThenTrace,
    /// The frames behind the first line with these words.
    TraceAfter(&'static str),
    /// The frames right behind the first line, no heading between.
    Frames,
    /// The address that a lock was released at, then the call trace.
    Unlock,
    /// A CPU that is stuck: what it was called to do, not where it happened
    /// to be.
    Stall,
    /// The same, behind the timer interrupt that found it.
    RcuStall,
    /// The same for the workers of a stuck pool.
    Workers,
    /// Like `Stall`, from the call trace alone.
    StallTrace,
    /// A blocked task: who waits, not what it waits with.
    Hung,
}

impl Signature {
    /// A row with what most rows have.
    pub(super) const fn new(
        name: &'static str,
        kind: CrashKind,
        marker: &'static str,
        title: &'static str,
    ) -> Self {
        Self {
            name,
            marker,
            anchor: Anchor::Start,
            pattern: "",
            within: "",
            title,
            selector: FrameSelector::Nowhere,
            skip: &[],
            kind,
            severity: Severity::Error,
            ends_trial: true,
            continues: false,
            function_optional: false,
            unstamped: false,
            cut: false,
        }
    }

    pub(super) const fn anywhere(mut self) -> Self {
        self.anchor = Anchor::Anywhere;
        self
    }

    pub(super) const fn kernel_line(mut self) -> Self {
        self.anchor = Anchor::StartOfKernelLine;
        self
    }

    pub(super) const fn pattern(mut self, pattern: &'static str) -> Self {
        self.pattern = pattern;
        self
    }

    pub(super) const fn within(mut self, within: &'static str) -> Self {
        self.within = within;
        self
    }

    pub(super) const fn select(mut self, selector: FrameSelector) -> Self {
        self.selector = selector;
        self
    }

    pub(super) const fn skip(mut self, names: &'static [&'static str]) -> Self {
        self.skip = names;
        self
    }

    pub(super) const fn fatal(mut self) -> Self {
        self.severity = Severity::Fatal;
        self
    }

    pub(super) const fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self.ends_trial = false;
        self
    }

    pub(super) const fn continues(mut self) -> Self {
        self.continues = true;
        self
    }

    pub(super) const fn else_without(mut self) -> Self {
        self.function_optional = true;
        self
    }

    pub(super) const fn unstamped(mut self) -> Self {
        self.unstamped = true;
        self
    }

    pub(super) const fn cut(mut self) -> Self {
        self.cut = true;
        self
    }
}

/// A row with its patterns compiled.
pub(super) struct Compiled {
    pub(super) signature: &'static Signature,
    pub(super) pattern: Option<Regex>,
    pub(super) within: Option<Regex>,
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
    "[ ",
    "Oops: ",
    "TASK stack guard page: ",
    "rust_kernel: ",
];

/// A signature found in a line.
pub(super) struct Match {
    pub(super) row: &'static Compiled,
    /// Where the marker stands in the line's text, in bytes.
    pub(super) at: usize,
    /// Groups of the row's pattern, the first being the whole.
    pub(super) groups: Vec<String>,
}

/// What the log around a line is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// The kernel's lines are stamped here, so a bare line is a program's.
    Stamped,
    /// They are not, or there are too few to tell.
    Bare,
}

/// The first row that matches the line.
pub(super) fn recognise(line: &Line<'_>, around: Surroundings) -> Option<Match> {
    if line.origin == Origin::UserSpace {
        return None;
    }
    let surely_kernel = line.origin == Origin::Kernel;
    let misplaced = !surely_kernel && around == Surroundings::Stamped;
    COMPILED.iter().find_map(|row| {
        if misplaced && !row.signature.unstamped {
            return None;
        }
        let at = anchored_at(row.signature, &line.text, surely_kernel)?;
        let rest = &line.text[at..];
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

/// Where the marker stands, if it stands where it must.
fn anchored_at(signature: &Signature, text: &str, surely_kernel: bool) -> Option<usize> {
    if signature.anchor == Anchor::StartOfKernelLine && !surely_kernel {
        return None;
    }
    let mut at = text.len() - text.trim_start().len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(signature.marker) {
            return Some(at);
        }
        let Some(tag) = TAGS.iter().find(|tag| rest.starts_with(**tag)) else {
            break;
        };
        at += tag.len();
    }
    if signature.anchor != Anchor::Anywhere || !surely_kernel {
        return None;
    }
    let found = text.find(signature.marker)?;
    let before = &text[..found];
    // Part of another word, or what the kernel quotes of somebody's.
    let joined = before.ends_with(|c: char| c.is_alphanumeric() || "_'\"`=".contains(c));
    let quoted = before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1;
    (!joined && !quoted).then_some(found)
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
    fn a_quoted_marker_is_no_crash() {
        let quoted =
            "[    1.000000] FAT-fs: unrecognized mount option \"a BUG: KASAN: b in c+0x1/0x2\"";
        assert!(name(quoted).is_none());
    }
}
