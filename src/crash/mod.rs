//! Bytes of a log → crashes. Pure: no files, threads, clocks or processes.
//!
//! `prefilter` finds the few lines that could matter in many bytes,
//! `recognise` says which row of `signatures` (a table) they match, where
//! `surroundings` allows it; `scanner` cuts the stream into lines,
//! `open_reports` gives each line to its report and `report_builder` gathers
//! them, `report` reads them: `stack_line` the frames,
//! `metadata` the rest; `guilty` names the function, `class` tells the target
//! race from its relatives.

mod body_line;
mod class;
mod guilty;
mod ignore;
mod limits;
mod log_line;
mod metadata;
mod open_reports;
mod panic;
mod prefilter;
mod recognise;
mod repeats;
mod report;
mod report_builder;
mod scanner;
mod signature;
mod signatures;
mod skip;
mod stack_line;
mod surroundings;
mod taint;
mod title;

pub use crate::model::Crash;
pub use prefilter::TOKENS as MARKERS;
pub use scanner::{ScanEvent, Scanner, Sign};
pub use signature::{Anchor, FrameSelector, Signature};
pub use signatures::SIGNATURES;
pub use skip::skip_rule;
pub use taint::{TAINTS, taint_mask, taints};

/// Every crash in a whole log, in the order of their first lines.
pub fn scan(bytes: &[u8]) -> Vec<Crash> {
    let mut scanner = Scanner::new();
    let mut events = scanner.feed(bytes);
    events.extend(scanner.finish());
    let mut crashes: Vec<Crash> = events
        .into_iter()
        .filter_map(|event| match event {
            ScanEvent::Crash(crash) => Some(*crash),
            ScanEvent::Sign(_) => None,
        })
        .collect();
    // One that began inside another is complete before it.
    crashes.sort_by_key(|crash| crash.line);
    crashes
}
