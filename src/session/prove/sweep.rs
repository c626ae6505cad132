//! The rounds of a proof: undisturbed ones to find the points, then every
//! schedule, then the one that crashed again with fewer stops.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::bench::{Bench, ProveError, Proved};
use super::record::{self, Seen};
use crate::interleave::arch::WaitKind;
use crate::interleave::coverage::Coverage;
use crate::interleave::decode::Instruction;
use crate::interleave::machine::{LOADER, MachineError, READER};
use crate::interleave::points::{Point, points};
use crate::interleave::round::{At, Driver, Order, Round, Wait};
use crate::interleave::schedule::{Pair, pairs};
use crate::interleave::standing::Standing;
use crate::model::{Blocked, Crash, Schedule, ScheduleOutcome, Who};
use crate::session::events::Events;
use crate::vm::instrument::lock_step::{NAMES_MODULE, NAMES_NOTHING};

/// Undisturbed rounds of each form: what one of them ran is a point.
const UNDISTURBED: u32 = 2;
/// Times that a schedule is forced until it is decided.
const TRIES: u32 = 3;
/// The same where another task held up the side's CPU, which is chance.
const TRIES_HELD_UP: u32 = 20;
/// Undecided schedules after which no more are forced.
const MOST_UNDECIDED: usize = 10;
/// Between two words on the way.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// What the undisturbed rounds showed.
pub(super) struct Found {
    /// The code of each side's functions, sorted.
    pub(super) code: [Vec<Instruction>; 2],
    /// Points of each side for each form that has its own.
    pub(super) points: Vec<[Vec<Point>; 2]>,
    /// Whether each form has points of its own.
    pub(super) differs: Vec<bool>,
}

/// A schedule to be forced.
#[derive(Clone, Copy, Debug)]
struct Item {
    pair: Pair,
    form: usize,
}

/// What a stop of the first side, and the other one's call from there, came to:
/// the same for every point that the call did not come to.
struct Decided {
    number: usize,
    ran: HashSet<u64>,
    outcome: ScheduleOutcome,
    blocked: Option<Blocked>,
}

pub(super) fn run(bench: &Bench<'_>, events: Events<'_>) -> Result<Proved, ProveError> {
    match all(bench, events) {
        Err(ProveError::Machine(MachineError::Undisturbed { title, crash })) => Ok(Proved {
            proof: record::without_schedules(bench, &title, crash.map(|crash| *crash)),
            complete: true,
            environment: None,
            console: Vec::new(),
            before: Vec::new(),
        }),
        other => other,
    }
}

fn all(bench: &Bench<'_>, events: Events<'_>) -> Result<Proved, ProveError> {
    let mut driver = bench.boot()?;
    let before = driver.machine.forget_reports();
    let boot_s = driver.machine.started.elapsed().as_secs_f64();
    let mut coverage = [Coverage::default(), Coverage::default()];
    let found = undisturbed(bench, &mut driver, &mut coverage)?;
    let items = queue(bench, &found)?;
    events.note(format!(
        "{} points of the unload, {} of the read: {} schedules",
        found.points[0][LOADER].len(),
        found.points[0][READER].len(),
        items.len()
    ));
    let mut sweep = Sweep {
        found: &found,
        coverage,
        schedules: Vec::new(),
        decided: HashMap::new(),
        started: Instant::now(),
    };
    let complete = match sweep.all(&mut driver, &items, events) {
        Ok(()) => true,
        Err(MachineError::Interrupted) => false,
        Err(error) => return Err(error.into()),
    };
    let crashed = sweep.crashed_at();
    let schedules_s = sweep.started.elapsed().as_secs_f64();
    let mut console = std::mem::take(&mut driver.machine.console);
    let environment = driver.machine.environment.take();
    let mut crash = None;
    if crashed.is_some() {
        driver.machine.last_words();
        console.append(&mut driver.machine.console);
        crash = first_crash(&driver.machine.crashes);
    }
    drop(driver);
    let failure = match crashed {
        Some(number) => {
            events.note("one crashed; again on a new guest, with fewer stops");
            let item = items[number];
            let reduced = reduce(bench, &found, item)?;
            let schedule = &sweep.schedules[number];
            Some(record::failure(
                bench,
                &found,
                schedule,
                number,
                schedules_s,
                crash,
                &reduced,
            ))
        }
        None => None,
    };
    let seen = Seen {
        planned: items.len() as u64,
        schedules: sweep.schedules,
        coverage: sweep.coverage,
        failure,
        boot_s,
        schedules_s,
    };
    Ok(Proved {
        proof: record::proof(bench, &found, seen),
        complete,
        environment,
        console,
        before,
    })
}

/// The report that the others follow from.
fn first_crash(crashes: &[Crash]) -> Option<Crash> {
    crashes.first().cloned()
}

fn undisturbed(
    bench: &Bench<'_>,
    driver: &mut Driver<'_>,
    coverage: &mut [Coverage; 2],
) -> Result<Found, ProveError> {
    let mut code = [Vec::new(), Vec::new()];
    for side in [LOADER, READER] {
        for function in &driver.layout.functions[side] {
            code[side].extend(driver.machine.code(&function.range)?);
        }
        code[side].sort_by_key(|one: &Instruction| one.address);
    }
    let mut by_form: Vec<[Vec<Point>; 2]> = Vec::new();
    for form in 0..bench.forms.len() {
        let order = Order {
            first: READER,
            stops: [None, None],
            form: form as u64,
            names: NAMES_MODULE,
        };
        let mut seen: [Vec<Point>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..UNDISTURBED {
            let round = force(driver, &order)?;
            let state = round
                .module
                .map(|module| module.wrapping_add_signed(bench.row.state_offset));
            for side in [LOADER, READER] {
                coverage[side].add(&round.traces[side]);
                let now = points(&round.traces[side], &code[side], state);
                merge(&mut seen[side], now);
            }
        }
        by_form.push(seen);
    }
    let nothing = Order {
        first: LOADER,
        stops: [None, None],
        form: 0,
        names: NAMES_NOTHING,
    };
    let round = force(driver, &nothing)?;
    for side in [LOADER, READER] {
        coverage[side].add(&round.traces[side]);
    }
    let addresses = |points: &[Vec<Point>; 2]| {
        let of = |side: usize| -> Vec<u64> { points[side].iter().map(|p| p.address).collect() };
        [of(LOADER), of(READER)]
    };
    let first = addresses(&by_form[0]);
    let differs: Vec<bool> = by_form
        .iter()
        .map(|points| addresses(points) != first)
        .collect();
    Ok(Found {
        code,
        points: by_form,
        differs,
    })
}

fn force(driver: &mut Driver<'_>, order: &Order) -> Result<Round, MachineError> {
    let round = driver.force(order)?;
    if round.crashed || round.hung.is_some() {
        return Err(driver.machine.undisturbed(round.hung));
    }
    Ok(round)
}

/// Adds points that an earlier round did not run, where they belong.
fn merge(all: &mut Vec<Point>, now: Vec<Point>) {
    let mut at = 0;
    for point in now {
        if let Some(index) = all.iter().position(|known| known.address == point.address) {
            at = index + 1;
        } else {
            all.insert(at, point);
            at += 1;
        }
    }
}

/// The schedules of all forms, the likeliest to crash first.
fn queue(bench: &Bench<'_>, found: &Found) -> Result<Vec<Item>, ProveError> {
    if let Some((first, loader, reader)) = bench.subject.only {
        let [loaders, readers] = &found.points[0];
        let here = |number: usize, points: &[Point], letter: char| {
            number
                .checked_sub(1)
                .filter(|&index| index < points.len())
                .ok_or_else(|| {
                    let name = format!("{letter}{number}");
                    ProveError::NoPoint(name, loaders.len(), readers.len())
                })
        };
        let pair = Pair {
            first: index_of(first),
            points: [here(loader, loaders, 'L')?, here(reader, readers, 'R')?],
        };
        return Ok(vec![Item { pair, form: 0 }]);
    }
    let takes_lock = |point: &Point| record::takes_lock(bench, point);
    let mut items = Vec::new();
    for (form, points) in found.points.iter().enumerate() {
        if form > 0 && !found.differs[form] {
            continue;
        }
        let pairs = pairs([&points[LOADER], &points[READER]], &takes_lock);
        // Forms take turns: each has its likeliest schedules first.
        items.extend(
            pairs
                .into_iter()
                .enumerate()
                .map(|(place, pair)| (place, Item { pair, form })),
        );
    }
    items.sort_by_key(|(place, item)| (*place, item.form));
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn index_of(who: Who) -> usize {
    match who {
        Who::Loader => LOADER,
        Who::Reader => READER,
    }
}

pub(super) fn who(side: usize) -> Who {
    if side == LOADER {
        Who::Loader
    } else {
        Who::Reader
    }
}

struct Sweep<'a> {
    found: &'a Found,
    coverage: [Coverage; 2],
    schedules: Vec<Schedule>,
    /// By form, first side and its point.
    decided: HashMap<(usize, usize, usize), Decided>,
    started: Instant,
}

impl Sweep<'_> {
    fn all(
        &mut self,
        driver: &mut Driver<'_>,
        items: &[Item],
        events: Events<'_>,
    ) -> Result<(), MachineError> {
        let mut told = Instant::now();
        for (index, item) in items.iter().enumerate() {
            let schedule = match self.same(*item) {
                Some(schedule) => schedule,
                None => self.one(driver, *item)?,
            };
            let crashed = is_crash(schedule.outcome);
            self.schedules.push(schedule);
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let (done, planned) = (index + 1, items.len());
                events.note(format!("{done} of {planned} schedules"));
            }
            if crashed {
                return Ok(());
            }
            // What cannot be decided again and again cannot at all here.
            if self.undecided() >= MOST_UNDECIDED {
                return Ok(());
            }
        }
        Ok(())
    }

    fn undecided(&self) -> usize {
        let undecided = |one: &&Schedule| one.outcome == ScheduleOutcome::NotDecided;
        self.schedules.iter().filter(undecided).count()
    }

    fn crashed_at(&self) -> Option<usize> {
        self.schedules
            .iter()
            .position(|schedule| is_crash(schedule.outcome))
    }

    fn point(&self, item: Item, side: usize) -> &Point {
        &self.found.points[item.form][side][item.pair.points[side]]
    }

    /// A schedule that another one's round has decided.
    fn same(&self, item: Item) -> Option<Schedule> {
        let first = item.pair.first;
        let key = (item.form, first, item.pair.points[first]);
        let decided = self.decided.get(&key)?;
        let address = self.point(item, 1 - first).address;
        (!decided.ran.contains(&address)).then(|| Schedule {
            outcome: decided.outcome,
            blocked: decided.blocked.clone(),
            same_as: Some(decided.number),
            ..blank(item)
        })
    }

    fn one(&mut self, driver: &mut Driver<'_>, item: Item) -> Result<Schedule, MachineError> {
        let at = |side: usize| {
            Some(At {
                address: self.point(item, side).address,
                pass: 1,
            })
        };
        let order = Order {
            first: item.pair.first,
            stops: [at(LOADER), at(READER)],
            form: item.form as u64,
            names: NAMES_MODULE,
        };
        let mut tries = 0;
        let mut held_up = 0;
        loop {
            let round = driver.force(&order)?;
            for side in [LOADER, READER] {
                self.coverage[side].add(&round.traces[side]);
            }
            let schedule = judge(item, &round);
            if round.held_up() {
                held_up += 1;
            } else {
                tries += 1;
            }
            let again = match schedule.outcome {
                ScheduleOutcome::NotDecided | ScheduleOutcome::NotReached => {
                    tries < TRIES && held_up < TRIES_HELD_UP
                }
                _ => false,
            };
            if !again {
                self.note(item, &round, &schedule);
                return Ok(schedule);
            }
        }
    }

    /// Remembers what decides other schedules too.
    fn note(&mut self, item: Item, round: &Round, schedule: &Schedule) {
        let before_its_point = matches!(round.second, Some(Wait::Ended | Wait::Standing(_)));
        if before_its_point
            && matches!(
                schedule.outcome,
                ScheduleOutcome::PassedBy | ScheduleOutcome::Impossible
            )
        {
            let first = item.pair.first;
            let key = (item.form, first, item.pair.points[first]);
            let ran = round.traces[1 - first].iter().map(|ran| ran.address);
            self.decided.insert(
                key,
                Decided {
                    number: self.schedules.len() + 1,
                    ran: ran.collect(),
                    outcome: schedule.outcome,
                    blocked: schedule.blocked.clone(),
                },
            );
        }
    }
}

fn is_crash(outcome: ScheduleOutcome) -> bool {
    matches!(outcome, ScheduleOutcome::Crashed | ScheduleOutcome::Hung)
}

fn blank(item: Item) -> Schedule {
    Schedule {
        first: who(item.pair.first),
        loader: item.pair.points[LOADER] + 1,
        reader: item.pair.points[READER] + 1,
        form: item.form as u64,
        ..Schedule::default()
    }
}

/// What a round came to, in the report's words.
fn judge(item: Item, round: &Round) -> Schedule {
    let first = item.pair.first;
    let blocked = |side: usize, both_stopped: bool, standing: &Standing| Blocked {
        side: who(side),
        both_stopped,
        function: standing.function.clone(),
        caller: standing.caller.clone(),
        lock: standing
            .lock
            .clone()
            .filter(|_| standing.kind == WaitKind::Lock),
    };
    let mut schedule = blank(item);
    if round.crashed {
        schedule.outcome = ScheduleOutcome::Crashed;
        return schedule;
    }
    if let Some(hung) = &round.hung {
        schedule.outcome = ScheduleOutcome::Hung;
        schedule.detail = Some(hung.clone());
        return schedule;
    }
    schedule.outcome = match (&round.first, &round.second, &round.resumed) {
        (Wait::Ended, ..) => ScheduleOutcome::NotReached,
        (Wait::Stopped, Some(Wait::Ended), _) => ScheduleOutcome::PassedBy,
        (Wait::Stopped, Some(Wait::Standing(standing)), _) => {
            schedule.blocked = Some(blocked(1 - first, false, standing));
            ScheduleOutcome::Impossible
        }
        (Wait::Stopped, Some(Wait::Stopped), Some(Wait::Ended)) => ScheduleOutcome::RanThrough,
        (Wait::Stopped, Some(Wait::Stopped), Some(Wait::Standing(standing))) => {
            schedule.blocked = Some(blocked(first, true, standing));
            ScheduleOutcome::Impossible
        }
        _ => {
            schedule.detail = round.where_it_waited();
            ScheduleOutcome::NotDecided
        }
    };
    schedule
}

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
        form: item.form as u64,
        names: NAMES_MODULE,
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
    while !bench.subject.cancel.load(Ordering::Relaxed) && !driver.machine.gone() {
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

fn reduce(bench: &Bench<'_>, found: &Found, item: Item) -> Result<Reduced, ProveError> {
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
                form: item.form as u64,
                names: NAMES_MODULE,
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
