//! The result of who raced, held against the kernel's taint, the recorder and
//! the time asked for: it survived only if all agree.

use super::evidence::Evidence;
use super::{OutcomeAndReason, broken};
use crate::model::Outcome;
use crate::vm::protocol::{Ending, Finished};

/// Share of the time asked for that must have been raced.
const ENOUGH: f64 = 0.99;

/// How it ended, in a word.
pub(super) fn said(finished: &Finished) -> &'static str {
    match finished.ending {
        Ending::Survived => "survived",
        Ending::Hung => "hung",
        Ending::Broken => "broken",
        Ending::Unsupported => "unsupported",
    }
}

pub(super) fn judge(finished: &Finished, evidence: &Evidence) -> OutcomeAndReason {
    match finished.ending {
        Ending::Unsupported => return (Outcome::Unsupported, finished.reason.clone()),
        Ending::Broken => return broken(finished.reason.clone()),
        Ending::Hung => return (Outcome::Hung, finished.reason.clone()),
        Ending::Survived => {}
    }
    let last = &evidence.last;
    if last.present && (last.cycles, last.reads) != (finished.cycles, finished.reads) {
        return broken(format!(
            "who raced counts {} cycles and {} reads, the flight recorder {} and {}",
            finished.cycles, finished.reads, last.cycles, last.reads
        ));
    }
    if finished.cycles == 0 {
        return broken(format!(
            "not one load/unload cycle was completed ({:?})",
            finished.counters.errors
        ));
    }
    let seen = &finished.counters.sightings;
    if seen.live + seen.loading + seen.unloading == 0 {
        return broken(format!(
            "no reader ever saw the module in {} reads and {} cycles: the race was none",
            finished.reads, finished.cycles
        ));
    }
    if finished.raced_s < ENOUGH * evidence.duration_s {
        return broken(format!(
            "raced for {:.1} s only, of {:.1} s asked for",
            finished.raced_s, evidence.duration_s
        ));
    }
    (
        Outcome::Survived,
        format!("no crash in {:.1} s", finished.raced_s),
    )
}
