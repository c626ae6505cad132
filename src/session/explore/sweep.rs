//! One stop everywhere, two where it matters: each schedule of the search, the
//! likeliest first, for as long as there is time.

use std::time::{Duration, Instant};

use super::again::{self, Found};
use super::ground::Ground;
use super::recorded::Recorded;
use super::tally::Tally;
use super::{ExploreError, Searched};
use crate::interleave::machine::{LOADER, MachineError, READER};
use crate::interleave::points::Point;
use crate::interleave::round::{At, Order};
use crate::interleave::search::{Stops, schedules};
use crate::model::{LevelKind, ProofFailure};
use crate::session::events::Events;

/// Between two words on the way.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// Schedules that a finding can be of: the last ones.
const SUSPECTS: usize = 4;
/// Rounds that a guest serves before another one is booted: what a stop leaves
/// behind cannot add up for ever.
const RENEW_AFTER: usize = 4000;

pub(super) fn run(
    ground: &Ground<'_>,
    searched: &mut Searched,
    until: Instant,
    events: Events<'_>,
) -> Result<(), ExploreError> {
    events.note("recording what each call runs");
    let recorded = match Recorded::of(ground) {
        Err(ExploreError::Machine(MachineError::Interrupted)) => {
            searched.interrupted = true;
            return Ok(());
        }
        Err(ExploreError::Machine(MachineError::Undisturbed { title, crash })) => {
            searched.finding = Some(ProofFailure::undisturbed(&title, crash.map(|crash| *crash)));
            return Ok(());
        }
        other => other?,
    };
    let takes_lock = |point: &Point| takes_lock(ground, point);
    let all = schedules(&recorded.scenes, recorded.code(ground), &takes_lock);
    let [loader, reader] = recorded.points();
    let of = |kind| all.iter().filter(|stops| kind_of(stops) == kind).count() as u64;
    let [one, preempted, two] = KINDS.map(of);
    events.note(format!(
        "{loader} places of the loader's calls, {reader} of the reader's: {one} schedules with \
         one stop, {preempted} with one preemption, {two} with two stops"
    ));
    let mut tallies = [
        Tally::new(KINDS[0], [loader, reader], one),
        Tally::new(KINDS[1], [loader, reader], preempted),
        Tally::new(KINDS[2], places_of_pairs(&all), two),
    ];
    let layout = ground.watching(recorded.watched(ground))?;
    let swept = sweep(
        ground,
        &recorded,
        &layout,
        &all,
        &mut tallies,
        searched,
        until,
        events,
    );
    searched.levels.extend(tallies.map(Tally::level));
    match swept {
        Err(ExploreError::Machine(MachineError::Interrupted)) => {
            searched.interrupted = true;
            Ok(())
        }
        other => other,
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "all of them are the search's, and it is begun once"
)]
fn sweep(
    ground: &Ground<'_>,
    recorded: &Recorded,
    layout: &crate::interleave::machine::Layout,
    all: &[Stops],
    tallies: &mut [Tally; 3],
    searched: &mut Searched,
    until: Instant,
    events: Events<'_>,
) -> Result<(), ExploreError> {
    let mut driver = ground.boot(layout)?;
    let started = Instant::now();
    let mut told = Instant::now();
    for (index, stops) in all.iter().enumerate() {
        if Instant::now() > until {
            break;
        }
        if index > 0 && index.is_multiple_of(RENEW_AFTER) {
            drop(driver);
            driver = ground.boot(layout)?;
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            events.note(format!("{index} of {} schedules with stops", all.len()));
        }
        let kind = kind_of(stops);
        let Some(tally) = tallies.iter_mut().find(|tally| tally.kind() == kind) else {
            continue;
        };
        // A kernel that preempts no task in the kernel never will.
        if stops.preempts && tally.is_hopeless() {
            continue;
        }
        let begun = Instant::now();
        let round = driver.force(&order(recorded, stops))?;
        tally.take(stops.first, &round, begun);
        if round.crashed || round.hung.is_some() {
            driver.machine.last_words();
            searched.console = std::mem::take(&mut driver.machine.console);
            let found = Found {
                number: index + 1,
                after_s: started.elapsed().as_secs_f64(),
            };
            events.note("found something; again on a new guest, with fewer stops");
            // What the kernel reports late may be of a schedule before.
            let suspects = all[(index + 1).saturating_sub(SUSPECTS)..=index]
                .iter()
                .rev();
            let finding = again::reduce(ground, recorded, suspects, layout, &found, &driver)?;
            searched.finding = Some(finding);
            return Ok(());
        }
    }
    searched.console = std::mem::take(&mut driver.machine.console);
    Ok(())
}

/// The levels of a sweep.
const KINDS: [LevelKind; 3] = [
    LevelKind::OneStop,
    LevelKind::OnePreemption,
    LevelKind::TwoStops,
];

fn kind_of(stops: &Stops) -> LevelKind {
    match (stops.preempts, stops.count()) {
        (true, _) => LevelKind::OnePreemption,
        (false, 2) => LevelKind::TwoStops,
        (false, _) => LevelKind::OneStop,
    }
}

/// The order that a schedule is.
pub(super) fn order(recorded: &Recorded, stops: &Stops) -> Order {
    Order {
        first: stops.first,
        stops: stops.at.map(|at| at.map(|address| At { address, pass: 1 })),
        preempts: stops.preempts,
        setting: recorded.settings[stops.scene],
    }
}

/// Whether a point takes a lock, or tries to.
fn takes_lock(ground: &Ground<'_>, point: &Point) -> bool {
    point.calls.is_some_and(|target| {
        let prefixes = ground.guests.arch.takes_lock;
        ground.symbols.at(target).is_some_and(|(name, offset)| {
            offset == 0 && prefixes.iter().any(|prefix| name.starts_with(prefix))
        })
    })
}

/// How many places of each side have a part in a pair.
fn places_of_pairs(all: &[Stops]) -> [u64; 2] {
    [LOADER, READER].map(|side| {
        let places = all
            .iter()
            .filter(|stops| stops.count() == 2)
            .filter_map(|stops| stops.at[side]);
        places.collect::<std::collections::HashSet<u64>>().len() as u64
    })
}
