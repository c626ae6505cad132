//! The stop rule in words.

use super::{CLEAN_TRIALS, LONG_TRIAL_CYCLES, LONG_TRIAL_S, Plan, USUAL_TIME_S};
use crate::verdict::format::{percent, seconds};

impl Plan {
    /// The rule in words, to be printed before the first trial: every branch
    /// that can decide.
    pub fn sentence(&self) -> String {
        let sure = percent(self.confidence);
        let goes_on = match self.budget_s {
            Some(budget_s) => format!(
                "then longer trials of the candidate until {} are over, which end it whatever it \
                 has come to",
                seconds(budget_s)
            ),
            None => format!(
                "then the candidate until it has {CLEAN_TRIALS} clean trials or {} are over, and \
                 one trial of {LONG_TRIAL_CYCLES} cycles or {}",
                seconds(USUAL_TIME_S),
                seconds(self.longest_trial_s.min(LONG_TRIAL_S)),
            ),
        };
        format!(
            "fixed beforehand: one trial of the baseline and a short one of the candidate; the \
             baseline until it has crashed {} times (r crashes in n trials, exposure S); the \
             candidate until two things hold at c = {sure}: m of its trials were clean for as \
             long, in seconds and in cycles, as the slowest of these crashes took, with (n+1) \
             times Fisher's p for r of n against 0 of m at most 1-c; and, unless a test rejects \
             that the times are exponential, its clean exposure is S((1-c)^(-1/r) - 1) in seconds \
             and in cycles; near misses instead of crashes are counted per boot by the same \
             rule, and with the same exposure in cycles; {goes_on}; a crash or hang of the \
             candidate ends it at once; trials of {} at most, {} of exposure for each kernel",
            self.crashes,
            seconds(self.longest_trial_s),
            seconds(self.max_exposure_s),
        )
    }
}
