//! The workers of a race: what they share, what each has of its own, and their
//! threads.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::action::{Actions, Rounds};
use super::auto::{Schedule, TargetedReads, UnloadClock};
use super::engine::{RaceError, RaceSpec};
use super::gate::Gates;
use super::line_check::{Examples, Watched};
use super::placement::{Placement, Role};
use super::processes::Programs;
use super::worker::Worker;
use crate::kernel::module::ModuleFile;
use crate::model::Strategy;
use crate::recorder::Recorder;

/// The readers with a CPU of their own, each with the reads that it has under way.
pub(super) type TargetedReaders = Vec<(usize, Arc<TargetedReads>)>;

/// What the workers of a race share.
pub(super) struct Crew {
    recorder: &'static Recorder,
    programs: Option<Programs>,
    actions: Option<Arc<Actions>>,
    rounds: Arc<Rounds>,
    modules: Vec<Arc<ModuleFile>>,
    /// Of each module.
    unload_clocks: Vec<Arc<UnloadClock>>,
    names: Vec<String>,
    watched: Vec<Watched>,
    aims: bool,
    pub(super) examples: Arc<Examples>,
    pub(super) gates: Arc<Gates>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Crew {
    /// Takes modules and actions out of the request.
    pub(super) fn new(spec: &mut RaceSpec, recorder: &'static Recorder) -> Result<Self, RaceError> {
        if spec.modules.is_empty() {
            return Err(RaceError::NoModule);
        }
        let programs = match spec.strategy {
            Strategy::AsReported => Some(Programs::find().map_err(RaceError::NoProgram)?),
            _ => None,
        };
        let actions = spec.actions.take().map(Arc::new);
        let modules: Vec<_> = mem::take(&mut spec.modules)
            .into_iter()
            .map(Arc::new)
            .collect();
        let names: Vec<String> = modules
            .iter()
            .map(|module| module.name().to_owned())
            .collect();
        Ok(Self {
            recorder,
            aims: spec.strategy == Strategy::Auto && spec.target.is_targeted() && actions.is_none(),
            programs,
            actions,
            rounds: Arc::default(),
            unload_clocks: modules.iter().map(|_| Arc::default()).collect(),
            watched: watched(&names, &spec.taints, &spec.placement, recorder),
            modules,
            names,
            examples: Arc::default(),
            gates: Arc::default(),
            stop: Arc::default(),
        })
    }

    /// Modules that are loaded while the readers warm up: one that stays is no
    /// race.
    pub(super) fn shown_beforehand(&self) -> Vec<Arc<ModuleFile>> {
        if self.programs.is_some() || self.actions.is_some() {
            Vec::new()
        } else {
            self.modules.clone()
        }
    }

    /// Starts a thread for each seat. Returns the readers that can be aimed at
    /// unloads, if any are.
    pub(super) fn start(&self, spec: &RaceSpec) -> Result<Option<TargetedReaders>, RaceError> {
        let mut targeted_readers = Vec::new();
        for index in 0..spec.placement.seats.len() {
            let worker = self.worker(spec, index);
            let role = match worker.seat.role {
                Role::Loader => "loader",
                Role::Reader => "reader",
            };
            if let (Role::Reader, Some(cpu)) = (worker.seat.role, worker.seat.cpu) {
                targeted_readers.push((cpu, Arc::clone(&worker.targeted_reads)));
            }
            thread::Builder::new()
                .name(format!("{role}/{index}"))
                .spawn(move || worker.run())
                .map_err(RaceError::Spawn)?;
        }
        Ok(self.aims.then_some(targeted_readers))
    }

    fn worker(&self, spec: &RaceSpec, index: usize) -> Worker {
        let seat = spec.placement.seats[index];
        let module = index % self.modules.len();
        let shares_cpu = self.aims && spec.placement.shares_cpu(&seat);
        Worker {
            recorder: self.recorder,
            index,
            seat,
            module: Arc::clone(&self.modules[module]),
            programs: self.programs.clone(),
            actions: self.actions.clone(),
            rounds: Arc::clone(&self.rounds),
            number: spec.placement.number(index),
            unload_clock: Arc::clone(&self.unload_clocks[module]),
            targeted_reads: Arc::default(),
            shares_cpu,
            target: spec.target,
            strategy: spec.strategy,
            schedule: Schedule::new(&spec.arms, shares_cpu),
            names: self.names.clone(),
            rehearsal_seed: spec.seed,
            watched: self.watched.clone(),
            examples: Arc::clone(&self.examples),
            aims: self.aims,
            gates: Arc::clone(&self.gates),
            stop: Arc::clone(&self.stop),
        }
    }
}

/// The modules with what is needed to check their lines.
fn watched(
    names: &[String],
    taints: &str,
    placement: &Placement,
    recorder: &'static Recorder,
) -> Vec<Watched> {
    let loaders_of = |module: usize| {
        let seats = placement.seats.iter().enumerate();
        seats
            .filter(move |(index, seat)| seat.role == Role::Loader && index % names.len() == module)
            .map(|(index, _)| index)
    };
    names
        .iter()
        .enumerate()
        .map(|(module, name)| Watched {
            name: name.clone(),
            taints: taints.to_owned(),
            loader: match loaders_of(module).collect::<Vec<_>>()[..] {
                [only] => Some(&recorder.slots[only]),
                // Of two loaders' loads, nobody can tell which is shown.
                _ => None,
            },
        })
        .collect()
}
