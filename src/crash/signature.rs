//! What a signature is. The rows stand in `signatures`; how one is matched
//! against a line is decided in `recognise`.

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
    /// What one of the next lines must be for the line to begin a report, and
    /// within how many lines; empty where the line alone is enough.
    pub confirm: (&'static str, usize),
    /// A first line that right behind this one is the same event: the kernel
    /// prints what a `WARN()` says before the `WARNING:`.
    pub absorbs: &'static str,
}

/// Where a marker must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// First in the kernel's text, or behind a subsystem's tag. The words are
    /// the kernel's alone, so a log without printk's times will do.
    Start,
    /// The same, in a line that is certainly the kernel's.
    KernelLineStart,
    /// Anywhere in the line if that is certainly the kernel's, else first:
    /// two CPUs may have written into one line.
    Anywhere,
    /// Anywhere in the line; the pattern is matched from the beginning of the
    /// kernel's text.
    Within,
}

/// Where the function that a title names is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSelector {
    /// The title names none.
    Nowhere,
    /// The program counter.
    Pc,
    /// The program counter, then the call trace.
    PcThenTrace,
    /// The call trace.
    Trace,
    /// `in FUNCTION` of the first line, then the call trace.
    HeaderThenTrace,
    /// The first line alone.
    Named,
    /// A warning: the program counter and what is printed right behind it,
    /// else the call trace.
    Warn,
    /// The first `at: FUNCTION` behind a line with these words.
    LockSite(&'static str),
    /// The first two `at: FUNCTION`, then the frames behind them.
    TwoLockSites,
    /// The frames behind the first line with these words.
    TraceAfter(&'static str),
    /// The frames right behind the first line, no heading between.
    Following,
    /// The address that a lock was released at, then the call trace.
    ReleaseSite,
    /// A CPU that is stuck: what it was called to do, not where it happened
    /// to be.
    Stuck,
    /// Like `Stuck`, from the call trace alone.
    StuckTrace,
    /// Like `Stuck`, behind the timer interrupt that found it.
    RcuStall,
    /// Like `Stuck` for the workers of a stuck pool.
    Workers,
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
            confirm: ("", 0),
            absorbs: "",
        }
    }

    pub(super) const fn anywhere(mut self) -> Self {
        self.anchor = Anchor::Anywhere;
        self
    }

    pub(super) const fn kernel_line(mut self) -> Self {
        self.anchor = Anchor::KernelLineStart;
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

    pub(super) const fn within_line(mut self) -> Self {
        self.anchor = Anchor::Within;
        self
    }

    pub(super) const fn confirm(mut self, pattern: &'static str, lines: usize) -> Self {
        self.confirm = (pattern, lines);
        self
    }

    pub(super) const fn absorbs(mut self, pattern: &'static str) -> Self {
        self.absorbs = pattern;
        self
    }
}
