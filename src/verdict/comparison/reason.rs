//! The parts of the sentence that says why a comparison concludes as it does.

use super::judge::Gap;
use crate::model::{Outcome, Trial};
use crate::verdict::format::{seconds, significant};

/// What a candidate still needs, in words; empty when nothing.
pub(super) fn missing(gap: &Gap) -> Vec<String> {
    let mut missing = Vec::new();
    match gap.needed_trials {
        None => missing.push("a baseline that crashes in more of its trials, and no".to_owned()),
        Some(needed) => {
            let more = needed.saturating_sub(gap.trials);
            if more > 0 {
                missing.push(format!(
                    "{more} clean {}, each as long as the slowest crash ({}, {} cycles),",
                    if more == 1 { "trial" } else { "trials" },
                    seconds(gap.long_s),
                    significant(gap.long_cycles, 3)
                ));
            }
        }
    }
    if gap.missing_s > 0.0 {
        missing.push(format!("{} of exposure", seconds(gap.missing_s)));
    }
    if gap.missing_cycles > 0.0 {
        missing.push(format!(
            "{} cycles",
            significant(gap.missing_cycles.ceil(), 3)
        ));
    }
    missing
}

pub(super) fn unclean(trial: &Trial) -> String {
    let how = match (&trial.crash, trial.outcome) {
        (Some(crash), _) => format!("crashed in another way ({})", crash.title),
        (None, Outcome::Hung) => "hung".to_owned(),
        (None, Outcome::Died) => "ended with the machine, cause unseen".to_owned(),
        (None, _) => "crashed without a report that names the race".to_owned(),
    };
    format!(
        "trial {} of the candidate {how}: it is not clean, and nothing is shown about the race",
        trial.index
    )
}

pub(super) fn counted(count: u32, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

pub(super) fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}
