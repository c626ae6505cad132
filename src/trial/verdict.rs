//! The verdict of a run: its trials → one word, one sentence, one exit code.
//! Pure. "Nothing happened" is never a pass by itself: every trial asked for
//! must have survived, each with its own proof of exposure.

use crate::model::{CrashClass, ExitCode, Outcome, Trial, Verdict};

/// What a run's trials say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// What scripts see.
    pub exit: ExitCode,
}

/// Judges `trials` of a run that asked for `asked` of them.
pub fn judge(trials: &[Trial], asked: u32) -> Judgement {
    let count = |outcome: Outcome| {
        trials
            .iter()
            .filter(|trial| trial.outcome == outcome)
            .count()
    };
    let first = |outcome: Outcome| {
        trials
            .iter()
            .find(|trial| trial.outcome == outcome)
            .map_or("", |trial| trial.reason.as_str())
    };
    let total = trials.len();
    let say = |verdict, reason, exit| Judgement {
        verdict,
        reason,
        exit,
    };

    let (crashed, hung) = (count(Outcome::Crashed), count(Outcome::Hung));
    if crashed > 0 {
        return say(
            Verdict::Fail,
            crash_reason(trials, crashed, total),
            ExitCode::Crashed,
        );
    }
    if hung > 0 {
        let reason = format!("{hung} of {total} trials hung: {}", first(Outcome::Hung));
        return say(Verdict::Fail, reason, ExitCode::Crashed);
    }
    let broken = count(Outcome::Broken);
    if broken > 0 {
        let reason = format!(
            "{broken} of {total} trials broke: {}",
            first(Outcome::Broken)
        );
        return say(Verdict::Broken, reason, ExitCode::Broken);
    }
    let unsupported = count(Outcome::Unsupported);
    if unsupported > 0 {
        let reason = format!("unsupported: {}", first(Outcome::Unsupported));
        return say(Verdict::Inconclusive, reason, ExitCode::Unsupported);
    }
    if total == 0 || total < asked as usize {
        let reason = format!("only {total} of {asked} trials were made");
        return say(Verdict::Inconclusive, reason, ExitCode::Inconclusive);
    }
    let exposure_s: f64 = trials.iter().map(|trial| trial.exposure_s).sum();
    let reason = format!(
        "survived, no positive control: no crash in {total} trials and {exposure_s:.1} s of race"
    );
    say(Verdict::Pass, reason, ExitCode::Survived)
}

fn crash_reason(trials: &[Trial], crashed: usize, total: usize) -> String {
    let crashes = || {
        trials.iter().filter_map(|trial| {
            trial
                .crash
                .as_ref()
                .filter(|_| trial.outcome == Outcome::Crashed)
        })
    };
    let target = crashes()
        .filter(|crash| crash.class == CrashClass::Target)
        .count();
    let title = crashes()
        .find(|crash| target == 0 || crash.class == CrashClass::Target)
        .map_or("", |crash| crash.title.as_str());
    let which = match (target, crashed - target) {
        (_, 0) => "with the target race".to_owned(),
        (0, _) => "but not with the target race".to_owned(),
        (target, other) => format!("{target} with the target race, {other} otherwise"),
    };
    format!("{crashed} of {total} trials crashed, {which}: {title}")
}
