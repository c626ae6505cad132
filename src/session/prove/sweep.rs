//! Every schedule of a proof, one after another, until one crashes.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::again::{first_crash, reduce};
use super::bench::{Bench, ProveError, Proved, of_race};
use super::record::{self, Seen};
use super::undisturbed::{Found, Item, queue, undisturbed, who};
use crate::interleave::arch::WaitKind;
use crate::interleave::calls::Call;
use crate::interleave::coverage::Coverage;
use crate::interleave::driver::Driver;
use crate::interleave::machine::{LOADER, MachineError, READER};
use crate::interleave::points::Point;
use crate::interleave::round::{At, Order, Round, Wait};
use crate::interleave::standing::Standing;
use crate::model::{Blocked, Schedule, ScheduleOutcome};
use crate::session::events::Events;

/// Times that a schedule is forced until it is decided.
const TRIES: u32 = 3;
/// The same where another task held up the side's CPU, which is chance.
const TRIES_HELD_UP: u32 = 20;
/// Undecided schedules after which no more are forced.
const MOST_UNDECIDED: usize = 10;
/// Between two words on the way.
const TELL_EVERY: Duration = Duration::from_secs(15);

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
        found.all(LOADER).count(),
        found.all(READER).count(),
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

    /// A schedule that was not forced yet.
    fn blank(&self, item: Item) -> Schedule {
        Schedule {
            first: who(item.pair.first),
            loader: self.found.number(item, LOADER),
            reader: self.found.number(item, READER),
            form: item.form as u64,
            ..Schedule::default()
        }
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
            ..self.blank(item)
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
            preempts: false,
            setting: of_race(item.form, Call::Unload),
        };
        let mut tries = 0;
        let mut held_up = 0;
        loop {
            let round = driver.force(&order)?;
            for side in [LOADER, READER] {
                self.coverage[side].add(&round.traces[side]);
            }
            let schedule = judge(self.blank(item), item.pair.first, &round);
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

/// What a round came to, in the report's words.
fn judge(mut schedule: Schedule, first: usize, round: &Round) -> Schedule {
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
