//! What a trial came to: the judgement, with its times.

use super::evidence::Evidence;
use super::judge;
use super::race_clock::RaceClock;
use crate::model::{Crash, Outcome, TrialPhase, Warning};
use crate::vm::protocol::Racing;

/// What a trial came to.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub reason: String,
    /// Where the trial was when the kernel crashed or hung.
    pub phase: TrialPhase,
    /// The crash that ended it.
    pub crash: Option<Crash>,
    /// Reports that the kernel lived on after.
    pub warnings: Vec<Warning>,
    /// Time raced, seconds.
    pub exposure_s: f64,
    /// For a crash in the race: time from the start of the race, seconds.
    pub time_to_crash_s: Option<f64>,
    /// Chaos techniques at work.
    pub chaos: Vec<String>,
    /// The signals that the outcome rests on.
    pub signals: Vec<String>,
    /// Things worth knowing.
    pub notes: Vec<String>,
}

impl Conclusion {
    /// Judges the evidence and reads the times off the clock of its log.
    pub(crate) fn of(evidence: &Evidence, clock: &RaceClock, racing: Option<&Racing>) -> Self {
        let judged = judge(evidence);
        let crashed = (judged.crash.as_ref()).filter(|_| judged.outcome == Outcome::Crashed);
        let said_s = evidence.finished.as_ref().map(|finished| finished.raced_s);
        let (exposure_s, time_to_crash_s, clock_notes) = if judged.phase.is_before_race() {
            (0.0, None, Vec::new())
        } else {
            clock.times(crashed, &evidence.last, said_s)
        };
        let mut notes = clock_notes;
        notes.extend(judged.notes);
        Self {
            outcome: judged.outcome,
            reason: judged.reason,
            phase: judged.phase,
            crash: judged.crash,
            warnings: judged.warnings,
            exposure_s,
            time_to_crash_s,
            chaos: racing.map_or_else(Vec::new, |racing| racing.techniques.clone()),
            signals: judged.signals,
            notes,
        }
    }
}
