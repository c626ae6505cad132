//! The verdict on a run, by itself or beside a baseline. "Nothing happened" is
//! never a pass by itself: every trial asked for must have survived, each with
//! its own proof of exposure; readers must have been seen at the window; and a
//! clean run says that it had no positive control and how rare a crash it could
//! have missed.

use super::format::seconds;
use super::trials::{counts, run_stats};
use crate::model::{Comparison, CrashClass, Oracle, Outcome, Settings, StateCheck, Trial, Verdict};
use crate::stats::mean_above;

/// What [`CrashClass::Target`] is called where the readers raced for it.
const OUR_RACE: &str = "the race under test";
/// What it is called where they read something else.
const M_SHOW: &str = "the race of m_show() and module_flags()";

/// The verdict on a run, and why in one sentence, from all that it hangs on.
/// `finished` is false for a run that was cut short: that shows less than was
/// asked for.
///
/// Beside a baseline the comparison may say more. It can confirm a clean run or
/// weaken it; it cannot mend a kernel that crashed in another way, or a run that
/// broke. It names a target that is not the default: a fix is confirmed for
/// those readers only.
pub fn verdict_of_run(
    settings: &Settings,
    trials: &[Trial],
    states: &[StateCheck],
    finished: bool,
    comparison: Option<&Comparison>,
) -> (Verdict, String) {
    let alone = verdict_alone(settings, trials, states, finished);
    match (alone.0, comparison) {
        (Verdict::Pass | Verdict::Inconclusive, Some(made)) => {
            let reason = settings.about(made.reason.clone());
            earned((made.conclusion.verdict(), reason), settings, trials)
        }
        _ => alone,
    }
}

fn verdict_alone(
    settings: &Settings,
    trials: &[Trial],
    states: &[StateCheck],
    finished: bool,
) -> (Verdict, String) {
    let race = settings.other_target().map_or(OUR_RACE, |_| M_SHOW);
    let of_trials = of_the_trials(race, trials, settings.trials);
    let (verdict, reason) = earned(of_trials, settings, trials);
    let reason = settings.about(reason);
    if let (true, Some(failed)) = (verdict != Verdict::Fail, failed_states(states)) {
        return (Verdict::Fail, failed);
    }
    if !finished {
        let verdict = match verdict {
            Verdict::Pass => Verdict::Inconclusive,
            other => other,
        };
        return (verdict, format!("cut short: {reason}"));
    }
    // An untainted module cannot crash the kernel, so its silence is no pass; it
    // counts beside a kernel that does show near misses.
    if (verdict, settings.oracle) == (Verdict::Pass, Oracle::NearMiss) {
        let cycles: u64 = trials.iter().map(|trial| trial.cycles).sum();
        let reason = format!(
            "no near miss in {cycles} cycles, and no control: count them on a kernel without the \
             fix, with the same settings"
        );
        return (Verdict::Inconclusive, reason);
    }
    // Readers of another target never call m_show(): their survival is none of
    // the race that a pass is about. It counts beside a kernel that crashed
    // under the same readers.
    if verdict == Verdict::Pass && settings.other_target().is_some() {
        let reason = format!("{reason}; nothing is shown of {M_SHOW}, which they never reach");
        return (Verdict::Inconclusive, reason);
    }
    (verdict, reason)
}

/// A pass only where the window was visited.
fn earned(
    (verdict, reason): (Verdict, String),
    settings: &Settings,
    trials: &[Trial],
) -> (Verdict, String) {
    if verdict == Verdict::Pass && !window_visited(settings, trials) {
        let sum = |count: fn(&Trial) -> u64| trials.iter().map(count).sum::<u64>();
        let reason = format!(
            "no reader ever saw the module going, in {} reads and {} cycles: the window was not \
             visited",
            sum(|trial| trial.reads),
            sum(|trial| trial.cycles)
        );
        return (Verdict::Inconclusive, reason);
    }
    (verdict, reason)
}

/// Whether readers came to where the race is lost. A module reads `Unloading`
/// until `UNFORMED` is set: readers that never met the one show nothing about
/// the other, however often they saw the module `Live`. All trials together,
/// since a short one may miss it without harm.
///
/// Other targets do not show states: there any sighting has to do, which each
/// survivor has.
fn window_visited(settings: &Settings, trials: &[Trial]) -> bool {
    if settings.other_target().is_some() {
        return true;
    }
    let of_kernel = trials.iter().filter(|trial| counts(trial));
    of_kernel
        .map(|trial| trial.counters.sightings.unloading)
        .sum::<u64>()
        > 0
}

/// Which checks of the module's states failed, in one sentence.
fn failed_states(states: &[StateCheck]) -> Option<String> {
    let failed = states.iter().filter(|check| !check.ok);
    let first = failed.clone().next()?;
    Some(format!(
        "{} of {} checks of the module's states failed; the first: {} {}: expected `{}`, seen `{}`",
        failed.count(),
        states.len(),
        first.held.as_str(),
        first.what,
        first.expected,
        first.seen
    ))
}

fn of_the_trials(race: &str, trials: &[Trial], asked: u32) -> (Verdict, String) {
    let stats = run_stats(trials);
    if stats.crashes > 0 {
        return (Verdict::Fail, crashed(race, trials));
    }
    if let Some(reason) = bad_lines(trials) {
        return (Verdict::Fail, reason);
    }
    // A hang fails the kernel; broken trials say nothing of it, and a run with
    // one is not the run that was asked for.
    let worst = [
        (Outcome::Hung, Verdict::Fail, "hung"),
        (Outcome::Broken, Verdict::Broken, "broke"),
        (
            Outcome::Unsupported,
            Verdict::Inconclusive,
            "cannot be raced",
        ),
    ];
    for (outcome, verdict, word) in worst {
        let of: Vec<&Trial> = trials
            .iter()
            .filter(|trial| trial.outcome == outcome)
            .collect();
        if let Some(first) = of.first() {
            let trials = number(trials.len(), "trial");
            return (
                verdict,
                format!("{} of {trials} {word}: {}", of.len(), first.reason),
            );
        }
    }
    let survived = format!(
        "{} survived {}",
        number(trials.len(), "trial"),
        seconds(stats.exposure_s)
    );
    if stats.survived == 0 || stats.survived < asked {
        let asked = number(asked as usize, "trial");
        return (
            Verdict::Inconclusive,
            format!("only {survived}; {asked} asked for"),
        );
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

/// Lines that no kernel in order prints fail it, crash or none: a near miss is
/// the race lost where it cannot crash, and a list that contradicts itself is
/// not what a fix may leave behind.
fn bad_lines(trials: &[Trial]) -> Option<String> {
    let sum = |count: fn(&Trial) -> u64| trials.iter().map(count).sum::<u64>();
    let misses = sum(|trial| trial.counters.lines.near_misses);
    let bad = sum(|trial| trial.counters.lines.total());
    let cycles = sum(|trial| trial.cycles);
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
fn crashed(race: &str, trials: &[Trial]) -> String {
    let crashed: Vec<&Trial> = trials
        .iter()
        .filter(|trial| trial.outcome == Outcome::Crashed)
        .collect();
    let is_target = |trial: &&&Trial| {
        let crash = trial.crash.as_ref();
        !trial.phase.is_before_race()
            && crash.is_some_and(|crash| crash.class == CrashClass::Target)
    };
    let target = crashed.iter().filter(is_target).count();
    let told = crashed.iter().find(is_target).or(crashed.first());
    let title = told.map_or("", |trial| trial.reason.as_str());
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

fn number(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

#[cfg(test)]
mod tests;
