//! The verdict on a run by itself, without a baseline. A clean run passes, but
//! says that it had no positive control and how rare a crash it could have
//! missed.

use super::exponential::mean_above;
use super::figures::seconds;
use super::run::run_stats;
use crate::model::{Outcome, Trial, Verdict};

/// The verdict on a run of `asked` trials, and why in one sentence. `finished`
/// is false for a run that was cut short: that shows less than was asked for.
pub fn verdict_alone(trials: &[Trial], asked: u32, finished: bool) -> (Verdict, String) {
    let stats = run_stats(trials);
    let bad = stats.crashes + stats.hangs;
    if bad > 0 {
        let kinds = [(stats.crashes, "crashed"), (stats.hangs, "hung")];
        let told: Vec<String> = kinds
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let reason = format!(
            "{} of {} in {}",
            told.join(" and "),
            number(bad + stats.survived, "trial"),
            seconds(stats.exposure_s)
        );
        return (Verdict::Fail, reason);
    }
    let because = |outcome| {
        let of = trials.iter().find(|trial| trial.outcome == outcome);
        of.map(|trial| trial.reason.clone())
    };
    if stats.survived == 0 {
        if let Some(reason) = because(Outcome::Unsupported).filter(|_| {
            trials
                .iter()
                .all(|trial| trial.outcome == Outcome::Unsupported)
        }) {
            return (Verdict::Broken, format!("cannot be raced: {reason}"));
        }
        let reason = because(Outcome::Broken).unwrap_or_else(|| "no trial ended".to_owned());
        return (Verdict::Broken, format!("no trial raced: {reason}"));
    }
    let survived = format!(
        "{} survived {}",
        number(stats.survived, "trial"),
        seconds(stats.exposure_s)
    );
    if !finished || stats.survived < asked {
        let reason = format!("only {survived}; {} asked for", number(asked, "trial"));
        return (Verdict::Inconclusive, reason);
    }
    if stats.exposure_s <= 0.0 || stats.cycles == 0 {
        let reason = format!("{survived} with {} cycles: nothing was raced", stats.cycles);
        return (Verdict::Inconclusive, reason);
    }
    let bound = mean_above(stats.exposure_s, 0.05).unwrap_or(0.0);
    let reason = format!(
        "survived, no positive control: {survived}, so a race that can be hit here at all \
         takes more than {} on average (95 %)",
        seconds(bound)
    );
    (Verdict::Pass, reason)
}

fn number(count: u32, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
