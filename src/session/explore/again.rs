//! What was found, on a guest booted anew: with fewer stops, told step by step;
//! and one schedule that was asked for.

use std::time::Instant;

use super::ground::Ground;
use super::recorded::{Recorded, watched};
use super::schedule::{OneCall, OneOrder};
use super::sweep::order;
use super::tally::Tally;
use super::{ExploreError, Searched, whole_calls};
use crate::decode::instructions::find;
use crate::interleave::driver::Driver;
use crate::interleave::machine::{LOADER, Layout, Machine, MachineError, READER};
use crate::interleave::round::{At, Moment, Order, Round, Wait};
use crate::interleave::search::Stops;
use crate::model::{Crash, CrashClass, LevelKind, ProofFailure, ProofStep, ScheduleOutcome, Who};

/// Times that a schedule is tried again.
const TRIES: u32 = 3;

/// When something was found.
pub(super) struct Found {
    /// The number of the schedule in its level, from 1.
    pub(super) number: usize,
    /// From the level's first schedule, seconds.
    pub(super) after_s: f64,
}

/// A schedule that failed again.
pub(super) struct Again {
    pub(super) order: OneOrder,
    pub(super) steps: Vec<ProofStep>,
    pub(super) crash: Option<Crash>,
}

/// The finding of an order that failed on `machine`, and again or not.
pub(super) fn failure(
    ground: &Ground<'_>,
    order: &OneOrder,
    found: &Found,
    machine: Option<&Machine>,
    again: Option<Again>,
) -> ProofFailure {
    let repeated = again.is_some();
    let Again {
        order,
        steps,
        crash,
    } = again.unwrap_or(Again {
        order: order.clone(),
        steps: Vec::new(),
        crash: None,
    });
    let file = order.0.iter().find(|one| !one.call.is_loaders());
    ProofFailure {
        schedule: order.to_string(),
        stops: u32::try_from(order.stops()).unwrap_or(0),
        found_at: found.number,
        found_after_s: found.after_s,
        repeated,
        // Whatever is found is what was looked for.
        crash: crash
            .or_else(|| machine?.crashes.first().cloned())
            .map(|crash| Crash {
                class: CrashClass::Target,
                ..crash
            }),
        file: ground.file(file.map_or(0, |one| one.file)),
        steps,
    }
}

/// The first of the suspects that fails again, with the fewest stops.
pub(super) fn reduce<'b>(
    ground: &'b Ground<'_>,
    recorded: &Recorded,
    suspects: impl Iterator<Item = &'b Stops>,
    layout: &'b Layout,
    found: &Found,
    crashed: &Driver<'_>,
) -> Result<ProofFailure, ExploreError> {
    let mut last = None;
    for stops in suspects {
        last = last.or(Some(*stops));
        for fewer in fewer(stops) {
            let forced = order(recorded, &fewer);
            let mut driver = ground.boot(layout)?;
            for _ in 0..TRIES {
                let round = match driver.force(&forced) {
                    Err(MachineError::Interrupted) => break,
                    other => other?,
                };
                if round.crashed || round.hung.is_some() {
                    driver.machine.last_words();
                    let again = told(ground, Some(recorded), &forced, &round, &driver.machine);
                    let one = typed(ground, &forced);
                    return Ok(failure(
                        ground,
                        &one,
                        found,
                        Some(&crashed.machine),
                        Some(again),
                    ));
                }
            }
        }
    }
    let order = last.map_or(OneOrder(Vec::new()), |stops| {
        typed(ground, &order(recorded, &stops))
    });
    Ok(failure(ground, &order, found, Some(&crashed.machine), None))
}

/// The schedule with fewer stops, the fewest first, and as it is.
fn fewer(stops: &Stops) -> Vec<Stops> {
    let mut all = Vec::new();
    if stops.count() == 2 {
        for side in [LOADER, READER] {
            let mut at = [None, None];
            at[side] = stops.at[side];
            all.push(Stops {
                first: side,
                at,
                ..*stops
            });
        }
    }
    all.push(*stops);
    all
}

/// A schedule as it is typed.
fn typed(ground: &Ground<'_>, order: &Order) -> OneOrder {
    let one = |side: usize| OneCall {
        call: order.setting.calls[side],
        file: if side == READER {
            order.setting.file
        } else {
            0
        },
        place: order.stops[side].map(|at| ground.show(at.address)),
        preempts: order.preempts && side == order.first,
    };
    OneOrder(vec![one(order.first), one(1 - order.first)])
}

/// What each side did.
fn told(
    ground: &Ground<'_>,
    recorded: Option<&Recorded>,
    order: &Order,
    round: &Round,
    machine: &Machine,
) -> Again {
    let mut steps: Vec<ProofStep> = Vec::new();
    for moment in &round.moments {
        let again = steps.iter().any(|step| step.side == who(moment.side));
        steps.push(step(ground, recorded, order, moment, again));
    }
    let crash = machine.crashes.first().cloned();
    let crashed_there = round
        .moments
        .iter()
        .any(|moment| moment.wait == Wait::Crash);
    let stands = |moment: &&Moment| matches!(moment.wait, Wait::Stopped | Wait::Preempted);
    let standing = round.moments.iter().rev().find(stands);
    if let (false, Some(standing)) = (crashed_there, standing) {
        let text = match (&crash, &round.hung) {
            (Some(crash), _) => format!("goes on: {}", crash.title),
            (None, Some(hung)) => format!("goes on, and does not come back: {hung}"),
            (None, None) => "goes on, and the machine resets".to_owned(),
        };
        steps.push(ProofStep::new(who(standing.side), text));
    }
    Again {
        order: typed(ground, order),
        steps,
        crash,
    }
}

fn step(
    ground: &Ground<'_>,
    recorded: Option<&Recorded>,
    order: &Order,
    moment: &Moment,
    again: bool,
) -> ProofStep {
    let call = order.setting.calls[moment.side].as_str();
    let begun = if again { "goes on" } else { call };
    let code = recorded.map_or(&[][..], |recorded| recorded.instructions.as_slice());
    let instruction = find(code, moment.at).map_or_else(String::new, |one| {
        let words: Vec<&str> = one.text.split_whitespace().collect();
        format!(" `{}`", words.join(" "))
    });
    let text = match &moment.wait {
        Wait::Stopped => format!("{begun}, stands before{instruction}"),
        Wait::Preempted => format!("{begun}, is preempted after{instruction}"),
        Wait::Ended => format!("{begun}; its call comes back, after"),
        Wait::Standing(standing) => format!(
            "{begun}, waits in {} for {}, after",
            standing.function,
            standing.lock.as_deref().unwrap_or("every CPU")
        ),
        Wait::Waits(place) => format!("{begun}, waits in {place}, after"),
        Wait::Crash => format!("{begun} and crashes, after"),
        Wait::Limit(_) | Wait::HeldUp(_) => format!("{begun}, is seen last after"),
    };
    ProofStep {
        place: (moment.at != 0).then(|| ground.show(moment.at)),
        source: ground.lines.at(moment.at),
        ..ProofStep::new(who(moment.side), text)
    }
}

fn who(side: usize) -> Who {
    if side == LOADER {
        Who::Loader
    } else {
        Who::Reader
    }
}

/// One schedule that was asked for, and nothing else.
pub(super) fn one(ground: &Ground<'_>, asked: &OneOrder) -> Result<Searched, ExploreError> {
    let begun = Instant::now();
    let mut searched = Searched::default();
    let found = Found {
        number: 1,
        after_s: 0.0,
    };
    if asked.stops() == 0 {
        let again = whole_calls::again(ground, asked)?;
        let repeated = again.is_some();
        let mut tally = Tally::new(LevelKind::WholeCalls, [0, 0], 1);
        let outcome = if repeated {
            ScheduleOutcome::Crashed
        } else {
            ScheduleOutcome::RanThrough
        };
        tally.count(outcome, begun);
        searched.levels.push(tally.level());
        searched.finding = again.map(|again| failure(ground, asked, &found, None, Some(again)));
        return Ok(searched);
    }
    let forced = of_typed(ground, asked)?;
    let stops = forced.stops.iter().flatten().map(|at| at.address);
    let layout = ground.watching(watched(ground, stops))?;
    let mut driver = ground.boot(&layout)?;
    let kind = match (asked.stops(), forced.preempts) {
        (1, true) => LevelKind::OnePreemption,
        (1, false) => LevelKind::OneStop,
        _ => LevelKind::TwoStops,
    };
    let mut tally = Tally::new(kind, [1, 1], 1);
    match driver.force(&forced) {
        Err(MachineError::Interrupted) => searched.interrupted = true,
        Err(error) => return Err(error.into()),
        Ok(round) => {
            tally.take(forced.first, &round, begun);
            if round.crashed || round.hung.is_some() {
                driver.machine.last_words();
                let again = told(ground, None, &forced, &round, &driver.machine);
                let finding = failure(ground, asked, &found, Some(&driver.machine), Some(again));
                searched.finding = Some(finding);
            }
        }
    }
    searched.console = std::mem::take(&mut driver.machine.console);
    searched.environment = driver.machine.environment.take();
    searched.levels.push(tally.level());
    Ok(searched)
}

fn of_typed(ground: &Ground<'_>, asked: &OneOrder) -> Result<Order, ExploreError> {
    let mut stops = [None, None];
    let side = |one: &OneCall| {
        if one.call.is_loaders() {
            LOADER
        } else {
            READER
        }
    };
    for one in &asked.0 {
        if let Some(place) = &one.place {
            let address = ground.address(place)?;
            stops[side(one)] = Some(At { address, pass: 1 });
        }
    }
    let reader = asked.0.iter().find(|one| !one.call.is_loaders());
    let (call, file) = reader.map_or((ground.calls[0], 0), |one| (one.call, one.file));
    Ok(Order {
        first: asked.0.first().map_or(READER, side),
        stops,
        preempts: asked.0.iter().any(|one| one.preempts),
        setting: ground.scene(call, file),
    })
}
