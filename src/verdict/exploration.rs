//! From what a search found to its verdict. Nothing found is no pass.

use crate::model::{Exploration, Verdict};

/// What a search says. `complete`: it was not cut short.
pub fn verdict_of_exploration(explored: &Exploration, complete: bool) -> (Verdict, String) {
    let forced = explored.forced();
    if let Some(finding) = &explored.finding {
        let title = match (&finding.crash, finding.steps.last()) {
            (Some(crash), _) => crash.title.clone(),
            (None, Some(step)) => step.text.clone(),
            (None, None) => "the kernel failed".to_owned(),
        };
        let how = if finding.schedule.is_empty() {
            "with nothing forced".to_owned()
        } else {
            format!("by the schedule {}", finding.schedule)
        };
        return (Verdict::Fail, format!("{title}, {how}"));
    }
    if !complete {
        let text = format!("interrupted after {forced} schedules, in which nothing was found");
        return (Verdict::Inconclusive, text);
    }
    let text = format!(
        "nothing was found by {forced} of {} schedules, which is no proof that there is nothing",
        explored.planned()
    );
    (Verdict::Inconclusive, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExploredLevel, ProofFailure};

    #[test]
    fn a_finding_fails_and_nothing_found_is_no_pass() {
        let level = ExploredLevel {
            planned: 9,
            forced: 7,
            ..ExploredLevel::default()
        };
        let mut explored = Exploration {
            levels: vec![level],
            ..Exploration::default()
        };
        let (verdict, reason) = verdict_of_exploration(&explored, true);
        assert_eq!(verdict, Verdict::Inconclusive);
        assert!(reason.contains("7 of 9"), "{reason}");
        assert_eq!(
            verdict_of_exploration(&explored, false).0,
            Verdict::Inconclusive
        );
        explored.finding = Some(ProofFailure {
            schedule: "load,open,unload,read".to_owned(),
            stops: 0,
            found_at: 1,
            found_after_s: 0.1,
            repeated: true,
            crash: None,
            file: None,
            steps: Vec::new(),
        });
        let (verdict, reason) = verdict_of_exploration(&explored, false);
        assert_eq!(verdict, Verdict::Fail);
        assert!(reason.contains("load,open,unload,read"), "{reason}");
    }
}
