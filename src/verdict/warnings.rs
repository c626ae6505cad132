//! Warnings of the kernel: those that the candidate shows and its baseline does
//! not are a failure, as a new taint is to the kernel's own test suites.

use crate::model::Trial;

/// A sort of warning, over all trials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarningSum<'a> {
    /// Its title.
    pub title: &'a str,
    /// How many there were.
    pub count: u64,
    /// In how many trials.
    pub trials: usize,
    /// The first line of the first of them.
    pub line: &'a str,
}

/// The warnings of a run, in the order in which they first came.
pub fn warnings(trials: &[Trial]) -> Vec<WarningSum<'_>> {
    let mut sums: Vec<WarningSum<'_>> = Vec::new();
    for warning in trials.iter().flat_map(|trial| &trial.warnings) {
        match sums.iter_mut().find(|sum| sum.title == warning.title) {
            Some(sum) => {
                sum.count = sum.count.saturating_add(warning.count);
                sum.trials += 1;
            }
            None => sums.push(WarningSum {
                title: &warning.title,
                count: warning.count,
                trials: 1,
                line: &warning.first_line,
            }),
        }
    }
    sums
}

/// Those that the baseline did not show; without a baseline, all.
pub fn new_warnings<'a>(trials: &'a [Trial], baseline: Option<&[Trial]>) -> Vec<WarningSum<'a>> {
    let known = baseline.map(warnings).unwrap_or_default();
    let mut new = warnings(trials);
    new.retain(|sum| known.iter().all(|known| known.title != sum.title));
    new
}

/// The first of them in words, and how many sorts there are besides it.
pub(super) fn told(warnings: &[WarningSum<'_>]) -> Option<String> {
    let first = warnings.first()?;
    let times = match first.count {
        1 => "once".to_owned(),
        n => format!("{n} times in {} trials", first.trials),
    };
    let more = match warnings.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} other warnings"),
    };
    Some(format!("`{}`, {times}{more}", first.title))
}
