//! A schedule on a guest booted anew: with fewer stops, to see which of them it
//! takes, or held for a debugger.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bench::{Bench, ProveError, of_race};
use super::record;
use super::undisturbed::{Found, Item, queue, undisturbed};
use crate::interleave::calls::Call;
use crate::interleave::coverage::Coverage;
use crate::interleave::machine::{LOADER, MachineError, READER};
use crate::interleave::round::{At, Order, Round};
use crate::model::Crash;
use crate::session::events::Events;

/// Times that fewer stops are tried.
const TRIES: u32 = 3;

/// Brings a guest to where the one schedule stands, stops its CPUs there, and
/// waits until it is ended.
pub(super) fn hold(bench: &Bench<'_>, events: Events<'_>, port: u16) -> Result<(), ProveError> {
    let mut driver = bench.boot()?;
    driver.machine.forget_reports();
    let mut coverage = [Coverage::default(), Coverage::default()];
    let found = undisturbed(bench, &mut driver, &mut coverage)?;
    let Some(item) = queue(bench, &found)?.first().copied() else {
        return Ok(());
    };
    let at = |side: usize| {
        let points = &found.points[item.form][side];
        Some(At {
            address: points[item.pair.points[side]].address,
            pass: 1,
        })
    };
    let round = driver.stand(&Order {
        first: item.pair.first,
        stops: [at(LOADER), at(READER)],
        preempts: false,
        setting: of_race(item.form, Call::Unload),
    })?;
    for text in record::moments(bench, &found, &round) {
        events.note(text);
    }
    if !driver.machine.freeze() {
        return Err(MachineError::NotFrozen.into());
    }
    let symbols = bench.known.vmlinux.as_ref();
    let vmlinux = symbols.map_or_else(String::new, |path| format!(" {}", path.display()));
    events.note(
        "the CPUs stand within an instruction of these places; a thread of the debugger is a CPU",
    );
    events.note(format!(
        "attach with: gdb{vmlinux} -ex 'target remote 127.0.0.1:{port}'; Ctrl-C here ends the guest"
    ));
    while !bench.subject.guests.cancel.load(Ordering::Relaxed) && !driver.machine.gone() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The schedule again, on a guest booted anew: with each stop alone, then with
/// both. The fewest stops that crash, and how that round went.
pub(super) struct Reduced {
    pub(super) stops: [bool; 2],
    pub(super) first: usize,
    pub(super) round: Option<Round>,
    pub(super) crash: Option<Crash>,
}

pub(super) fn reduce(bench: &Bench<'_>, found: &Found, item: Item) -> Result<Reduced, ProveError> {
    let mut driver = bench.boot()?;
    driver.machine.forget_reports();
    let points = &found.points[item.form];
    let candidates = [
        ([true, false], LOADER),
        ([false, true], READER),
        ([true, true], item.pair.first),
    ];
    for (stops, first) in candidates {
        let at = |side: usize| {
            stops[side].then(|| At {
                address: points[side][item.pair.points[side]].address,
                pass: 1,
            })
        };
        for _ in 0..TRIES {
            let order = Order {
                first,
                stops: [at(LOADER), at(READER)],
                preempts: false,
                setting: of_race(item.form, Call::Unload),
            };
            let round = match driver.force(&order) {
                Err(MachineError::Interrupted) => {
                    return Ok(Reduced {
                        stops: [true, true],
                        first: item.pair.first,
                        round: None,
                        crash: None,
                    });
                }
                other => other?,
            };
            if round.crashed || round.hung.is_some() {
                driver.machine.last_words();
                return Ok(Reduced {
                    stops,
                    first,
                    crash: first_crash(&driver.machine.crashes),
                    round: Some(round),
                });
            }
            if !round.held_up() {
                break;
            }
        }
    }
    Ok(Reduced {
        stops: [true, true],
        first: item.pair.first,
        round: None,
        crash: None,
    })
}

/// The report that the others follow from.
pub(super) fn first_crash(crashes: &[Crash]) -> Option<Crash> {
    crashes.first().cloned()
}
