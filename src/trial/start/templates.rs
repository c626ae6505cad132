//! The templates of one kernel: made by booting a guest to the gate, handed out
//! to trials, renewed after so many clones. The next one boots while clones of
//! the last still run, at a lower priority.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::kernel::priority;
use crate::model::{Domain, Settings, Trial, derive};
use crate::trial::console_log::Log;
use crate::trial::listener::{Ended, Heard, Listener, OnPanic, with_causes};
use crate::vm::contents;
use crate::vm::protocol::{Task, TrialPlan};
use crate::vm::{Qemu, SaveError, Template, VmSpec};

/// Longest time that a signal goes unnoticed by who waits for a template.
const TURN: Duration = Duration::from_millis(50);
/// Longest wait for a template in the making that is no longer wanted.
const PATIENCE: Duration = Duration::from_secs(2);
/// Niceness of a template in the making while trials race: some tenth of a CPU
/// is left to it where they use all (kernel/sched/core.c, `sched_prio_to_weight`).
const NICE: i32 = 10;

/// A template with what its guest has said.
#[derive(Debug)]
pub(in crate::trial) struct Saved {
    /// What clones go on from.
    pub(in crate::trial) template: Template,
    /// Its number, from 0.
    pub(in crate::trial) number: u32,
    /// Bytes of its console.
    pub(in crate::trial) console: Vec<u8>,
    /// Bytes of its agent channel.
    pub(in crate::trial) agent: Vec<u8>,
}

/// What became of a guest that was booted to be saved.
#[derive(Debug)]
pub(in crate::trial) enum Made {
    /// It was saved.
    Saved(Arc<Saved>),
    /// It ended before the gate: a trial by boot, whose index and seed are its
    /// taker's to say.
    Ended(Box<(Trial, Log)>),
    /// It could not be saved.
    NotSaved(String),
}

/// What it takes to make a template.
#[derive(Debug)]
pub(in crate::trial) struct Maker {
    pub(in crate::trial) qemu: Qemu,
    pub(in crate::trial) spec: VmSpec,
    pub(in crate::trial) base: Arc<Vec<u8>>,
    pub(in crate::trial) settings: Settings,
    /// The run's seed.
    pub(in crate::trial) seed: u64,
}

impl Maker {
    fn make(&self, number: u32, stop: &AtomicBool) -> Result<Made, Ended> {
        let plan = contents::plan(&TrialPlan {
            settings: self.settings.clone(),
            seed: derive(self.seed, Domain::Template, number.into()),
            probe: false,
            hold: true,
            task: Task::Race,
        })
        .map_err(Ended::broken)?;
        let mut machine = match self.qemu.boot_to_save(&self.spec, &[&self.base, &plan]) {
            Ok(machine) => machine,
            Err(error) => return Ok(Made::NotSaved(with_causes(&error))),
        };
        let mut listener = Listener::of_template(&self.settings, self.spec.accel);
        let heard = listener.listen(&mut machine.vm, true, OnPanic::default(), stop, &|_| {})?;
        match heard {
            Heard::AtGate => {}
            Heard::Enough => {
                let mut vm = machine.vm;
                vm.kill();
                listener.drain(&vm)?;
                return Ok(Made::Ended(Box::new(listener.conclude(vm))));
            }
            Heard::NoRecorder => {
                return Ok(Made::NotSaved(with_causes(&SaveError::NoRecorder)));
            }
        }
        // Nothing that the listener keeps in memory can fail to be kept.
        let saved = machine.save(&mut |event| drop(listener.hear(event)));
        Ok(match saved {
            Ok(template) => {
                let (console, agent) = listener.into_said();
                Made::Saved(Arc::new(Saved {
                    template,
                    number,
                    console,
                    agent,
                }))
            }
            Err(error) => Made::NotSaved(with_causes(&error)),
        })
    }
}

/// The templates of one kernel.
#[derive(Debug)]
pub(in crate::trial) struct Templates {
    maker: Arc<Maker>,
    /// Clones of each.
    renew: u32,
    /// Clones that will be asked for, if that is known.
    wanted: Option<u32>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends what is in the making.
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Guests booted to be saved.
    begun: u32,
    /// Clones handed out, of all templates.
    handed_out: u32,
    current: Option<Arc<Saved>>,
    /// Clones of the current one.
    clones: u32,
    next: Option<Result<Made, Ended>>,
    making: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Templates {
    /// None is made yet.
    pub(in crate::trial) fn new(maker: Maker, renew: u32, wanted: Option<u32>) -> Self {
        Self {
            maker: Arc::new(maker),
            renew: renew.max(1),
            wanted,
            shared: Arc::default(),
        }
    }

    /// A template for one clone; made now if there is none.
    pub(in crate::trial) fn take(&self, stop: &AtomicBool) -> Result<Made, Ended> {
        let mut state = self.shared.lock();
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Ended::Interrupted);
            }
            let usable = state.clones < self.renew;
            if let Some(saved) = state.current.clone().filter(|_| usable) {
                state.clones += 1;
                state.handed_out += 1;
                if self.wants_next(&state) {
                    self.make_next(&mut state);
                }
                return Ok(Made::Saved(saved));
            }
            // Its memory goes when its last clone has been started.
            state.current = None;
            match state.next.take() {
                Some(Ok(Made::Saved(saved))) => {
                    state.current = Some(saved);
                    state.clones = 0;
                }
                Some(other) => return other,
                None if state.making => {
                    let waited = self.shared.changed.wait_timeout(state, TURN);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    let number = begin(&mut state);
                    drop(state);
                    let made = self.maker.make(number, stop);
                    state = self.shared.lock();
                    end(&mut state, made);
                    self.shared.changed.notify_all();
                }
            }
        }
    }

    /// Whether the next one is to be made now: half of the clones of this one
    /// are still to come, and more will be asked for.
    fn wants_next(&self, state: &State) -> bool {
        let left = self.renew - state.clones;
        let more = self
            .wanted
            .is_none_or(|wanted| wanted.saturating_sub(state.handed_out) > left);
        more && left <= self.renew / 2 && !state.making && state.next.is_none()
    }

    /// Makes the next one meanwhile. If no thread can be started, it is made
    /// when it is needed.
    fn make_next(&self, state: &mut State) {
        let number = begin(state);
        let (maker, shared) = (Arc::clone(&self.maker), Arc::clone(&self.shared));
        let spawned = thread::Builder::new()
            .name(format!("template/{number}"))
            .spawn(move || {
                // It is only made sooner, and the trials slower.
                let _ = priority::be_nice(NICE);
                let made = maker.make(number, &shared.stop);
                end(&mut shared.lock(), made);
                shared.changed.notify_all();
            });
        if spawned.is_err() {
            state.making = false;
        }
    }
}

/// One more is in the making; its number.
fn begin(state: &mut State) -> u32 {
    state.making = true;
    state.begun += 1;
    state.begun - 1
}

fn end(state: &mut State, made: Result<Made, Ended>) {
    state.making = false;
    state.next = Some(made);
}

impl Drop for Templates {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while state.making && Instant::now() < deadline {
            let waited = self.shared.changed.wait_timeout(state, TURN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
