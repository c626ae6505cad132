//! Bytes of a log → crashes. Pure: no files, threads, clocks or processes.
//!
//! `prefilter` finds the few lines that could matter in many bytes,
//! `signatures` (a table) says what they are, `scanner` gathers the lines of a
//! report, `report` reads them, `guilty` names the function, `class` tells the
//! target race from its relatives.

mod body_line;
mod class;
mod guilty;
mod ignore;
mod metadata;
mod prefilter;
mod report;
mod report_builder;
mod scanner;
mod signature;
mod signatures;
mod skip;
mod stack_line;
mod taint;
mod title;

pub use crate::model::Crash;
pub use prefilter::TOKENS as MARKERS;
pub use scanner::{ScanEvent, Scanner, Sign};
pub use signature::{Anchor, FrameSelector, Signature};
pub use signatures::SIGNATURES;
pub use taint::{TAINTS, taint_mask, taints};

/// Every crash in a whole log.
pub fn scan(bytes: &[u8]) -> Vec<Crash> {
    let mut scanner = Scanner::new();
    let mut events = scanner.feed(bytes);
    events.extend(scanner.finish());
    events
        .into_iter()
        .filter_map(|event| match event {
            ScanEvent::Crash(crash) => Some(*crash),
            ScanEvent::Sign(_) => None,
        })
        .collect()
}
