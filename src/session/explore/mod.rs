//! `modrace explore`: a search for races that nobody has named, on one kernel:
//! the calls of a loader and of a reader, in one order after another.
//!
//! - `ground`: the kernel, its module and its files, and guests of it
//! - `whole_calls`: every order of whole calls
//! - `recorded`: what the calls run, undisturbed
//! - `sweep`: one stop everywhere, two where it matters
//! - `again`: what was found, on a guest booted anew, with fewer stops
//! - `tally`: what a level came to
//! - `schedule`: schedules as they are typed and told

mod again;
mod ground;
mod recorded;
mod schedule;
mod sweep;
mod tally;
mod whole_calls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::kernel_arg;
use super::lock_step::{GuestFilesError, Guests, prepare};
use super::prepared_kernel::adopt;
use super::record as report_record;
use super::request::Request;
use crate::interleave::machine::MachineError;
use crate::model::{Environment, Exploration, ExploredLevel, ProofFailure};
use ground::Ground;
pub use schedule::OneOrder;

/// What a search does not show.
const LIMITS: [&str; 3] = [
    "A search that finds nothing proves nothing: it tried what is counted here, and no other \
     order, argument, or length of a call.",
    "One loader and one reader, each stopped at most once, at the first of its runs of an \
     instruction; instructions take effect in program order, as under TCG.",
    "A side that is stopped keeps its virtual CPU: it answers no interprocessor interrupt and \
     ends no grace period meanwhile, so the other side gets no further than the first wait for \
     one. Where its task is preempted instead, the CPU lives on, and the task may be some \
     instructions further. Between whole calls nothing is held up.",
];

/// Why nothing could be searched.
#[derive(Debug, Error)]
pub enum ExploreError {
    /// The guest could not be driven.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest's files could not be packed.
    #[error(transparent)]
    Files(#[from] GuestFilesError),
    /// There is no such place.
    #[error("there is no place {0} in this kernel and its module")]
    NoPlace(String),
    /// Its loaders do something else than the two sides of a schedule can.
    #[error("{0} is no race of one reader's calls with one loader's")]
    NoReader(String),
}

/// What is searched.
struct Subject<'a> {
    guests: &'a Guests<'a>,
    request: &'a Request,
    /// The module's name.
    module: &'a str,
    /// The file that may tell file and line of an address.
    vmlinux: Option<PathBuf>,
}

/// What came of a search.
#[derive(Debug, Default)]
struct Searched {
    levels: Vec<ExploredLevel>,
    finding: Option<ProofFailure>,
    environment: Option<Environment>,
    console: Vec<u8>,
    /// It was told to stop.
    interrupted: bool,
}

impl Searched {
    fn ended(&self) -> bool {
        self.interrupted || self.finding.is_some()
    }
}

/// Searches the kernel that an argument names for as long as `budget`, or forces
/// `only` one schedule.
pub fn run(
    request: Request,
    kernel: &str,
    budget: Duration,
    only: Option<&OneOrder>,
    events: Events<'_>,
) -> Result<Finished, Failure> {
    let preparation = prepare(request, events)?;
    let file = preparation.report_file(kernel)?;
    let mut prepared = preparation.prepare(kernel, None)?;
    let guests = Guests::of(&preparation, &prepared);
    let module = prepared.module.name();
    let vmlinux = kernel_arg::resolve(kernel, &preparation.cache)?
        .kdir
        .map(|kdir| kdir.join("vmlinux"))
        .filter(|path| path.is_file());
    let subject = Subject {
        guests: &guests,
        request: &preparation.request,
        module,
        vmlinux,
    };
    let (searched, exploration) = search(&subject, budget, only, events)?;
    if let Some(guest) = searched.environment {
        adopt(&mut prepared.environment, guest);
    }
    let mut report = preparation.report(&prepared)?;
    report.explore = Some(exploration);
    let exit = report_record::conclude(&mut report, searched.interrupted);
    if let Some(file) = &file {
        super::prove::keep_console(file, &searched.console)?;
    }
    Ok(Finished::new(report, exit, file))
}

fn search(
    subject: &Subject<'_>,
    budget: Duration,
    only: Option<&OneOrder>,
    events: Events<'_>,
) -> Result<(Searched, Exploration), ExploreError> {
    let until = Instant::now() + budget;
    let started = Instant::now();
    let mut exploration = Exploration {
        race: race_of(subject.request),
        budget_s: budget.as_secs_f64(),
        limits: LIMITS.map(str::to_owned).to_vec(),
        ..Exploration::default()
    };
    let mut searched = match Ground::survey(subject) {
        Ok(ground) => {
            exploration.boot_s = started.elapsed().as_secs_f64();
            exploration.files.clone_from(&ground.files);
            let mut searched = match only {
                Some(order) => again::one(&ground, order)?,
                None => whole_calls::run(&ground, until, events)?,
            };
            if only.is_none() && !searched.ended() {
                sweep::run(&ground, &mut searched, until, events)?;
            }
            searched
        }
        Err(ExploreError::Machine(MachineError::Undisturbed { title, crash })) => Searched {
            finding: Some(ProofFailure::undisturbed(&title, crash.map(|crash| *crash))),
            ..Searched::default()
        },
        Err(error) => return Err(error),
    };
    exploration.levels = std::mem::take(&mut searched.levels);
    exploration.finding = searched.finding.take();
    Ok((searched, exploration))
}

fn race_of(request: &Request) -> String {
    match request.settings.driver {
        Some(_) => "a driver's files".to_owned(),
        None => request.settings.race.clone(),
    }
}
