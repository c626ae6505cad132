//! How long a report may be, and how long it is waited for.

/// Most lines of a report: backtraces of many CPUs are long.
pub(super) const MOST_LINES: usize = 2000;
/// Most bytes of a report.
pub(super) const MOST_BYTES: usize = 512 << 10;
/// Most lines of raw stack: the largest kernel stack (64 KiB, powerpc and
/// KASAN builds), 16 bytes a line.
pub(super) const MOST_STACK_LINES: usize = 4096;
/// Lines without any sign of a report, after which it has ended.
pub(super) const QUIET: usize = 40;
/// The same after the line that ends a report. A panic may still come.
pub(super) const QUIET_AFTER_END: usize = 15;
/// The same while the part that every such report has is still to come:
/// another CPU may print in between.
pub(super) const QUIET_UNFINISHED: usize = 400;
/// Behind so many foreign lines only what is certainly a report's counts.
pub(super) const NEAR: usize = 6;
/// Other callers' lines, after which a report that says nothing has ended.
pub(super) const PASSED_BY: usize = 4000;
/// A report's own lines within which it repeats in other words what it is.
pub(super) const BEGINNING: usize = 14;
/// Lines between what a `WARN()` says and its `WARNING:`.
pub(super) const MESSAGE_BEFORE: usize = 4;
/// Lines of a report that may still be set aside for one that begins inside.
pub(super) const MOST_SUSPENDED: usize = 400;

/// Lines behind the first that may name a stuck CPU.
pub(super) const STUCK_WITHIN: usize = 6;
