//! From the schedules of a proof to its verdict, and the sentence that says
//! why.

use crate::model::{Proof, ProofPoint, ScheduleOutcome, StateTouch, Verdict, Who};

/// What a proof says. `complete`: it was not cut short.
pub fn verdict_of_proof(proof: &Proof, complete: bool) -> (Verdict, String) {
    let count = |outcome| proof.count(outcome);
    let crashed = proof.schedules.iter().position(|schedule| {
        matches!(
            schedule.outcome,
            ScheduleOutcome::Crashed | ScheduleOutcome::Hung
        )
    });
    if let Some(index) = crashed {
        return (Verdict::Fail, failed(proof, index));
    }
    if let Some(failure) = &proof.failure {
        let step = failure.steps.first().map_or("", |step| step.text.as_str());
        return (
            Verdict::Fail,
            format!("the kernel failed before any schedule, {step}"),
        );
    }
    if !complete {
        let text = format!(
            "interrupted after {} of {} schedules",
            proof.schedules.len(),
            proof.schedules_planned
        );
        return (Verdict::Inconclusive, text);
    }
    if let Some(text) = open_question(proof) {
        return (Verdict::Inconclusive, text);
    }
    let text = format!(
        "each of {} schedules was decided: {} ran through, {} passed by the other point, {} \
         could not exist; none crashed",
        proof.schedules.len(),
        count(ScheduleOutcome::RanThrough),
        count(ScheduleOutcome::PassedBy),
        count(ScheduleOutcome::Impossible),
    );
    (Verdict::Pass, text)
}

fn failed(proof: &Proof, index: usize) -> String {
    let schedule = &proof.schedules[index];
    let place = |who: Who, number: usize| {
        let point = number
            .checked_sub(1)
            .and_then(|at| proof.side(who).points.get(at));
        point.map_or_else(String::new, |point| point.place.clone())
    };
    let what = if schedule.outcome == ScheduleOutcome::Hung {
        "hung"
    } else {
        "crashed"
    };
    let (one, other) = match schedule.first {
        Who::Loader => (Who::Loader, Who::Reader),
        Who::Reader => (Who::Reader, Who::Loader),
    };
    let number = |who| match who {
        Who::Loader => schedule.loader,
        Who::Reader => schedule.reader,
    };
    format!(
        "the kernel {what} at schedule {}: the {} stopped at {}, the {} at {}",
        index + 1,
        one.as_str(),
        place(one, number(one)),
        other.as_str(),
        place(other, number(other))
    )
}

/// What keeps a proof without a crash from being one.
fn open_question(proof: &Proof) -> Option<String> {
    if proof.loader.points.is_empty() || proof.reader.points.is_empty() {
        return Some("a side was not seen at any point".to_owned());
    }
    let touches =
        |points: &[ProofPoint], wanted| points.iter().any(|point| point.state == Some(wanted));
    if !touches(&proof.loader.points, StateTouch::Write)
        || !touches(&proof.reader.points, StateTouch::Read)
    {
        return Some(
            "the sides were not seen to write and to read the module's state: where is it?"
                .to_owned(),
        );
    }
    let matters = proof.never_ran.iter().find_map(|one| {
        let why = one.matters.as_ref()?;
        Some(format!(
            "{} never ran: `{}`, {why}",
            one.place, one.instruction
        ))
    });
    if matters.is_some() {
        return matters;
    }
    let undecided = proof.count(ScheduleOutcome::NotDecided);
    if undecided > 0 {
        let detail = proof
            .schedules
            .iter()
            .filter(|one| one.outcome == ScheduleOutcome::NotDecided)
            .find_map(|one| one.detail.clone())
            .unwrap_or_default();
        return Some(format!(
            "{undecided} of {} schedules were not decided: {detail}",
            proof.schedules.len()
        ));
    }
    for who in [Who::Loader, Who::Reader] {
        let letter = if who == Who::Loader { 'L' } else { 'R' };
        if let Some(number) = proof.unreached(who).first() {
            let place = &proof.side(who).points[number - 1].place;
            return Some(format!(
                "no schedule stopped the {} at {letter}{number} ({place}), which an undisturbed \
                 round ran",
                who.as_str()
            ));
        }
    }
    let unreached = proof.count(ScheduleOutcome::NotReached);
    if unreached > 0 {
        return Some(format!(
            "in {unreached} schedules the first side did not come to its point"
        ));
    }
    if (proof.schedules.len() as u64) < proof.schedules_planned {
        return Some(format!(
            "{} of {} schedules were forced",
            proof.schedules.len(),
            proof.schedules_planned
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Blocked, NeverRan, ProofSide, Schedule};

    fn proof(outcome: ScheduleOutcome) -> Proof {
        let point = |place: &str, state| ProofPoint {
            place: place.to_owned(),
            state: Some(state),
            ..ProofPoint::default()
        };
        let side = |point| ProofSide {
            points: vec![point],
            ..ProofSide::default()
        };
        let schedule = |first| Schedule {
            first,
            loader: 1,
            reader: 1,
            outcome,
            ..Schedule::default()
        };
        Proof {
            loader: side(point("free_module+0xd", StateTouch::Write)),
            reader: side(point("module_flags+0x3", StateTouch::Read)),
            schedules_planned: 2,
            schedules: vec![schedule(Who::Loader), schedule(Who::Reader)],
            ..Proof::default()
        }
    }

    #[test]
    fn every_schedule_decided_is_a_pass_and_nothing_less_is() {
        assert_eq!(
            verdict_of_proof(&proof(ScheduleOutcome::RanThrough), true).0,
            Verdict::Pass
        );
        assert_eq!(
            verdict_of_proof(&proof(ScheduleOutcome::RanThrough), false).0,
            Verdict::Inconclusive
        );
        for outcome in [ScheduleOutcome::NotDecided, ScheduleOutcome::NotReached] {
            assert_eq!(
                verdict_of_proof(&proof(outcome), true).0,
                Verdict::Inconclusive,
                "{outcome:?}"
            );
        }
        for outcome in [ScheduleOutcome::Crashed, ScheduleOutcome::Hung] {
            let (verdict, reason) = verdict_of_proof(&proof(outcome), true);
            assert_eq!(verdict, Verdict::Fail);
            assert!(reason.contains("free_module+0xd"), "{reason}");
        }
        let mut fewer = proof(ScheduleOutcome::RanThrough);
        fewer.schedules_planned = 3;
        assert_eq!(verdict_of_proof(&fewer, true).0, Verdict::Inconclusive);
    }

    #[test]
    fn a_point_is_reached_only_by_a_schedule_that_stopped_there() {
        let mut blocked = proof(ScheduleOutcome::Impossible);
        blocked.schedules.truncate(1);
        blocked.schedules_planned = 1;
        let (verdict, reason) = verdict_of_proof(&blocked, true);
        assert_eq!(verdict, Verdict::Inconclusive);
        assert!(reason.contains("R1 (module_flags+0x3)"), "{reason}");
        blocked.schedules[0].blocked = Some(Blocked {
            side: Who::Loader,
            both_stopped: true,
            function: "mutex_lock".to_owned(),
            caller: None,
            lock: Some("module_mutex".to_owned()),
        });
        assert_eq!(verdict_of_proof(&blocked, true).0, Verdict::Pass);
    }

    #[test]
    fn a_store_of_the_state_that_never_ran_leaves_the_question_open() {
        let mut open = proof(ScheduleOutcome::RanThrough);
        open.never_ran.push(NeverRan {
            side: Who::Loader,
            place: "free_module+0x40".to_owned(),
            source: None,
            instruction: "movl $3,(%rbx)".to_owned(),
            matters: None,
        });
        assert_eq!(verdict_of_proof(&open, true).0, Verdict::Pass);
        open.never_ran[0].matters = Some("a store of the module's state".to_owned());
        let (verdict, reason) = verdict_of_proof(&open, true);
        assert_eq!(verdict, Verdict::Inconclusive);
        assert!(reason.contains("free_module+0x40"), "{reason}");
    }

    #[test]
    fn a_state_that_nobody_touched_shows_nothing() {
        let mut blind = proof(ScheduleOutcome::RanThrough);
        blind.reader.points[0].state = None;
        assert_eq!(verdict_of_proof(&blind, true).0, Verdict::Inconclusive);
    }
}
