//! What failed, in words.

use crate::model::{Outcome, Trial};
use crate::verdict::trials::{is_target, total};

/// Lines that no kernel in order prints fail it, crash or none: a near miss is
/// the race lost where it cannot crash, and a list that contradicts itself is
/// not what a fix may leave behind.
pub(super) fn bad_lines(trials: &[Trial]) -> Option<String> {
    let misses = total(trials, |trial| trial.counters.lines.near_misses);
    let bad = total(trials, |trial| trial.counters.lines.total());
    let cycles = total(trials, |trial| trial.cycles);
    if misses > 0 {
        return Some(format!(
            "{misses} near misses in {cycles} cycles: MODULE_STATE_UNFORMED was set inside m_show()"
        ));
    }
    let example = trials.iter().flat_map(|trial| &trial.bad_lines).next();
    let example = example.map_or(String::new(), |line| {
        format!(", such as `{}`: {}", line.line, line.why)
    });
    (bad > 0).then(|| format!("{bad} lines of /proc/modules that cannot be{example}"))
}

/// Which crash it was: the race, or a fail of another kind.
pub(super) fn crashed(race: &str, trials: &[Trial]) -> String {
    let crashed: Vec<&Trial> = trials
        .iter()
        .filter(|trial| trial.outcome == Outcome::Crashed)
        .collect();
    let target = crashed.iter().filter(|trial| is_target(trial)).count();
    let told = crashed.iter().find(|trial| is_target(trial));
    let title = told
        .or(crashed.first())
        .map_or("", |trial| trial.reason.as_str());
    let which = match (target, crashed.len() - target) {
        (_, 0) => format!("in {race}"),
        (0, _) => format!("but not in {race}"),
        (target, other) => format!("{target} in {race}, {other} otherwise"),
    };
    format!(
        "{} of {} crashed, {which}: {title}",
        crashed.len(),
        number(trials.len(), "trial")
    )
}

pub(super) fn number(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
