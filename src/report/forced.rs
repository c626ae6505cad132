//! What `prove` or `explore` forced, for every format over the same record:
//! figures, lists, and what was found.

use super::exploration;
use super::metadata::Rows;
use super::proof;
use crate::model::{ProofFailure, Report};

/// A list with its title.
pub(super) type List = (&'static str, Vec<String>);

/// What a report of forced schedules has in place of trials.
pub(super) struct Forced<'a> {
    /// By its figures.
    pub(super) rows: Rows,
    /// What could not be, and why.
    pub(super) waits: List,
    /// What was found.
    pub(super) failure: Option<&'a ProofFailure>,
    /// What is for those who read on.
    pub(super) rest: Vec<List>,
    /// What it does not show.
    pub(super) limits: &'a [String],
}

/// Those of a report; none where nothing was forced.
pub(super) fn forced(report: &Report) -> Option<Forced<'_>> {
    if let Some(proved) = &report.prove {
        return Some(Forced {
            rows: proof::rows(proved),
            waits: ("Schedules that could not exist", proof::impossible(proved)),
            failure: proved.failure.as_ref(),
            rest: vec![
                ("Never ran", proof::never_ran(proved)),
                ("Points", proof::points(proved)),
            ],
            limits: &proved.limits,
        });
    }
    let explored = report.explore.as_ref()?;
    Some(Forced {
        rows: exploration::rows(explored),
        waits: ("Where a side had to wait", exploration::waits(explored)),
        failure: explored.finding.as_ref(),
        rest: Vec::new(),
        limits: &explored.limits,
    })
}
