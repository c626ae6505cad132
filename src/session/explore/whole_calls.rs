//! Whole calls in every order: load, unload, load, unload of the loader merged
//! in every way with the reader's calls on a file. Each waits until the one
//! before it has come back, so nothing is held up meanwhile.

use std::time::Instant;

use super::again::{Found, failure};
use super::ground::Ground;
use super::schedule::{OneCall, OneOrder};
use super::tally::Tally;
use super::{ExploreError, Searched};
use crate::interleave::calls::Call;
use crate::interleave::driver::Driver;
use crate::interleave::machine::{LOADER, MachineError, READER, Setting};
use crate::interleave::round::{Order, Round};
use crate::model::{LevelKind, ProofStep, ScheduleOutcome, Who};
use crate::session::events::Events;

/// The loader's calls: once, and again.
const LOADERS: [Call; 4] = [Call::Load, Call::Unload, Call::Load, Call::Unload];
const ONCE: usize = 2;

/// One call of an order, as it went.
pub(super) struct Made {
    pub(super) one: OneCall,
    pub(super) result: i64,
    pub(super) round: Round,
}

pub(super) fn run(
    ground: &Ground<'_>,
    until: Instant,
    events: Events<'_>,
) -> Result<Searched, ExploreError> {
    let mut searched = Searched::default();
    let readers = reader_calls(ground);
    let orders: Vec<OneOrder> = (0..ground.files.len() as u64)
        .flat_map(|file| {
            // The fewest calls first: what they find is the easiest to read.
            let once = merges(&LOADERS[..ONCE], &readers, file);
            once.into_iter().chain(merges(&LOADERS, &readers, file))
        })
        .collect();
    let places = [LOADERS.len() as u64, readers.len() as u64];
    let mut tally = Tally::new(LevelKind::WholeCalls, places, orders.len() as u64);
    let mut driver = ground.boot(&ground.bare)?;
    events.note(format!("whole calls: {} orders", orders.len()));
    let started = Instant::now();
    for (index, order) in orders.iter().enumerate() {
        if Instant::now() > until {
            break;
        }
        let begun = Instant::now();
        let made = match force(&mut driver, order) {
            Err(MachineError::Interrupted) => {
                searched.interrupted = true;
                break;
            }
            other => other?,
        };
        let last = made.last().map(|made| &made.round);
        let failed = last.is_some_and(|round| round.crashed || round.hung.is_some());
        let outcome = match last {
            Some(round) if round.crashed => ScheduleOutcome::Crashed,
            Some(_) if failed => ScheduleOutcome::Hung,
            _ => ScheduleOutcome::RanThrough,
        };
        tally.count(outcome, begun);
        if failed {
            let found = Found {
                number: index + 1,
                after_s: started.elapsed().as_secs_f64(),
            };
            driver.machine.last_words();
            // What was not made had no part in it; what was made before may have.
            let order = OneOrder(made.into_iter().map(|made| made.one).collect());
            let before = index.checked_sub(1).map(|index| orders[index].0.clone());
            let longer = before.map(|before| OneOrder([before, order.0.clone()].concat()));
            let mut repeated = None;
            for suspect in std::iter::once(&order).chain(&longer) {
                if repeated.is_none() {
                    repeated = again(ground, suspect)?;
                }
            }
            searched.finding = Some(failure(
                ground,
                &order,
                &found,
                Some(&driver.machine),
                repeated,
            ));
            break;
        }
    }
    searched.environment = driver.machine.environment.take();
    searched.console = std::mem::take(&mut driver.machine.console);
    searched.levels.push(tally.level());
    Ok(searched)
}

/// The reader's calls: what is read is read twice.
fn reader_calls(ground: &Ground<'_>) -> Vec<Call> {
    let mut calls = Vec::new();
    for &call in ground.calls {
        calls.push(call);
        if matches!(call, Call::Read | Call::Write | Call::LookUp) {
            calls.push(call);
        }
    }
    calls
}

/// Every way to merge two rows of calls, each in its own order.
fn merges(loaders: &[Call], readers: &[Call], file: u64) -> Vec<OneOrder> {
    let (Some((loader, loaders_after)), Some((reader, readers_after))) =
        (loaders.split_first(), readers.split_first())
    else {
        let rest = loaders.iter().chain(readers);
        return vec![OneOrder(rest.map(|&call| one(call, file)).collect())];
    };
    let after = |first: Call, rest: Vec<OneOrder>| {
        rest.into_iter().map(move |order| {
            let calls = std::iter::once(one(first, file)).chain(order.0);
            OneOrder(calls.collect())
        })
    };
    after(*loader, merges(loaders_after, readers, file))
        .chain(after(*reader, merges(loaders, readers_after, file)))
        .collect()
}

fn one(call: Call, file: u64) -> OneCall {
    OneCall {
        call,
        file: if call.is_loaders() { 0 } else { file },
        place: None,
        preempts: false,
    }
}

/// Makes the calls of an order, one after another, as far as the kernel lives.
pub(super) fn force(driver: &mut Driver<'_>, order: &OneOrder) -> Result<Vec<Made>, MachineError> {
    let mut made = Vec::new();
    for (index, one) in order.0.iter().enumerate() {
        let side = if one.call.is_loaders() {
            LOADER
        } else {
            READER
        };
        let mut calls = [Call::Nothing; 2];
        calls[side] = one.call;
        let round = driver.force(&Order {
            first: side,
            stops: [None, None],
            preempts: false,
            setting: Setting {
                form: 0,
                prepared: 0,
                calls,
                file: one.file,
                tidies: index + 1 == order.0.len(),
            },
        })?;
        let over = round.crashed || round.hung.is_some();
        made.push(Made {
            one: one.clone(),
            result: driver.machine.result(side),
            round,
        });
        if over {
            break;
        }
    }
    Ok(made)
}

/// The order once more, on a guest booted anew: the steps, if it fails again.
pub(super) fn again(
    ground: &Ground<'_>,
    order: &OneOrder,
) -> Result<Option<super::again::Again>, ExploreError> {
    let mut driver = ground.boot(&ground.bare)?;
    let made = match force(&mut driver, order) {
        Err(MachineError::Interrupted) => return Ok(None),
        other => other?,
    };
    let Some(last) = made.last() else {
        return Ok(None);
    };
    let hung = last.round.hung.clone();
    if !last.round.crashed && hung.is_none() {
        return Ok(None);
    }
    driver.machine.last_words();
    let steps = made.iter();
    let steps = steps.map(|made| step(ground, &made.one, &told(made.result)));
    let mut steps: Vec<ProofStep> = steps.collect();
    if let Some(last) = steps.last_mut() {
        let crash = driver.machine.crashes.first();
        let end = match (crash, hung) {
            (Some(crash), _) => crash.title.clone(),
            (None, Some(hung)) => format!("does not come back: {hung}"),
            (None, None) => "the machine resets".to_owned(),
        };
        let call = &made[made.len() - 1].one;
        last.text = step(ground, call, &end).text;
    }
    Ok(Some(super::again::Again {
        order: order.clone(),
        steps,
        crash: driver.machine.crashes.first().cloned(),
    }))
}

fn step(ground: &Ground<'_>, one: &OneCall, came: &str) -> ProofStep {
    let side = if one.call.is_loaders() {
        Who::Loader
    } else {
        Who::Reader
    };
    let file = match side {
        Who::Reader => ground
            .file(one.file)
            .map_or_else(String::new, |file| format!(" {file}")),
        Who::Loader => String::new(),
    };
    ProofStep::new(side, format!("{}{file}: {came}", one.call.as_str()))
}

/// What a call returned.
fn told(result: i64) -> String {
    match i32::try_from(-result) {
        Ok(errno) if errno > 0 => std::io::Error::from_raw_os_error(errno).to_string(),
        _ => "comes back".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_merge_keeps_both_orders_and_comes_once() {
        let all = merges(
            &LOADERS,
            &[Call::Open, Call::Read, Call::Read, Call::Close],
            0,
        );
        assert_eq!(all.len(), 70);
        let texts: std::collections::BTreeSet<String> =
            all.iter().map(OneOrder::to_string).collect();
        // Two reads are the same call: orders differ by where they stand.
        assert_eq!(texts.len(), 70);
        assert!(texts.contains("load,open,unload,read,load,read,close,unload"));
        for order in &all {
            let own = |loaders: bool| -> Vec<Call> {
                let calls = order.0.iter().map(|one| one.call);
                calls.filter(|call| call.is_loaders() == loaders).collect()
            };
            assert_eq!(own(true), LOADERS);
            assert_eq!(
                own(false),
                [Call::Open, Call::Read, Call::Read, Call::Close]
            );
        }
    }
}
