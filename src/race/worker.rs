//! One worker: warms up on a module that stays, rehearses, waits at the gate,
//! and does what its seat says until told to stop. How loads, reads and `targeted_reads`
//! are made is the work of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::action::{Actions, Rounds};
use super::auto::TargetedReader;
use super::auto::TargetedReads;
use super::auto::UnloadClock;
use super::auto::{Schedule, Shape};
use super::gate::Gates;
use super::line_check::{Examples, LineCheck, Watched};
use super::loader;
use super::placement::{PlacedWorker, Role};
use super::processes::{self, Programs};
use super::read_counter::ReadCounter;
use super::target_reader::{self, TargetReader};
use super::targets::Target;
use crate::kernel::module::ModuleFile;
use crate::kernel::{affinity, sys};
use crate::model::{Domain, Strategy, derive};
use crate::recorder::{Recorder, Slot, Stage};

/// Reads of each reader before the gate.
const WARM_UP_READS: u32 = 200;
/// Reads of each reader when all are ready: in a clone nothing has run before,
/// and what runs first in emulation has to be translated first.
const READS_WHEN_READY: u32 = 16;
/// Longest time that they may take.
const WARM_UP: Duration = Duration::from_secs(1);

/// One worker, before it starts.
pub(super) struct Worker {
    pub(super) recorder: &'static Recorder,
    pub(super) index: usize,
    pub(super) seat: PlacedWorker,
    pub(super) module: Arc<ModuleFile>,
    pub(super) programs: Option<Programs>,
    pub(super) actions: Option<Arc<Actions>>,
    /// Where two loaders of one module meet.
    pub(super) rounds: Arc<Rounds>,
    /// Which of the workers of its role it is, and how many there are.
    pub(super) number: (usize, usize),
    pub(super) unload_clock: Arc<UnloadClock>,
    pub(super) targeted_reads: Arc<TargetedReads>,
    pub(super) shares_cpu: bool,
    pub(super) target: &'static Target,
    pub(super) strategy: Strategy,
    pub(super) schedule: Schedule,
    pub(super) names: Vec<String>,
    pub(super) watched: Vec<Watched>,
    pub(super) examples: Arc<Examples>,
    /// Seed of what is random before the race.
    pub(super) rehearsal_seed: u64,
    /// Whether readers targeted read at unloads: `auto`, at a target that allows it.
    pub(super) aims: bool,
    pub(super) gates: Arc<Gates>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Worker {
    /// Warms up, rehearses, waits at the gate and races until told to stop.
    pub(super) fn run(&self) {
        let slot = &self.recorder.slots[self.index];
        slot.enter(Stage::Idle);
        if let Some(cpu) = self.seat.cpu {
            // An unpinned worker still races.
            let _ = affinity::pin_to(cpu);
        }
        sys::exact_timers();
        if let Some(actions) = &self.actions {
            self.act(actions, slot);
            return;
        }
        let uncounted = Slot::default();
        // Opened before the gate: the way to the modules' part of a long file
        // is long.
        let mut target_reader = (self.seat.role == Role::Reader && self.programs.is_none())
            .then(|| self.warm_up(&uncounted));
        self.gates.warm.wait();
        match &mut target_reader {
            _ if !self.aims => {}
            None => loader::rehearse(&self.unload_clock, self.shares_cpu, &self.stop),
            Some(Ok(target_reader)) => {
                let cycles = || self.recorder.cycles();
                // What fails here fails in the race, where it is counted.
                let _ = self.targeted_reader(self.rehearsal_seed, &uncounted).run(
                    target_reader,
                    &cycles,
                    &self.unload_clock.rehearsed,
                );
            }
            Some(Err(_)) => {}
        }
        self.gates.rehearsed.wait();
        if target_reader.is_none() && self.programs.is_none() {
            loader::warm_up(&self.module, &self.stop);
        }
        self.gates.ready.wait();
        if let Some(Ok(target_reader)) = &mut target_reader {
            for _ in 0..READS_WHEN_READY {
                // What fails here fails in the race, where it is counted.
                let _ = target_reader.read(Shape::Head);
            }
        }
        self.gates.race.wait();
        let seed = self.gates.seed.wait();
        let done = match (target_reader, &self.programs) {
            (Some(target_reader), _) => {
                target_reader.and_then(|target_reader| self.read(target_reader, seed, slot))
            }
            (None, None) => {
                loader::run(
                    &self.module,
                    &self.unload_clock,
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
                let read_counter =
                    ReadCounter::new(self.target, &self.names, self.line_check(), slot);
                processes::read_loop(
                    programs,
                    self.target,
                    &self.names,
                    read_counter,
                    slot,
                    &self.stop,
                )
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

    fn own_seed(&self, race_seed: u64) -> u64 {
        derive(race_seed, Domain::Worker, self.index as u64)
    }

    /// Does what another race than the default asks for.
    fn act(&self, actions: &Actions, slot: &Slot) {
        self.gates.warm.wait();
        self.gates.rehearsed.wait();
        self.gates.ready.wait();
        self.gates.race.wait();
        let seed = self.own_seed(self.gates.seed.wait());
        match self.seat.role {
            Role::Reader => actions.read(self.number, seed, slot, &self.stop),
            Role::Loader => actions.load(
                self.number.0,
                &self.module,
                &self.rounds,
                seed,
                slot,
                &self.stop,
            ),
        }
    }

    /// Reads a little, uncounted, of a module that stays: first reads are many
    /// times slower than later ones, above all in emulation.
    fn warm_up<'a>(&'a self, uncounted: &'a Slot) -> std::io::Result<TargetReader<'a>> {
        if self.aims {
            self.unload_clock.wake_me();
            self.targeted_reads.are_mine();
        }
        let mut target_reader = TargetReader::open(self.target, &self.names, uncounted)?;
        target_reader.count_in(
            uncounted,
            LineCheck::new(self.watched.clone(), Arc::default()),
        );
        let begun = Instant::now();
        for _ in 0..WARM_UP_READS {
            // What fails here fails in the race, where it is counted.
            let _ = target_reader.read(Shape::Head);
            if begun.elapsed() > WARM_UP {
                break;
            }
        }
        // What only an unload shows.
        let going = format!("{} 16384 -1 - Unloading 0x", self.module.name());
        target_reader.rehearse(going.as_bytes());
        target_reader.rehearse(going.as_bytes());
        Ok(target_reader)
    }

    fn line_check(&self) -> LineCheck {
        LineCheck::new(self.watched.clone(), Arc::clone(&self.examples))
    }

    fn read<'a>(
        &'a self,
        mut target_reader: TargetReader<'a>,
        seed: u64,
        slot: &'a Slot,
    ) -> std::io::Result<()> {
        let cycles = || self.recorder.cycles();
        target_reader.count_in(slot, self.line_check());
        match self.strategy {
            _ if self.aims => {
                self.targeted_reader(seed, slot)
                    .run(&mut target_reader, &cycles, &self.stop)
            }
            Strategy::Full => target_reader::run(target_reader, Shape::Whole, cycles, &self.stop),
            Strategy::Auto | Strategy::Head | Strategy::AsReported => {
                target_reader::run(target_reader, Shape::Head, cycles, &self.stop)
            }
        }
    }

    fn targeted_reader<'a>(&'a self, race_seed: u64, slot: &'a Slot) -> TargetedReader<'a> {
        TargetedReader {
            unload_clock: &self.unload_clock,
            targeted_reads: &self.targeted_reads,
            schedule: &self.schedule,
            module: self.module.name(),
            shares_cpu: self.shares_cpu,
            race_seed,
            seed: self.own_seed(race_seed),
            slot,
        }
    }
}
