//! The engine: seats the workers, arms the chaos, opens the gate, and stops
//! everybody in bounded time. A worker killed by an oops never ends, so nobody
//! is ever waited for without a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::action::Actions;
use super::chaos::{self, ChaosContext, Technique, TechniqueGuard};
use super::crew::{Crew, TargetedReaders};
use super::gate::{Gate, Gates, RaceSeed};
use super::line_check::Examples;
use super::placement::Placement;
use super::targets::Target;
use crate::kernel::module::ModuleFile;
use crate::kernel::{affinity, clock};
use crate::model::{BadLine, ChaosChoice, Strategy, Tunable};
use crate::recorder::{Phase, Recorder, Stage};

/// Longest wait for the workers to reach the gate.
const GATE_PATIENCE: Duration = Duration::from_secs(30);

/// What is raced.
#[derive(Debug)]
pub struct RaceSpec {
    /// What readers read.
    pub target: &'static Target,
    /// How they read it.
    pub strategy: Strategy,
    /// What loaders and readers do instead, in another race than the default.
    pub actions: Option<Actions>,
    /// Chaos techniques.
    pub chaos: ChaosChoice,
    /// Who sits where.
    pub placement: Placement,
    /// Arms that `auto` chooses from; empty: all.
    pub arms: Vec<String>,
    /// Modules to load, shared out among the loaders.
    pub modules: Vec<ModuleFile>,
    /// Their taint letters.
    pub taints: String,
    /// Seed of what is random before the race.
    pub seed: u64,
    /// Whether this machine is a guest that nobody else uses.
    pub guest: bool,
}

/// Who is told how the start goes.
pub trait Starting {
    /// All is armed, a few cycles before the race: what is told here takes no
    /// time from it.
    fn armed(&mut self, race: &Race);

    /// All wait at the gate, which opens as soon as this returns. It gives the
    /// race's seed: of all that is random from here on.
    fn at_gate(&mut self) -> u64;
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
    gates: Arc<Gates>,
    workers: usize,
    armed: Vec<Box<dyn TechniqueGuard>>,
    examples: Arc<Examples>,
    /// Techniques that this kernel cannot do, with the reason.
    pub skipped: Vec<String>,
    /// Techniques at work.
    pub techniques: Vec<&'static str>,
}

impl Race {
    /// Sets everything up, opens the gate and returns at once. The recorder is
    /// never given back: a worker that an oops has killed still points to it.
    pub fn start(
        mut spec: RaceSpec,
        recorder: &'static Recorder,
        starting: &mut dyn Starting,
    ) -> Result<Self, RaceError> {
        let crew = Crew::new(&mut spec, recorder)?;
        // On an early return, dropping it ends those who wait.
        let race = Self {
            recorder,
            examples: Arc::clone(&crew.examples),
            stop: Arc::clone(&crew.stop),
            gates: Arc::clone(&crew.gates),
            workers: spec.placement.seats.len(),
            armed: Vec::new(),
            skipped: Vec::new(),
            techniques: Vec::new(),
        };
        let shown = Shown::load(&crew.shown_beforehand());
        let targeted_readers = crew.start(&spec)?;
        race.begin(&spec, shown, targeted_readers, starting)
    }

    /// Takes everybody through the gates. `shown`: modules that readers warm up
    /// on.
    fn begin(
        mut self,
        spec: &RaceSpec,
        shown: Shown,
        targeted_readers: Option<TargetedReaders>,
        starting: &mut dyn Starting,
    ) -> Result<Self, RaceError> {
        let gates = Arc::clone(&self.gates);
        let all_are_at = |gate: &Gate| {
            let workers = spec.placement.seats.len();
            if gate.all_arrived(workers, GATE_PATIENCE) {
                Ok(())
            } else {
                Err(RaceError::NotReady(workers, GATE_PATIENCE))
            }
        };
        all_are_at(&gates.warm)?;
        gates.warm.open();
        all_are_at(&gates.rehearsed)?;
        let to_show = shown.0.clone();
        drop(shown);
        let context = context(spec, gates.seed.clone(), targeted_readers);
        self.arm(
            &spec.chaos,
            chaos::chosen(&spec.chaos, spec.strategy, spec.guest),
            &context,
        );
        starting.armed(&self);
        gates.rehearsed.open();
        all_are_at(&gates.ready)?;
        let seed = starting.at_gate();
        let shown = Shown::load(&to_show);
        gates.ready.open();
        all_are_at(&gates.race)?;
        drop(shown);
        gates.seed.set(seed);
        self.recorder
            .race_start_ns
            .store(clock::monotonic_ns(), Ordering::Relaxed);
        self.recorder.enter(Phase::Race);
        gates.race.open();
        Ok(self)
    }

    fn arm(&mut self, choice: &ChaosChoice, techniques: Vec<&Technique>, context: &ChaosContext) {
        for technique in techniques {
            match (technique.arm)(context) {
                Ok(Some(armed)) => {
                    self.armed.push(armed);
                    self.techniques.push(technique.name);
                }
                // Only who asked for it by name wonders where it is.
                Ok(None) if *choice == ChaosChoice::Auto => {}
                Ok(None) => {
                    let reason = format!("{}: of no use here", technique.name);
                    self.skipped.push(reason);
                }
                Err(error) => self.skipped.push(format!("{}: {error}", technique.name)),
            }
        }
    }

    /// Settings of the kernel that the race changed, as they are now.
    pub fn tunables(&self) -> Vec<Tunable> {
        self.armed
            .iter()
            .flat_map(|armed| armed.tunables())
            .collect()
    }

    /// The first examples of lines that cannot be.
    pub fn bad_lines(&self) -> Vec<BadLine> {
        self.examples.taken()
    }

    /// Ends the race: tells everybody to stop, disarms the chaos, and waits at
    /// most `patience`. Returns the tunables put back and the workers that did not
    /// end, with what they were doing.
    pub fn end(mut self, patience: Duration) -> (Vec<Tunable>, Vec<Stage>) {
        self.recorder
            .race_end_ns
            .store(clock::monotonic_ns(), Ordering::Relaxed);
        self.recorder.enter(Phase::Settle);
        self.stop.store(true, Ordering::Relaxed);
        let tunables = self
            .armed
            .drain(..)
            .flat_map(TechniqueGuard::disarm)
            .collect();
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
                return (tunables, busy);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What chaos is armed for.
fn context(
    spec: &RaceSpec,
    seed: RaceSeed,
    targeted_readers: Option<TargetedReaders>,
) -> ChaosContext {
    let seats = &spec.placement.seats;
    let mut idle_cpus = affinity::allowed_cpus().unwrap_or_default();
    idle_cpus.retain(|&cpu| seats.iter().all(|seat| seat.cpu != Some(cpu)));
    ChaosContext {
        reader_cpus: spec.placement.reader_cpus(),
        idle_cpus,
        shares_cpu: seats.iter().any(|seat| spec.placement.shares_cpu(seat)),
        targeted_readers,
        seed,
    }
}

/// Modules that are loaded for a while; unloaded when dropped.
struct Shown(Vec<Arc<ModuleFile>>);

impl Shown {
    fn load(modules: &[Arc<ModuleFile>]) -> Self {
        let loaded = modules.iter().filter(|module| module.load().is_ok());
        Self(loaded.cloned().collect())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        for module in &self.0 {
            // A module that stays loaded shows in the first load.
            let _ = module.unload();
        }
    }
}

impl Drop for Race {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.gates.open();
    }
}
