//! From what was seen to the report's record: addresses become functions with
//! offsets, and <file:line> where there is debug information.

use super::again::Reduced;
use super::bench::Bench;
use super::undisturbed::{Found, index_of, who};
use crate::decode::instructions::{Flow, Instruction, find};
use crate::interleave::coverage::{Coverage, Looked};
use crate::interleave::machine::{LOADER, READER};
use crate::interleave::points::Point;
use crate::interleave::round::{Moment, Round, Wait};
use crate::interleave::sides::STATES;
use crate::model::{
    Crash, NeverRan, Proof, ProofFailure, ProofForm, ProofPoint, ProofSide, ProofStep, Schedule,
    StateTouch, Who,
};

/// What a proof does not show.
const LIMITS: [&str; 2] = [
    "Two sides, each stopped once in a schedule, on one virtual CPU each; instructions take effect \
     in program order, as under TCG, so what a weakly ordered memory could do besides is not \
     shown.",
    "Interrupts and other tasks are not scheduled, and a side that is stopped keeps its virtual \
     CPU: it answers no interprocessor interrupt and ends no grace period meanwhile.",
];

/// What the rounds showed.
pub(super) struct Seen {
    pub(super) planned: u64,
    pub(super) schedules: Vec<Schedule>,
    pub(super) coverage: [Coverage; 2],
    pub(super) failure: Option<ProofFailure>,
    pub(super) boot_s: f64,
    pub(super) schedules_s: f64,
}

/// Whether a point takes a lock, or tries to.
pub(super) fn takes_lock(bench: &Bench<'_>, point: &Point) -> bool {
    point
        .calls
        .is_some_and(|target| lock_name(bench, target).is_some())
}

fn lock_name(bench: &Bench<'_>, target: u64) -> Option<String> {
    let (name, offset) = bench.known.layout.symbols.at(target)?;
    let takes = bench
        .arch()
        .takes_lock
        .iter()
        .any(|prefix| name.starts_with(prefix));
    (takes && offset == 0).then(|| name.to_owned())
}

/// The whole record.
pub(super) fn proof(bench: &Bench<'_>, found: &Found, seen: Seen) -> Proof {
    Proof {
        loader: side(bench, found, LOADER),
        reader: side(bench, found, READER),
        schedules_planned: seen.planned,
        schedules: seen.schedules,
        never_ran: never_ran(bench, found, &seen.coverage),
        failure: seen.failure,
        boot_s: seen.boot_s,
        schedules_s: seen.schedules_s,
        forms: bench
            .forms
            .iter()
            .zip(&found.differs)
            .map(|(name, differs)| ProofForm {
                name: (*name).to_owned(),
                differs: *differs,
            })
            .collect(),
        ..blank(bench)
    }
}

fn blank(bench: &Bench<'_>) -> Proof {
    Proof {
        race: bench.row.name.to_owned(),
        limits: LIMITS.map(str::to_owned).to_vec(),
        ..Proof::default()
    }
}

/// The record of a kernel that failed with nothing forced.
pub(super) fn without_schedules(bench: &Bench<'_>, title: &str, crash: Option<Crash>) -> Proof {
    Proof {
        failure: Some(ProofFailure::undisturbed(title, crash)),
        ..blank(bench)
    }
}

fn side(bench: &Bench<'_>, found: &Found, side: usize) -> ProofSide {
    let layout = &bench.known.layout;
    let begin = layout.begins[side].first().copied().unwrap_or_default();
    let points = found.all(side).map(|(form, one)| ProofPoint {
        place: layout.symbols.show(one.address),
        source: bench.known.lines.at(one.address),
        instruction: find(&found.code[side], one.address)
            .map_or_else(String::new, |code| told(bench, code)),
        state: one.state.map(|written| {
            if written {
                StateTouch::Write
            } else {
                StateTouch::Read
            }
        }),
        lock: takes_lock(bench, one),
        form: form as u64,
    });
    ProofSide {
        call: layout.symbols.show(begin),
        cpu: cpu(side),
        functions: layout.functions[side]
            .iter()
            .map(|function| function.name.clone())
            .collect(),
        points: points.collect(),
    }
}

/// An instruction; a call by the name of what it calls.
fn told(bench: &Bench<'_>, one: &Instruction) -> String {
    match one.flow {
        Flow::Call(Some(target)) => format!("call {}", bench.known.layout.symbols.show(target)),
        _ => squeezed(&one.text),
    }
}

/// The text of an instruction without the assembler's columns.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn never_ran(bench: &Bench<'_>, found: &Found, coverage: &[Coverage; 2]) -> Vec<NeverRan> {
    let layout = &bench.known.layout;
    // Some functions reach the module by another of its fields: the offsets at
    // which the state was seen to be written count besides its own.
    let row = bench.row;
    let name = |target: u64| lock_name(bench, target);
    let mut all = Vec::new();
    for side in [LOADER, READER] {
        let mut offsets = vec![row.state_offset];
        for point in found.points.iter().flat_map(|points| &points[side]) {
            let code = find(&found.code[side], point.address);
            if point.state == Some(true)
                && let Some(write) = code.and_then(|one| one.write)
                && !offsets.contains(&write.offset)
            {
                offsets.push(write.offset);
            }
        }
        let looked = Looked {
            state_offsets: &offsets,
            state_bytes: row.state_bytes,
            takes_lock: &name,
        };
        let covered = &coverage[side];
        for function in &layout.functions[side] {
            let code: Vec<_> = found.code[side]
                .iter()
                .filter(|one| function.range.contains(&one.address))
                .cloned()
                .collect();
            let gaps = covered.gaps(&code, looked).into_iter();
            all.extend(gaps.map(|gap| NeverRan {
                side: who(side),
                place: layout.symbols.show(gap.address),
                source: bench.known.lines.at(gap.address),
                instruction: squeezed(&gap.text),
                matters: gap.matters,
            }));
        }
    }
    all
}

/// What crashed, told by its steps.
pub(super) fn failure(
    bench: &Bench<'_>,
    found: &Found,
    schedule: &Schedule,
    number: usize,
    found_after_s: f64,
    crash: Option<Crash>,
    reduced: &Reduced,
) -> ProofFailure {
    let repeated = reduced.round.is_some();
    let crash = reduced.crash.clone().or(crash);
    let moments = reduced
        .round
        .as_ref()
        .map_or(&[][..], |round| round.moments.as_slice());
    let mut steps: Vec<ProofStep> = Vec::new();
    for moment in moments {
        let again = steps.iter().any(|step| step.side == who(moment.side));
        steps.push(step(bench, found, moment, again));
    }
    if let Some(last) = last_step(reduced, crash.as_ref()) {
        steps.push(last);
    }
    let name = |side: usize, number: usize| {
        reduced.stops[side].then(|| format!("{}{number}", if side == LOADER { 'L' } else { 'R' }))
    };
    let (loader, reader) = (name(LOADER, schedule.loader), name(READER, schedule.reader));
    let in_order = if reduced.first == LOADER {
        [loader, reader]
    } else {
        [reader, loader]
    };
    let stops = reduced.stops.iter().filter(|stop| **stop).count();
    ProofFailure {
        schedule: in_order.into_iter().flatten().collect::<Vec<_>>().join(","),
        stops: u32::try_from(stops).unwrap_or(0),
        found_at: number + 1,
        found_after_s,
        repeated,
        crash,
        file: None,
        steps,
    }
}

fn step(bench: &Bench<'_>, found: &Found, moment: &Moment, again: bool) -> ProofStep {
    let here = || {
        let code = &found.code[moment.side];
        find(code, moment.at).map_or_else(String::new, |one| told(bench, one))
    };
    let begun = match (again, index_of(who(moment.side)) == LOADER) {
        (true, _) => "goes on",
        (false, true) => "calls delete_module()",
        (false, false) => "reads /proc/modules",
    };
    let text = match &moment.wait {
        Wait::Preempted => format!("{begun}, is preempted after"),
        Wait::Stopped => format!("{begun}, stands before `{}`", here()),
        Wait::Ended => format!("{begun}; its call comes back, after"),
        Wait::Standing(standing) => format!(
            "{begun}, waits in {}{} for {}, after",
            standing.function,
            standing
                .caller
                .as_ref()
                .map_or_else(String::new, |caller| format!(" called by {caller}")),
            standing.lock.as_deref().unwrap_or("every CPU")
        ),
        Wait::Crash => format!("{begun} and crashes, after"),
        Wait::Limit(_) | Wait::HeldUp(_) | Wait::Waits(_) => {
            format!("{begun}, is seen last after")
        }
    };
    let holder = match (moment.holder, moment.held) {
        (Some(side), _) => Some(format!("the {}", who(side).as_str())),
        (None, Some(false)) => Some("nobody".to_owned()),
        (None, Some(true)) => Some("another task".to_owned()),
        (None, None) => None,
    };
    ProofStep {
        place: Some(bench.known.layout.symbols.show(moment.at)),
        source: bench.known.lines.at(moment.at),
        state: moment
            .state
            .and_then(|state| STATES.get(state as usize))
            .map(|state| (*state).to_owned()),
        holder,
        ..ProofStep::new(who(moment.side), text)
    }
}

/// Where both sides stand, a line for each turn.
pub(super) fn moments(bench: &Bench<'_>, found: &Found, round: &Round) -> Vec<String> {
    let mut told: Vec<Who> = Vec::new();
    round
        .moments
        .iter()
        .map(|moment| {
            let side = who(moment.side);
            let step = step(bench, found, moment, told.contains(&side));
            told.push(side);
            format!(
                "CPU {}, {}: {} {} [state {}, mutex held by {}]",
                step.cpu,
                side.as_str(),
                step.text,
                step.place.unwrap_or_default(),
                step.state.unwrap_or_else(|| "unknown".to_owned()),
                step.holder.unwrap_or_else(|| "unknown".to_owned())
            )
        })
        .collect()
}

/// What the side that stood last comes to.
fn last_step(reduced: &Reduced, crash: Option<&Crash>) -> Option<ProofStep> {
    let round = reduced.round.as_ref()?;
    if round
        .moments
        .iter()
        .any(|moment| moment.wait == Wait::Crash)
    {
        return None;
    }
    let standing = round
        .moments
        .iter()
        .rev()
        .find(|moment| moment.wait == Wait::Stopped)?;
    let text = match (crash, &round.hung) {
        (Some(crash), _) => format!("goes on: {}", crash.title),
        (None, Some(hung)) => format!("goes on, and does not come back: {hung}"),
        (None, None) => "goes on, and the machine resets".to_owned(),
    };
    Some(ProofStep::new(who(standing.side), text))
}

/// The virtual CPU that a side is pinned to: its own number.
fn cpu(side: usize) -> u32 {
    u32::try_from(side).unwrap_or(u32::MAX)
}
