//! Guests that die in boot are booted again, a bounded number of times. An
//! emulator can kill a kernel there now and then; one that dies each time is at
//! fault itself. Pure.

use crate::model::{Outcome, Trial, TrialPhase};

/// Boots of one trial at most.
pub const MOST_BOOTS: usize = 3;

/// Makes a trial; makes it again while its guest dies in boot, after `again` was
/// told of it. What was seen of the boots before stands in the notes.
pub(super) fn persist<E>(
    mut once: impl FnMut() -> Result<Trial, E>,
    again: impl Fn(&Trial),
) -> Result<Trial, E> {
    let mut died: Vec<String> = Vec::new();
    loop {
        let mut trial = once()?;
        let in_boot = trial.phase == TrialPhase::Boot
            && matches!(trial.outcome, Outcome::Crashed | Outcome::Hung);
        if in_boot {
            died.push(trial.reason.clone());
            if died.len() < MOST_BOOTS {
                again(&trial);
                continue;
            }
            trial.reason = format!("{} ({MOST_BOOTS} boots of {MOST_BOOTS})", trial.reason);
        }
        if !died.is_empty() {
            trial.notes.push(format!(
                "{} of {} boots died before init ran: {}",
                died.len(),
                died.len() + usize::from(!in_boot),
                died.join("; ")
            ));
        }
        return Ok(trial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dies_in(phase: TrialPhase) -> Trial {
        Trial {
            phase,
            ..Trial::new(0, 1, Outcome::Crashed, "Oops in f")
        }
    }

    #[test]
    fn a_boot_that_died_is_made_again_and_told() {
        let mut boots = 0;
        let trial = persist(
            || {
                boots += 1;
                Ok::<_, ()>(match boots {
                    1 => dies_in(TrialPhase::Boot),
                    _ => Trial::new(0, 1, Outcome::Survived, "no crash"),
                })
            },
            |_| {},
        );
        let trial = trial.unwrap();
        assert_eq!((trial.outcome, boots), (Outcome::Survived, 2));
        assert_eq!(
            trial.notes,
            ["1 of 2 boots died before init ran: Oops in f"]
        );
    }

    #[test]
    fn a_kernel_that_dies_in_every_boot_crashed() {
        let told = std::cell::Cell::new(0);
        let mut boots = 0;
        let trial = persist(
            || {
                boots += 1;
                Ok::<_, ()>(dies_in(TrialPhase::Boot))
            },
            |_| told.set(told.get() + 1),
        );
        let trial = trial.unwrap();
        assert_eq!((trial.outcome, boots), (Outcome::Crashed, MOST_BOOTS));
        assert_eq!(told.get(), MOST_BOOTS - 1);
        assert!(trial.reason.contains("3 boots of 3"), "{}", trial.reason);
    }

    #[test]
    fn a_crash_behind_the_boot_is_not_tried_again() {
        let mut trials = 0;
        let trial = persist(
            || {
                trials += 1;
                Ok::<_, ()>(dies_in(TrialPhase::Setup))
            },
            |_| {},
        );
        assert_eq!((trial.unwrap().notes.len(), trials), (0, 1));
        assert_eq!(
            persist(|| Err::<Trial, _>("stopped"), |_| {}),
            Err("stopped")
        );
    }
}
