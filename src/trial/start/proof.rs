//! Whether clones work here: what `auto` concludes from the trials so far. Pure.
//!
//! A clone must end as a boot does: with the same crash, or surviving as well.
//! Until one has, boots and clones take turns, so nothing is lost by asking.

use crate::model::{Outcome, StartedBy, Trial};

/// Clones that may end as no boot did before `auto` gives them up.
const CHANCES: usize = 3;

/// How a trial ended, as far as it has to agree.
type Kind = (Outcome, Option<String>);

/// The trials so far, and what follows from them.
#[derive(Debug, Default)]
pub(in crate::trial) struct Proof {
    boots_begun: usize,
    clones_begun: usize,
    boots: Vec<Kind>,
    clones: Vec<Kind>,
    given_up: Option<String>,
}

impl Proof {
    /// How the next trial starts.
    pub(in crate::trial) fn next(&mut self) -> StartedBy {
        let clone = self.given_up.is_none()
            && (self.is_proven() || self.clones_begun < self.boots_begun.min(CHANCES));
        if clone {
            self.clones_begun += 1;
            StartedBy::Clone
        } else {
            self.boots_begun += 1;
            StartedBy::Boot
        }
    }

    /// A trial ended.
    pub(in crate::trial) fn hear(&mut self, how: StartedBy, trial: &Trial) {
        if matches!(trial.outcome, Outcome::Broken | Outcome::Unsupported) {
            return;
        }
        let title = trial.crash.as_ref().map(|crash| crash.title.clone());
        let kind = (trial.outcome, title);
        match how {
            StartedBy::Boot => self.boots.push(kind),
            StartedBy::Clone => self.clones.push(kind),
        }
        if self.clones.len() >= CHANCES && !self.boots.is_empty() && !self.is_proven() {
            self.give_up(format!(
                "{} clones ended as no boot did ({})",
                self.clones.len(),
                trial.reason
            ));
        }
    }

    /// Whether a clone has ended as a boot did.
    pub(in crate::trial) fn is_proven(&self) -> bool {
        self.clones.iter().any(|kind| self.boots.contains(kind))
    }

    /// No more clones. True for the first reason.
    pub(in crate::trial) fn give_up(&mut self, reason: String) -> bool {
        let first = self.given_up.is_none();
        self.given_up.get_or_insert(reason);
        first
    }

    /// Why there are no clones.
    pub(in crate::trial) fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::record;
    use crate::model::Crash;

    fn ended(outcome: Outcome, title: Option<&str>) -> Trial {
        Trial {
            outcome,
            crash: title.map(|title| Crash {
                title: title.to_owned(),
                ..Crash::default()
            }),
            ..record::broken(0, 0, "why".to_owned())
        }
    }

    fn crashed(title: &str) -> Trial {
        ended(Outcome::Crashed, Some(title))
    }

    #[test]
    fn one_clone_that_ends_as_a_boot_did_is_enough() {
        let mut proof = Proof::default();
        assert_eq!(proof.next(), StartedBy::Boot);
        proof.hear(StartedBy::Boot, &crashed("BUG"));
        assert_eq!(proof.next(), StartedBy::Clone);
        proof.hear(StartedBy::Clone, &crashed("BUG"));
        assert!(proof.is_proven());
        assert!((0..9).all(|_| proof.next() == StartedBy::Clone));
    }

    #[test]
    fn until_then_boots_and_clones_take_turns() {
        let mut proof = Proof::default();
        let turns: Vec<_> = (0..4).map(|_| proof.next()).collect();
        use StartedBy::{Boot, Clone};
        assert_eq!(turns, [Boot, Clone, Boot, Clone]);
    }

    #[test]
    fn clones_that_end_as_no_boot_does_are_given_up() {
        let mut proof = Proof::default();
        proof.hear(StartedBy::Boot, &ended(Outcome::Survived, None));
        for _ in 0..CHANCES {
            assert_eq!(proof.given_up(), None);
            proof.next();
            proof.next();
            proof.hear(StartedBy::Clone, &crashed("general protection fault"));
        }
        assert!(proof.given_up().is_some());
        assert!((0..9).all(|_| proof.next() == StartedBy::Boot));
    }

    #[test]
    fn what_broke_proves_nothing() {
        let mut proof = Proof::default();
        let broken = ended(Outcome::Broken, None);
        proof.hear(StartedBy::Boot, &broken);
        proof.hear(StartedBy::Clone, &broken);
        assert!(!proof.is_proven());
    }
}
