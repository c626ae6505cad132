//! A line of the log that belongs, or may belong, to a report.

use crate::console::{Caller, Line, Tag};

/// A line of the log, kept.
#[derive(Clone, Debug)]
pub(super) struct LogLine {
    /// Its number in the log, from 1.
    pub(super) number: u64,
    /// Its offset in the log.
    pub(super) offset: u64,
    /// printk's time, seconds since boot.
    pub(super) time_s: Option<f64>,
    /// Who printed it.
    pub(super) caller: Option<Caller>,
    /// What a vendor's tag says.
    pub(super) tag: Option<Tag>,
    /// Whether printk lost lines before it.
    pub(super) dropped_before: bool,
    /// Where the kernel's text begins in `whole`.
    pub(super) text_at: usize,
    /// The kernel's text.
    pub(super) text: String,
    /// The line as it stood.
    pub(super) whole: String,
    /// Whether it belongs to another report, which began inside this one.
    pub(super) foreign: bool,
}

impl LogLine {
    pub(super) fn new(number: u64, offset: u64, line: Line<'_>, whole: String) -> Self {
        Self {
            number,
            offset,
            time_s: line.time_s,
            caller: line.caller,
            tag: line.tag,
            dropped_before: line.dropped_before,
            text_at: line.text_at,
            text: line.text.into_owned(),
            whole,
            foreign: false,
        }
    }
}
