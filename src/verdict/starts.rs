//! How the trials of a run started, and whether one template's clones differ
//! from the others': then a result would hang on one boot.

use super::trials::{Clock, Event, counts, observations};
use crate::model::{Outcome, StartStats, StartedBy, TemplateStats, Trial};
use crate::stats::{Observation, Rate, compare_rates};

/// Below this chance, shared out among the templates (Bonferroni), a template
/// is told to differ.
const LEVEL: f64 = 0.01;

/// How the trials started; None where none says it, as on a bare machine.
pub fn start_stats(trials: &[Trial]) -> Option<StartStats> {
    let started = || {
        trials
            .iter()
            .filter_map(|trial| Some((trial, trial.start.as_ref()?)))
    };
    started().next()?;
    let by = |how| started().filter(move |(_, start)| start.how == how);
    let number = |how| u32::try_from(by(how).count()).unwrap_or(u32::MAX);
    let mut prepared: Vec<f64> = trials.iter().filter_map(|trial| trial.prepared_s).collect();
    prepared.sort_by(f64::total_cmp);
    Some(StartStats {
        boots: number(StartedBy::Boot),
        clones: number(StartedBy::Clone),
        templates: templates(trials),
        private_mib_max: by(StartedBy::Clone)
            .filter_map(|(_, start)| start.private_mib)
            .reduce(f64::max),
        prepared_s: prepared.get(prepared.len() / 2).copied(),
    })
}

fn template_of(trial: &Trial) -> Option<u32> {
    trial.start.as_ref()?.template
}

fn templates(trials: &[Trial]) -> Vec<TemplateStats> {
    let mut numbers: Vec<u32> = trials.iter().filter_map(template_of).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let counted = || trials.iter().filter(|trial| counts(trial)).cloned();
    numbers
        .into_iter()
        .map(|number| {
            let (ours, others): (Vec<Trial>, Vec<Trial>) = counted()
                .filter(|trial| template_of(trial).is_some())
                .partition(|trial| template_of(trial) == Some(number));
            let crashed = |trial: &&Trial| trial.outcome == Outcome::Crashed;
            TemplateStats {
                template: number,
                clones: u32::try_from(ours.len()).unwrap_or(u32::MAX),
                crashes: u32::try_from(ours.iter().filter(crashed).count()).unwrap_or(u32::MAX),
                cycles: ours.iter().map(|trial| trial.cycles).sum(),
                p_same: p_same(&ours, &others),
            }
        })
        .collect()
}

/// Crashes per cycle of ours against the others': exact, and cheap enough for
/// every trial of a long run.
fn p_same(ours: &[Trial], others: &[Trial]) -> Option<f64> {
    let rate = |trials: &[Trial]| {
        let observed = observations(trials, Clock::Cycles, Event::Crash).ok()?;
        let crashed = observed.iter().filter(|one| one.is_event());
        Some(Rate {
            crashes: u32::try_from(crashed.count()).ok()?,
            exposure: observed.iter().map(Observation::exposure).sum(),
        })
    };
    let rates = compare_rates(rate(ours)?, rate(others)?, 0.95).ok()?;
    Some(rates.p_two_sided)
}

/// The template whose clones differ most from the others', if they do. One that
/// differs makes those differ that it is compared with, so only one is told.
pub fn template_that_differs(stats: &StartStats) -> Option<u32> {
    let limit = LEVEL / stats.templates.len().max(1) as f64;
    let compared = (stats.templates.iter()).filter_map(|one| Some((one.p_same?, one.template)));
    let (p, template) = compared.min_by(|one, other| one.0.total_cmp(&other.0))?;
    (p < limit).then_some(template)
}

/// How the trials started, in a line.
pub fn starts_sentence(stats: &StartStats) -> String {
    let many =
        |count: usize, of: &str| format!("{count} {of}{}", if count == 1 { "" } else { "s" });
    let mut parts = Vec::new();
    if stats.boots > 0 {
        parts.push(many(stats.boots as usize, "boot"));
    }
    if stats.clones > 0 {
        let mut clones = format!(
            "{} of {}",
            many(stats.clones as usize, "clone"),
            many(stats.templates.len(), "template")
        );
        if let Some(mib) = stats.private_mib_max {
            clones += &format!(" ({mib:.0} MiB of memory each at most)");
        }
        parts.push(clones);
    }
    let mut sentence = parts.join(", ");
    if let Some(prepared_s) = stats.prepared_s {
        sentence += &format!("; {prepared_s:.2} s from the module's first load to the gate");
    }
    if let Some(number) = template_that_differs(stats) {
        sentence +=
            &format!("; the clones of template {number} crash at another rate than the others'");
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Start;

    fn clone_of(template: u32, cycles: u64) -> Trial {
        Trial {
            start: Some(Start {
                private_mib: Some(40.0),
                ..Start::clone_of(template)
            }),
            cycles,
            cycles_to_crash: Some(cycles + 1),
            time_to_crash_s: Some(0.1),
            exposure_s: 0.1,
            prepared_s: Some(0.5),
            ..Trial::new(0, 0, Outcome::Crashed, "why")
        }
    }

    #[test]
    fn a_template_whose_clones_crash_at_another_rate_is_told() {
        let mut trials: Vec<Trial> = (0..40).map(|i| clone_of(i % 4, u64::from(i))).collect();
        let alike = start_stats(&trials).unwrap();
        assert_eq!((alike.clones, alike.templates.len()), (40, 4));
        assert_eq!(template_that_differs(&alike), None);
        for trial in trials.iter_mut().skip(2).step_by(4) {
            *trial = clone_of(2, 500 + trial.cycles);
        }
        let stats = start_stats(&trials).unwrap();
        assert_eq!(template_that_differs(&stats), Some(2));
        let sentence = starts_sentence(&stats);
        assert!(
            sentence.contains("clones of template 2 crash at another rate"),
            "{sentence}"
        );
        assert!(
            sentence.contains("40 clones of 4 templates (40 MiB"),
            "{sentence}"
        );
    }

    #[test]
    fn a_bare_machine_started_nothing() {
        let trial = Trial::new(0, 0, Outcome::Survived, "why");
        assert_eq!(start_stats(&[trial]), None);
    }
}
