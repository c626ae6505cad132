//! The engine: seats the workers, arms the chaos, opens the gate, and stops
//! everybody in bounded time. A worker killed by an oops never ends, so nobody
//! is ever waited for without a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::arms::{Schedule, Shape};
use super::chaos::{self, Arena, Armed};
use super::gate::Gate;
use super::line_check::{Examples, LineCheck, Watched};
use super::lineup::{Lineup, Role, Seat};
use super::loader;
use super::moments::Moments;
use super::processes::{self, Programs};
use super::reader::{self, Listing, Tally};
use super::striker::Striker;
use super::strikes::Strikes;
use super::targets::Target;
use crate::kernel::module::ModuleFile;
use crate::kernel::{affinity, clock, sys};
use crate::model::{
    BadLine, ChaosChoice, Knob, Phase, Recorder, Slot, Stage, Strategy, trial_seed,
};

/// Longest wait for the workers to reach the gate.
const GATE_PATIENCE: Duration = Duration::from_secs(30);

/// Reads of each reader before the gate.
const WARM_UP_READS: u32 = 200;
/// Longest time that they may take.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is raced.
#[derive(Debug)]
pub struct RaceSpec {
    /// What readers read.
    pub target: &'static Target,
    /// How they read it.
    pub strategy: Strategy,
    /// Chaos techniques.
    pub chaos: ChaosChoice,
    /// Who sits where.
    pub lineup: Lineup,
    /// Arms that `auto` chooses from; empty: all.
    pub arms: Vec<String>,
    /// Modules to load, shared out among the loaders.
    pub modules: Vec<ModuleFile>,
    /// Their taint letters.
    pub taints: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether this machine is a guest that nobody else uses.
    pub guest: bool,
}

/// Why a race did not start.
#[derive(Debug, Error)]
pub enum RaceError {
    /// A loader without a module.
    #[error("no module to load")]
    NoModule,
    /// `as-reported` needs three programs.
    #[error("{0} not found: the as-reported strategy runs it as a process")]
    NoProgram(&'static str),
    /// The system would not start a thread.
    #[error("starting a worker")]
    Spawn(#[source] std::io::Error),
    /// A worker could not be set up.
    #[error("only some of the {0} workers reached the gate within {1:?}")]
    NotReady(usize, Duration),
}

/// A race under way.
pub struct Race {
    recorder: &'static Recorder,
    stop: Arc<AtomicBool>,
    workers: usize,
    armed: Vec<Box<dyn Armed>>,
    examples: Arc<Examples>,
    /// Techniques that this kernel cannot do, with the reason.
    pub skipped: Vec<String>,
    /// Techniques at work.
    pub techniques: Vec<&'static str>,
}

impl Race {
    /// Sets everything up, opens the gate and returns at once. `at_gate` is
    /// called when all is ready, just before the gate opens. The recorder is
    /// never given back: a worker that an oops has killed still points to it.
    pub fn start(
        spec: RaceSpec,
        recorder: &'static Recorder,
        at_gate: impl FnOnce(),
    ) -> Result<Self, RaceError> {
        if spec.modules.is_empty() {
            return Err(RaceError::NoModule);
        }
        let programs = match spec.strategy {
            Strategy::AsReported => Some(Programs::find().map_err(RaceError::NoProgram)?),
            _ => None,
        };
        let aims = spec.strategy == Strategy::Auto && spec.target.is_struck_at();
        let stop = Arc::new(AtomicBool::new(false));
        let gate = Arc::new(Gate::default());
        let modules: Vec<Arc<ModuleFile>> = spec.modules.into_iter().map(Arc::new).collect();
        let names: Vec<String> = modules
            .iter()
            .map(|module| module.name().to_owned())
            .collect();
        let watched = watched(&names, &spec.taints, &spec.lineup, recorder);
        let examples = Arc::new(Examples::default());
        let moments: Vec<Arc<Moments>> = modules.iter().map(|_| Arc::default()).collect();
        let mut race = Self {
            recorder,
            examples: Arc::clone(&examples),
            stop: Arc::clone(&stop),
            workers: spec.lineup.seats.len(),
            armed: Vec::new(),
            skipped: Vec::new(),
            techniques: Vec::new(),
        };
        let mut strikers = Vec::new();
        for (index, seat) in spec.lineup.seats.iter().enumerate() {
            let strikes = Arc::new(Strikes::default());
            if let (Role::Reader, Some(cpu)) = (seat.role, seat.cpu) {
                strikers.push((cpu, Arc::clone(&strikes)));
            }
            let worker = Worker {
                recorder,
                index,
                seat: *seat,
                module: Arc::clone(&modules[index % modules.len()]),
                programs: programs.clone(),
                moments: Arc::clone(&moments[index % modules.len()]),
                strikes,
                shares_cpu: aims && spec.lineup.shares_cpu(seat),
                target: spec.target,
                strategy: spec.strategy,
                schedule: Schedule::new(spec.seed, &spec.arms),
                names: names.clone(),
                seed: trial_seed(spec.seed, u32::try_from(index).unwrap_or(u32::MAX)),
                watched: watched.clone(),
                examples: Arc::clone(&examples),
                gate: Arc::clone(&gate),
                stop: Arc::clone(&stop),
            };
            let role = if seat.role == Role::Loader {
                "loader"
            } else {
                "reader"
            };
            // On an early return, dropping `race` stops those who wait.
            thread::Builder::new()
                .name(format!("{role}/{index}"))
                .spawn(move || worker.run())
                .map_err(RaceError::Spawn)?;
        }
        if !gate.all_arrived(race.workers, GATE_PATIENCE) {
            gate.open();
            return Err(RaceError::NotReady(race.workers, GATE_PATIENCE));
        }
        let mut idle_cpus = affinity::allowed_cpus().unwrap_or_default();
        idle_cpus.retain(|&cpu| spec.lineup.seats.iter().all(|seat| seat.cpu != Some(cpu)));
        let arena = Arena {
            reader_cpus: spec.lineup.reader_cpus(),
            idle_cpus,
            shares_cpu: spec
                .lineup
                .seats
                .iter()
                .any(|seat| spec.lineup.shares_cpu(seat)),
            strikers: aims.then_some(strikers),
            seed: spec.seed,
        };
        for technique in chaos::chosen(&spec.chaos, spec.strategy, spec.guest) {
            match (technique.arm)(&arena) {
                Ok(armed) => {
                    race.armed.push(armed);
                    race.techniques.push(technique.name);
                }
                Err(error) => race.skipped.push(format!("{}: {error}", technique.name)),
            }
        }
        at_gate();
        recorder
            .race_start_ns
            .store(clock::monotonic_ns(), Ordering::Relaxed);
        recorder.enter(Phase::Race);
        gate.open();
        Ok(race)
    }

    /// Settings of the kernel that the race changed, as they are now.
    pub fn knobs(&self) -> Vec<Knob> {
        self.armed.iter().flat_map(|armed| armed.knobs()).collect()
    }

    /// The first examples of lines that cannot be.
    pub fn bad_lines(&self) -> Vec<BadLine> {
        self.examples.taken()
    }

    /// Ends the race: tells everybody to stop, disarms the chaos, and waits at
    /// most `patience`. Returns the knobs put back and the workers that did not
    /// end, with what they were doing.
    pub fn end(mut self, patience: Duration) -> (Vec<Knob>, Vec<Stage>) {
        self.recorder
            .race_end_ns
            .store(clock::monotonic_ns(), Ordering::Relaxed);
        self.recorder.enter(Phase::Settle);
        self.stop.store(true, Ordering::Relaxed);
        let knobs = self.armed.drain(..).flat_map(Armed::disarm).collect();
        let deadline = Instant::now() + patience;
        loop {
            let busy: Vec<Stage> = self
                .recorder
                .snapshot()
                .stages
                .into_iter()
                .take(self.workers)
                .filter(|stage| *stage != Stage::Ended)
                .collect();
            if busy.is_empty() || Instant::now() > deadline {
                return (knobs, busy);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The modules with what is needed to check their lines.
fn watched(
    names: &[String],
    taints: &str,
    lineup: &Lineup,
    recorder: &'static Recorder,
) -> Vec<Watched> {
    let loaders_of = |module: usize| {
        let seats = lineup.seats.iter().enumerate();
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
            loads: match loaders_of(module).collect::<Vec<_>>()[..] {
                [only] => Some(&recorder.slots[only].loads),
                // Of two loaders' loads, nobody can tell which is shown.
                _ => None,
            },
        })
        .collect()
}

impl Drop for Race {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One worker, before it starts.
struct Worker {
    recorder: &'static Recorder,
    index: usize,
    seat: Seat,
    module: Arc<ModuleFile>,
    programs: Option<Programs>,
    moments: Arc<Moments>,
    strikes: Arc<Strikes>,
    shares_cpu: bool,
    target: &'static Target,
    strategy: Strategy,
    schedule: Schedule,
    names: Vec<String>,
    watched: Vec<Watched>,
    examples: Arc<Examples>,
    seed: u64,
    gate: Arc<Gate>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(&self) {
        let slot = &self.recorder.slots[self.index];
        slot.enter(Stage::Idle);
        if let Some(cpu) = self.seat.cpu {
            let _wherever_it_runs_it_races = affinity::pin_to(cpu);
        }
        sys::exact_timers();
        let uncounted = Slot::default();
        // Opened before the gate: the way to the modules' part of a long file
        // is long.
        let listing = (self.seat.role == Role::Reader && self.programs.is_none())
            .then(|| self.warm_up(&uncounted));
        self.gate.wait();
        let done = match (listing, &self.programs) {
            (Some(listing), _) => listing.and_then(|listing| self.read(listing, slot)),
            (None, None) => {
                loader::run(
                    &self.module,
                    &self.moments,
                    self.shares_cpu,
                    slot,
                    &self.stop,
                );
                Ok(())
            }
            (None, Some(programs)) if self.seat.role == Role::Loader => {
                processes::load_loop(programs, &self.module, slot, &self.stop)
            }
            (None, Some(programs)) => {
                let tally = Tally::new(self.target, &self.names, self.line_check(), slot);
                processes::read_loop(programs, self.target, &self.names, tally, slot, &self.stop)
            }
        };
        if let Err(error) = done {
            // A worker that gives up leaves counts that stand still and an
            // errno; whoever judges sees both.
            let errno = error
                .raw_os_error()
                .and_then(|errno| u64::try_from(errno).ok());
            slot.last_errno
                .store(errno.unwrap_or(u64::MAX), Ordering::Relaxed);
            slot.enter(Stage::Ended);
        }
    }

    /// Reads a little, uncounted, before anything is loaded: first reads are
    /// many times slower than later ones, above all in emulation.
    fn warm_up<'a>(&'a self, uncounted: &'a Slot) -> std::io::Result<Listing<'a>> {
        let mut listing = Listing::open(self.target, &self.names, uncounted)?;
        let begun = Instant::now();
        for _ in 0..WARM_UP_READS {
            let _the_race_will_tell = listing.read(Shape::Head);
            if begun.elapsed() > WARM_UP {
                break;
            }
        }
        Ok(listing)
    }

    fn line_check(&self) -> LineCheck {
        LineCheck::new(self.watched.clone(), Arc::clone(&self.examples))
    }

    fn read<'a>(&'a self, mut listing: Listing<'a>, slot: &'a Slot) -> std::io::Result<()> {
        let cycles = || self.recorder.cycles();
        listing.count_in(slot, self.line_check());
        match self.strategy {
            Strategy::Full => reader::run(listing, Shape::Whole, cycles, &self.stop),
            Strategy::Head | Strategy::AsReported => {
                reader::run(listing, Shape::Head, cycles, &self.stop)
            }
            Strategy::Auto if !self.target.is_struck_at() => {
                reader::run(listing, Shape::Head, cycles, &self.stop)
            }
            Strategy::Auto => Striker {
                moments: &self.moments,
                strikes: &self.strikes,
                schedule: &self.schedule,
                module: self.module.name(),
                shares_cpu: self.shares_cpu,
                seed: self.seed,
                slot,
            }
            .run(listing, cycles, &self.stop),
        }
    }
}
