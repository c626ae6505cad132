//! One schedule, forced: who stops where, who goes on, until both calls have
//! come back. Every wait ends: by what was waited for, by a side that is shown
//! to stand still, by a crash, or by its limit, which is told as such.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::arch::Arch;
use super::machine::{LOADER, Layout, Look, Machine, MachineError, READER, Ran};
use super::noise::is_noise;
use super::round::{Moment, Order, Round, WAIT, Wait};
use super::search::Home;
use super::standing::{
    EVERY_CPU_QUIET_S, Patience, Seen, owner_of, spins, standing, waits_for_every_cpu,
};

/// Longest wait for the module to be loaded, or for a round to be over.
const PREPARE: Duration = Duration::from_secs(40);
/// How long a side's CPU must have been with another task before that counts.
const HELD_UP: Duration = Duration::from_millis(20);
/// How many times as long a call is waited for that has not begun.
const NOT_BEGUN: u32 = 10;
/// Functions that are named of a wait.
const NAMED: usize = 3;
/// Longest wait for a task of the highest priority to run.
const WAKE: Duration = Duration::from_millis(100);
/// Between two looks at a side that does not come.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// Forces orders on a machine.
#[derive(Debug)]
pub struct Driver<'a> {
    /// The guest.
    pub machine: Machine,
    /// Its architecture.
    pub arch: &'a Arch,
    /// Its addresses.
    pub layout: &'a Layout,
    /// The CPUs of the sides.
    pub cpus: [u32; 2],
    /// Offset of a module's state.
    pub state_offset: i64,
    /// When it gives up waiting.
    pub patience: Patience,
    /// The side that is not on has its CPU alive: of a wait for every CPU
    /// nothing follows before it was long.
    pub others_cpu_lives: bool,
    /// Where the module's addresses are kept; none: as they are.
    pub home: Option<&'a Home>,
    /// Set by signals.
    pub cancel: &'a AtomicBool,
}

impl Driver<'_> {
    /// One round, to its end.
    pub fn force(&mut self, order: &Order) -> Result<Round, MachineError> {
        let mut round = self.stand(order)?;
        self.let_go(&mut round)?;
        round.traces = [self.trace(LOADER), self.trace(READER)];
        Ok(round)
    }

    fn trace(&self, side: usize) -> Vec<Ran> {
        let mut trace = self.machine.trace(side);
        if self.home.is_some() {
            for ran in &mut trace {
                ran.address = self.kept(ran.address);
            }
        }
        trace
    }

    /// An address of the module as it is kept.
    fn kept(&self, address: u64) -> u64 {
        let code_now = self.machine.module_code().unwrap_or(0);
        self.home
            .map_or(address, |home| home.kept(address, code_now))
    }

    /// One round as far as it goes before the last stop is let go.
    pub fn stand(&mut self, order: &Order) -> Result<Round, MachineError> {
        self.machine.prepare(&order.setting, self.cpus);
        self.until(PREPARE, Machine::prepared)?;
        if let Some(error) = self.machine.load_error() {
            let errno = i32::try_from(error).unwrap_or(0);
            let error = std::io::Error::from_raw_os_error(errno);
            return Err(MachineError::Load(error.to_string()));
        }
        for (side, stop) in order.stops.iter().enumerate() {
            if let Some(at) = stop {
                let code_now = self.machine.module_code().unwrap_or(0);
                let home = self.home;
                let address = home.map_or(at.address, |home| home.now(at.address, code_now));
                self.machine.arm(side, address, at.pass);
            }
        }
        let (first, second) = (order.first, 1 - order.first);
        let mut round = Round::new(self.machine.module());
        if let (Some(home), Some(code)) = (self.home, self.machine.module_code()) {
            round.code = self.machine.memory().as_far_as_mapped(code, home.bytes);
        }
        self.machine.begin(first);
        round.first = self.turn(first, None, order, &mut round.moments, round.module)?;
        if round.first == Wait::Stopped && order.preempts {
            round.first = self.preempt(first)?;
            let moment = self.moment(first, &round.first, order, round.module);
            round.moments.push(moment);
        }
        if matches!(round.first, Wait::Stopped | Wait::Preempted) {
            self.machine.begin(second);
            let other = self.turn(second, Some(first), order, &mut round.moments, round.module)?;
            if other == Wait::Stopped {
                self.machine.release(first);
                let last = self.turn(first, Some(second), order, &mut round.moments, round.module);
                round.resumed = Some(last?);
            }
            round.second = Some(other);
        } else if round.first != Wait::Crash {
            self.machine.begin(second);
        }
        Ok(round)
    }

    /// Waits for a side and notes what is so then.
    fn turn(
        &mut self,
        side: usize,
        stopped: Option<usize>,
        order: &Order,
        moments: &mut Vec<Moment>,
        module: Option<u64>,
    ) -> Result<Wait, MachineError> {
        self.others_cpu_lives = order.preempts;
        let wait = self.wait_for(side, stopped)?;
        moments.push(self.moment(side, &wait, order, module));
        Ok(wait)
    }

    /// Has the side's task preempted where it stands. It may get a little
    /// further: interrupts are taken between two blocks of instructions, and
    /// where the kernel can be preempted.
    fn preempt(&mut self, side: usize) -> Result<Wait, MachineError> {
        self.machine.keep(side);
        let mut deadline = Instant::now() + WAKE;
        let mut woken = false;
        loop {
            if !woken && self.machine.keeper_woken(side) {
                woken = true;
                deadline = Instant::now() + WAKE;
                self.machine.release(side);
            }
            if self.machine.preempted(side) {
                return Ok(Wait::Preempted);
            }
            if self.machine.ended(side) {
                return Ok(Wait::Ended);
            }
            self.machine.listen();
            if self.machine.crashed() {
                return Ok(Wait::Crash);
            }
            self.check()?;
            if Instant::now() > deadline {
                let place = "a place where no other task gets its CPU";
                return Ok(Wait::Waits(place.to_owned()));
            }
            Machine::nap();
        }
    }

    /// What is so after a side's turn.
    fn moment(&self, side: usize, wait: &Wait, order: &Order, module: Option<u64>) -> Moment {
        let owner = self
            .layout
            .lock
            .and_then(|lock| self.machine.memory().word(lock).ok())
            .map(owner_of);
        let holder = owner.filter(|&owner| owner != 0).and_then(|owner| {
            [LOADER, READER]
                .into_iter()
                .find(|&side| self.machine.task_pointer(side) == owner)
        });
        let at = match (wait, order.stops[side]) {
            (Wait::Stopped, Some(stop)) => stop.address,
            _ => self.kept(self.machine.look(side).last_run),
        };
        Moment {
            side,
            at,
            state: self.module_state(module),
            holder,
            held: owner.map(|owner| owner != 0),
            wait: wait.clone(),
        }
    }

    /// Lets both sides go on to their ends.
    fn let_go(&mut self, round: &mut Round) -> Result<(), MachineError> {
        for side in [LOADER, READER] {
            self.machine.release(side);
            self.machine.give_back(side);
        }
        let deadline = Instant::now() + PREPARE;
        loop {
            self.machine.listen();
            if self.machine.crashed() {
                round.crashed = true;
                return Ok(());
            }
            if self.machine.tidy() {
                return Ok(());
            }
            self.check()?;
            if Instant::now() > deadline {
                let waiting: Vec<String> = [(LOADER, "the unload"), (READER, "the read")]
                    .into_iter()
                    .filter(|(side, _)| !self.machine.ended(*side))
                    .map(|(side, name)| format!("{name}, {}", self.place(side)))
                    .collect();
                round.hung = Some(waiting.join("; "));
                return Ok(());
            }
            Machine::nap();
        }
    }

    fn module_state(&self, module: Option<u64>) -> Option<u32> {
        let address = module?.wrapping_add_signed(self.state_offset);
        self.machine.memory().half(address).ok()
    }

    fn check(&mut self) -> Result<(), MachineError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(MachineError::Interrupted);
        }
        self.machine.alive()
    }

    fn until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Machine) -> bool,
    ) -> Result<(), MachineError> {
        let deadline = Instant::now() + limit;
        while !done(&self.machine) {
            self.machine.listen();
            if self.machine.crashed() {
                return Ok(());
            }
            self.check()?;
            if Instant::now() > deadline {
                return Err(MachineError::Silent(limit));
            }
            Machine::nap();
        }
        Ok(())
    }

    /// Waits for a side while the other one, if any, is stopped.
    fn wait_for(&mut self, side: usize, stopped: Option<usize>) -> Result<Wait, MachineError> {
        let deadline = Instant::now() + WAIT;
        let mut looked = Instant::now();
        let mut changed = Instant::now();
        let mut last: Option<Look> = None;
        loop {
            if self.machine.stopped(side) {
                return Ok(Wait::Stopped);
            }
            if self.machine.ended(side) {
                return Ok(Wait::Ended);
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.machine.listen();
                if self.machine.crashed() {
                    return Ok(Wait::Crash);
                }
                self.check()?;
                let look = self.machine.look(side);
                let seen_here = self.same_wait(&look);
                if last.as_ref() != Some(&seen_here) {
                    changed = Instant::now();
                    last = Some(seen_here);
                }
                if let Some(other) = stopped {
                    let seen = self.see(side, other, &look, changed);
                    let found = standing(&seen, self.arch, &self.layout.symbols);
                    // A sleeper that woke meanwhile was seen in two places.
                    if let Some(found) = found
                        && (look.running || self.machine.look(side) == look)
                    {
                        return Ok(Wait::Standing(found));
                    }
                }
                if stopped.is_some() && !look.running && changed.elapsed() >= HELD_UP {
                    let block = self.machine.cpu_block(side);
                    if waits_for_every_cpu(block, self.arch, &self.layout.symbols) {
                        return Ok(Wait::HeldUp(self.place(side)));
                    }
                }
                let longest = self.patience.waits.map(|waits| match look.task {
                    0 => waits * NOT_BEGUN,
                    _ => waits,
                });
                if longest.is_some_and(|longest| changed.elapsed() >= longest)
                    && stopped.is_some()
                    && let Some(place) = self.wait_of(side, &look)
                {
                    return Ok(Wait::Waits(place));
                }
                if Instant::now() > deadline {
                    return Ok(Wait::Limit(self.place(side)));
                }
            }
            Machine::nap();
        }
    }

    /// A look at a side in which turns of a loop that waits are no change.
    fn same_wait(&self, look: &Look) -> Look {
        let mut same = look.clone();
        let symbols = &self.layout.symbols;
        let turns = waits_for_every_cpu(look.block, self.arch, symbols)
            || spins(look.block, self.arch, symbols);
        if look.running && turns {
            (same.block, same.progress) = (0, 0);
        }
        same
    }

    fn see(&self, side: usize, other: usize, look: &Look, changed: Instant) -> Seen {
        Seen {
            running: look.running,
            block: look.block,
            stack: if look.running || look.task == 0 {
                Vec::new()
            } else {
                self.machine.sleeper_stack(side)
            },
            lock_function: look.lock_function,
            lock_words: self.machine.lock_words(side),
            stopped_task: self.machine.task_pointer(other),
            quiet_s: changed.elapsed().as_secs_f64(),
            every_cpu_s: if self.others_cpu_lives {
                EVERY_CPU_QUIET_S
            } else {
                self.patience.every_cpu_s
            },
        }
    }

    /// In which functions a side waits, if it does.
    fn wait_of(&self, side: usize, look: &Look) -> Option<String> {
        let symbols = &self.layout.symbols;
        let name = |address: u64| symbols.at(address).map(|(name, _)| name);
        if look.running {
            let spins = spins(look.block, self.arch, symbols);
            return spins.then(|| name(look.block).unwrap_or_default().to_owned());
        }
        if look.task == 0 {
            let block = self.machine.cpu_block(side);
            let kept = name(block).unwrap_or_default();
            return Some(format!("user space, where {kept} keeps its CPU"));
        }
        let stack = self.machine.sleeper_stack(side);
        let own = stack.iter().filter_map(|&address| name(address));
        let own = own.filter(|name| !is_noise(name) && *name != "__sched_text_start");
        let told: Vec<&str> = own.take(NAMED).collect();
        (!told.is_empty()).then(|| told.join(" < "))
    }

    /// Where a side is, in words.
    fn place(&self, side: usize) -> String {
        let look = self.machine.look(side);
        let symbols = &self.layout.symbols;
        if look.running {
            return format!("running in {}", symbols.show(look.block));
        }
        let stack: Vec<String> = self
            .machine
            .sleeper_stack(side)
            .iter()
            .take(6)
            .map(|&address| symbols.show(address))
            .collect();
        let cpu = symbols.show(self.machine.cpu_block(side));
        format!("asleep in {}; its CPU runs {cpu}", stack.join(" < "))
    }
}
