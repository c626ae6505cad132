//! A guest in lock-step, from the host: booted with the plugin, told when each
//! side begins, stops and goes on, and looked at while it stands. Moves and
//! looks; decides nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::arch::{Arch, WaitKind};
use super::decode::{Instruction, TaskSwitch, call_before, decode, task_switch};
use super::memory::GuestMemory;
use super::sides::{SideRow, SidesRow};
use super::symbols::Symbols;
use crate::crash::{ScanEvent, Scanner};
use crate::kernel::sys;
use crate::model::{Crash, Environment};
use crate::vm::instrument::lock_step::LOCK_STEP_MAGIC;
use crate::vm::instrument::page::{EVENTS, Page, RANGES, RECENT, call, event, kind, stop};
use crate::vm::instrument::{self, Instrument};
use crate::vm::protocol::{GuestMessage, MessageReader};
use crate::vm::{Qemu, QmpEvent, RunState, Shutdown, Vm, VmError, VmEvent, VmSpec};

/// The side that unloads.
pub const LOADER: usize = 0;
/// The side that reads.
pub const READER: usize = 1;

/// From power-on to the first round.
const BOOT: Duration = Duration::from_secs(120);
/// Longest stop of a side; the host lets go long before.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const NAP: Duration = Duration::from_micros(60);
/// From a crash's first line to the end of its report.
const LINGER: Duration = Duration::from_secs(10);
/// Bytes of a sleeper's stack that are looked through.
const STACK_BYTES: usize = 2048;
/// For QEMU to act on a command.
const FREEZE: Duration = Duration::from_millis(100);
/// Return addresses that are kept of it.
const FRAMES: usize = 24;

/// Why a machine could not be driven.
#[derive(Debug, Error)]
pub enum MachineError {
    /// It did not start.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// QEMU ended.
    #[error("QEMU ended ({status}){complaint}")]
    Ended {
        /// How.
        status: String,
        /// What it complained of.
        complaint: String,
    },
    /// The guest was not there in time.
    #[error("the guest was not ready for its first round after {0:?}")]
    Silent(Duration),
    /// QEMU did not load the plugin.
    #[error("QEMU did not take the plugin{0}")]
    NoPlugin(String),
    /// A function of the table is not in this kernel.
    #[error("this kernel has no symbol {0}")]
    NoSymbol(String),
    /// The function that exchanges tasks is not as expected.
    #[error("{0} is not as modrace knows it")]
    Switch(&'static str),
    /// The guest's memory does not read as this kernel's.
    #[error("the guest's memory cannot be read: {0}")]
    Memory(#[source] io::Error),
    /// A module could not be loaded in the guest.
    #[error("the module does not load in the guest: {0}")]
    Load(String),
    /// The kernel crashed, or a call did not come back, with nothing forced.
    #[error("the kernel failed before any schedule was forced: {title}")]
    Undisturbed {
        /// The crash's title, or what hung.
        title: String,
        /// The crash.
        crash: Option<Box<Crash>>,
    },
    /// The CPUs did not stop for a debugger.
    #[error("QEMU did not stop the CPUs for a debugger")]
    NotFrozen,
    /// Told to stop.
    #[error("interrupted")]
    Interrupted,
}

/// The addresses of a kernel that the instrument works with.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The kernel's symbols.
    pub symbols: Symbols,
    /// The functions of each side with their addresses.
    pub functions: [Vec<Function>; 2],
    /// Where each side's call begins.
    pub begins: [Vec<u64>; 2],
    /// How tasks are exchanged.
    pub switch: TaskSwitch,
    /// The kernel's top page table.
    page_table: u64,
    /// The owner's word of the lock that readers hold, where it has a symbol.
    pub lock: Option<u64>,
}

/// A function in which a side is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub range: std::ops::Range<u64>,
}

impl Layout {
    /// Finds a race's sides among a kernel's symbols. `switch` is the code of
    /// the function that exchanges tasks.
    pub fn find(
        arch: &Arch,
        row: &SidesRow,
        symbols: Symbols,
        switch: TaskSwitch,
    ) -> Result<Self, MachineError> {
        let near = symbols.address(row.near);
        let functions = |side: &SideRow| -> Result<Vec<Function>, MachineError> {
            let mut found: Vec<Function> = side
                .functions
                .iter()
                .flat_map(|name| symbols.parts(name, near))
                .map(|(name, range)| Function { name, range })
                .collect();
            found.sort_by_key(|function| function.range.start);
            found.dedup_by_key(|function| function.range.start);
            if found.is_empty() {
                return Err(MachineError::NoSymbol(side.functions.join(" or ")));
            }
            Ok(found)
        };
        let begins = |side: &SideRow| -> Result<Vec<u64>, MachineError> {
            let first = side.begins.iter().find_map(|name| symbols.address(name));
            first
                .map(|address| vec![address])
                .ok_or_else(|| MachineError::NoSymbol(side.begins.join(" or ")))
        };
        let page_table = page_table(arch, &symbols)?;
        Ok(Self {
            functions: [functions(&row.loader)?, functions(&row.reader)?],
            begins: [begins(&row.loader)?, begins(&row.reader)?],
            switch,
            page_table,
            lock: symbols.address(row.lock),
            symbols,
        })
    }

    /// The function of a side that an address lies in.
    pub fn function(&self, side: usize, address: u64) -> Option<&Function> {
        self.functions[side]
            .iter()
            .find(|function| function.range.contains(&address))
    }

    /// What the plugin watches: sorted, not overlapping.
    fn ranges(&self, arch: &Arch) -> Vec<(u64, u64, u64)> {
        let mut all: Vec<(u64, u64, u64)> = self
            .functions
            .iter()
            .flatten()
            .map(|function| {
                let range = &function.range;
                (range.start, range.end, kind::RUN | kind::TOUCH)
            })
            .collect();
        for row in arch.waiting.iter().filter(|row| row.kind == WaitKind::Lock) {
            let kinds = kind::LOCK | if row.entry { kind::ENTRY } else { 0 };
            all.extend(
                self.symbols
                    .beginning(row.prefix)
                    .filter(|(_, range)| range.start >= arch.kernel_from)
                    .map(|(_, range)| (range.start, range.end, kinds)),
            );
        }
        all.sort_unstable();
        all.dedup_by_key(|(start, ..)| *start);
        all.truncate(RANGES);
        all
    }
}

fn page_table(arch: &Arch, symbols: &Symbols) -> Result<u64, MachineError> {
    arch.page_table
        .iter()
        .find_map(|name| symbols.address(name))
        .ok_or_else(|| MachineError::NoSymbol(arch.page_table.join(" or ")))
}

/// How a kernel exchanges tasks, from the code of its function for it.
pub fn switch_in(arch: &Arch, bytes: &[u8], at: u64) -> Result<TaskSwitch, MachineError> {
    task_switch(&decode(bytes, at)).ok_or(MachineError::Switch(arch.switch))
}

/// One access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The address.
    pub memory: u64,
    /// Bytes.
    pub bytes: u32,
    /// Whether it was written.
    pub store: bool,
}

/// An instruction that a side ran, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its address.
    pub address: u64,
    /// Its place among what both sides ran.
    pub order: u64,
    /// The memory that it touched.
    pub touches: Vec<Touch>,
}

/// A side as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// One of [`call`].
    pub call: u32,
    /// Whether its task runs on a CPU.
    pub running: bool,
    /// Times that it was switched out.
    pub switched_out: u64,
    /// Blocks of the kernel that it ran.
    pub progress: u64,
    /// The last of them.
    pub block: u64,
    /// The last instruction of its functions that it ran.
    pub last_run: u64,
    /// The lock function that it entered last.
    pub lock_function: u64,
    /// Its task.
    pub task: u64,
}

/// A guest in lock-step.
#[derive(Debug)]
pub struct Machine {
    vm: Vm,
    ends: Instrument,
    memory: GuestMemory,
    switch: TaskSwitch,
    image_from: u64,
    scanner: Scanner,
    /// All that its console said.
    pub console: Vec<u8>,
    /// What its console was recognised to say.
    pub crashes: Vec<Crash>,
    signs: usize,
    reset: bool,
    closed: bool,
    round: u64,
    agent: MessageReader,
    /// What the guest said of itself.
    pub environment: Option<Environment>,
    /// When it was started.
    pub started: Instant,
}

impl Machine {
    /// Boots a guest and waits until it is ready for its first round.
    pub fn boot(
        qemu: &Qemu,
        spec: &VmSpec,
        initramfs: &[&[u8]],
        arch: &Arch,
        layout: Option<&Layout>,
        debugger: Option<u16>,
        cancel: &AtomicBool,
    ) -> Result<Self, MachineError> {
        sys::exact_timers();
        let (mut files, ends) = instrument::files(spec.mem_mib)?;
        files.debugger = debugger;
        configure(&ends.page, arch, layout);
        let vm = qemu.boot_instrumented(spec, initramfs, &files)?;
        drop(files);
        let memory = ends.memory.try_clone().map_err(MachineError::Memory)?;
        let mut machine = Self {
            vm,
            memory: GuestMemory::new(memory, arch, layout.map_or(0, |layout| layout.page_table)),
            switch: layout.map_or(TaskSwitch::default(), |layout| layout.switch),
            image_from: arch.image_offset,
            ends,
            scanner: Scanner::new(),
            console: Vec::new(),
            crashes: Vec::new(),
            signs: 0,
            reset: false,
            closed: false,
            round: 0,
            agent: MessageReader::default(),
            environment: None,
            started: Instant::now(),
        };
        machine.wait_for_guest(cancel)?;
        Ok(machine)
    }

    fn wait_for_guest(&mut self, cancel: &AtomicBool) -> Result<(), MachineError> {
        let deadline = self.started + BOOT;
        while self.ends.lock_step.magic.load(Ordering::Acquire) != LOCK_STEP_MAGIC {
            self.listen();
            self.alive()?;
            if self.crashed() {
                return Err(self.undisturbed(None));
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(MachineError::Interrupted);
            }
            if Instant::now() > deadline {
                return Err(MachineError::Silent(BOOT));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The error of a kernel that fails with nothing forced.
    pub fn undisturbed(&mut self, hung: Option<String>) -> MachineError {
        self.last_words();
        let crash = self.crashes.first().cloned();
        let title = crash.as_ref().map(|crash| crash.title.clone());
        MachineError::Undisturbed {
            title: title
                .or(hung)
                .unwrap_or_else(|| "the machine was reset".to_owned()),
            crash: crash.map(Box::new),
        }
    }

    /// An error if QEMU has ended without the guest's doing.
    pub fn alive(&mut self) -> Result<(), MachineError> {
        let Some(status) = self.vm.exited() else {
            return Ok(());
        };
        if self.crashed() {
            return Ok(());
        }
        let complaint = self.vm.complaint();
        let complaint = complaint
            .lines()
            .next()
            .map_or_else(String::new, |line| format!(": {line}"));
        if self.ends.page.taken.load(Ordering::Acquire) == 0 {
            return Err(MachineError::NoPlugin(complaint));
        }
        Err(MachineError::Ended {
            status: status.to_string(),
            complaint,
        })
    }

    /// Takes in what the machine has said since.
    pub fn listen(&mut self) {
        while let Some(event) = self.vm.next_event(Duration::ZERO) {
            match event {
                VmEvent::Console(bytes) => {
                    self.console.extend_from_slice(&bytes);
                    let events = self.scanner.feed(&bytes);
                    self.take(events);
                }
                VmEvent::ConsoleClosed => self.closed = true,
                VmEvent::Qmp(
                    QmpEvent::GuestPanicked
                    | QmpEvent::Shutdown(Shutdown::GuestReset | Shutdown::GuestPanic),
                ) => {
                    self.reset = true;
                }
                VmEvent::Agent(bytes) => {
                    for message in self.agent.feed(&bytes) {
                        if let GuestMessage::Hello { environment, .. } = message {
                            self.environment = Some(*environment);
                        }
                    }
                }
                VmEvent::Qmp(_) => {}
            }
        }
    }

    fn take(&mut self, events: Vec<ScanEvent>) {
        for event in events {
            match event {
                ScanEvent::Crash(crash) => self.crashes.push(*crash),
                ScanEvent::Sign(_) => self.signs += 1,
            }
        }
    }

    /// Whether the kernel reported something, or reset the machine.
    pub fn crashed(&self) -> bool {
        self.reset || self.signs > 0 || !self.crashes.is_empty()
    }

    /// Lets all go on and listens to the end of the kernel's report.
    pub fn last_words(&mut self) {
        self.release(LOADER);
        self.release(READER);
        let deadline = Instant::now() + LINGER;
        while Instant::now() < deadline && !self.closed {
            self.listen();
            thread::sleep(Duration::from_millis(2));
        }
        let events = self.scanner.finish();
        self.take(events);
    }

    /// Asks the guest to prepare a round: the module's form is loaded, both
    /// sides stand at their gates. True once they do.
    pub fn prepare(&mut self, form: u64, names: u64, cpus: [u32; 2]) {
        self.round += 1;
        let page = &self.ends.page;
        for (side, cpu) in page.sides.iter().zip(cpus) {
            side.stop.state.store(stop::IDLE, Ordering::Release);
            side.call.store(call::NONE, Ordering::Release);
            side.cpu.store(cpu, Ordering::Relaxed);
            for word in [
                &side.task,
                &side.switched_out,
                &side.progress,
                &side.block,
                &side.last_run,
                &side.lock_function,
                &side.touched,
                &side.events,
                &side.stop.passes,
            ] {
                word.store(0, Ordering::Relaxed);
            }
            side.running.store(0, Ordering::Relaxed);
            side.interrupted.store(0, Ordering::Relaxed);
        }
        page.order.store(0, Ordering::Relaxed);
        let lock_step = &self.ends.lock_step;
        lock_step.form.store(form, Ordering::Relaxed);
        lock_step.names.store(names, Ordering::Relaxed);
        lock_step.round.store(self.round, Ordering::Release);
    }

    /// Whether both sides stand at their gates.
    pub fn prepared(&self) -> bool {
        self.is_this_round(&self.ends.lock_step.ready)
    }

    /// Whether both calls came back and the guest has tidied up.
    pub fn tidy(&self) -> bool {
        self.ends.lock_step.clean.load(Ordering::Acquire) >= self.round
    }

    fn is_this_round(&self, words: &[std::sync::atomic::AtomicU64; 2]) -> bool {
        words
            .iter()
            .all(|word| word.load(Ordering::Acquire) >= self.round)
    }

    /// Why the last load failed, if it did.
    pub fn load_error(&self) -> Option<u64> {
        let error = self.ends.lock_step.load_error.load(Ordering::Acquire);
        (error != 0).then_some(error)
    }

    /// The address of the module that is loaded.
    pub fn module(&self) -> Option<u64> {
        let address = self.ends.lock_step.module.load(Ordering::Acquire);
        (address != 0).then_some(address)
    }

    /// Asks for a side to be stopped in this round.
    pub fn arm(&self, side: usize, address: u64, pass: u64) {
        let asked = &self.ends.page.sides[side].stop;
        asked.address.store(address, Ordering::Relaxed);
        asked.after.store(0, Ordering::Relaxed);
        asked.pass.store(pass, Ordering::Relaxed);
        asked.passes.store(0, Ordering::Relaxed);
        asked.state.store(stop::ARMED, Ordering::Release);
    }

    /// Has a side begin its call.
    pub fn begin(&self, side: usize) {
        self.ends.page.sides[side]
            .call
            .store(call::EXPECTED, Ordering::Release);
        self.ends.lock_step.begin[side].store(self.round, Ordering::Release);
    }

    /// Lets a side go on, wherever it stands, and asks for no other stop.
    pub fn release(&self, side: usize) {
        let asked = &self.ends.page.sides[side].stop;
        asked.state.store(stop::RELEASED, Ordering::Release);
        sys::wake(&asked.state);
    }

    /// Stops all CPUs for a debugger: those that stand at a point are let go and
    /// stop after the instruction there. False if they do not stop.
    pub fn freeze(&mut self) -> bool {
        if self.vm.stop_cpus().is_err() {
            return false;
        }
        // QEMU's main thread asks each CPU first, then waits for all.
        thread::sleep(FREEZE);
        self.release(LOADER);
        self.release(READER);
        let deadline = Instant::now() + LINGER;
        while Instant::now() < deadline {
            let _asked_again = self.vm.query_status();
            match self.vm.next_event(FREEZE) {
                Some(VmEvent::Qmp(QmpEvent::Status(RunState::Stopped))) => return true,
                None if self.vm.exited().is_some() => return false,
                Some(_) | None => {}
            }
        }
        false
    }

    /// Whether QEMU has ended.
    pub fn gone(&mut self) -> bool {
        self.vm.exited().is_some()
    }

    /// Whether a side stands where it was asked to.
    pub fn stopped(&self, side: usize) -> bool {
        self.ends.page.sides[side]
            .stop
            .state
            .load(Ordering::Acquire)
            == stop::STOPPED
    }

    /// Whether a side's call came back.
    pub fn ended(&self, side: usize) -> bool {
        self.ends.lock_step.ended[side].load(Ordering::Acquire) >= self.round
    }

    /// A side at this moment.
    pub fn look(&self, side: usize) -> Look {
        let words = &self.ends.page.sides[side];
        Look {
            call: words.call.load(Ordering::Acquire),
            running: words.running.load(Ordering::Acquire) != 0,
            switched_out: words.switched_out.load(Ordering::Relaxed),
            progress: words.progress.load(Ordering::Relaxed),
            block: words.block.load(Ordering::Relaxed),
            last_run: words.last_run.load(Ordering::Relaxed),
            lock_function: words.lock_function.load(Ordering::Relaxed),
            task: words.task.load(Ordering::Relaxed),
        }
    }

    /// Words that the side touched in the lock function that it entered last,
    /// with what they hold now; the newest first, each once.
    pub fn lock_words(&self, side: usize) -> Vec<(u64, u64)> {
        let words = &self.ends.page.sides[side];
        let count = words.touched.load(Ordering::Acquire);
        let kept = count.min(RECENT as u64);
        let mut seen = Vec::new();
        for back in 1..=kept {
            let at = usize::try_from((count - back) % RECENT as u64).unwrap_or(0);
            let address = words.recent[at].load(Ordering::Relaxed);
            if seen.iter().any(|(known, _)| *known == address) {
                continue;
            }
            if let Ok(value) = self.memory.word(address) {
                seen.push((address, value));
            }
        }
        seen
    }

    /// Return addresses on the stack of a side that is switched out, innermost
    /// first: those words of it that follow a call.
    pub fn sleeper_stack(&self, side: usize) -> Vec<u64> {
        let task = self.look(side).task;
        let Ok(pointer) = self.memory.word(task) else {
            return Vec::new();
        };
        // Never across the end of the stack, whose size is a power of two.
        let room = usize::try_from(4096 - pointer % 4096).unwrap_or(4096);
        let mut bytes = vec![
            0;
            if room < STACK_BYTES {
                STACK_BYTES
            } else {
                room.min(STACK_BYTES)
            }
        ];
        if self.memory.read(pointer, &mut bytes).is_err() {
            bytes.truncate(room);
            if self.memory.read(pointer, &mut bytes).is_err() {
                return Vec::new();
            }
        }
        bytes
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
            .filter(|&word| self.follows_a_call(word))
            .take(FRAMES)
            .collect()
    }

    fn follows_a_call(&self, address: u64) -> bool {
        let mut before = [0; 8];
        address > self.image_from
            && self.memory.read(address - 8, &mut before).is_ok()
            && call_before(&before, address).is_some()
    }

    /// The pointer to a side's task, as locks hold it.
    pub fn task_pointer(&self, side: usize) -> u64 {
        self.look(side).task.wrapping_sub(self.switch.offset)
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The code of a function as it runs.
    pub fn code(&self, range: &std::ops::Range<u64>) -> Result<Vec<Instruction>, MachineError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.memory
            .read(range.start, &mut bytes)
            .map_err(MachineError::Memory)?;
        Ok(decode(&bytes, range.start))
    }

    /// What a side has run in this round.
    pub fn trace(&self, side: usize) -> Vec<Ran> {
        let page = &self.ends.page;
        let count = page.sides[side].events.load(Ordering::Acquire);
        let count = usize::try_from(count).unwrap_or(0).min(EVENTS);
        let mut all: Vec<Ran> = Vec::new();
        for told in &page.events[side][..count] {
            let address = told.address.load(Ordering::Relaxed);
            let what = told.what.load(Ordering::Relaxed);
            if what & 0xff == event::RUN {
                all.push(Ran {
                    address,
                    order: told.order.load(Ordering::Relaxed),
                    touches: Vec::new(),
                });
            } else if let Some(last) = all.last_mut().filter(|last| last.address == address) {
                last.touches.push(Touch {
                    memory: told.memory.load(Ordering::Relaxed),
                    bytes: 1 << (what >> 8 & 0xff),
                    store: what & 0xff == event::STORE,
                });
            }
        }
        all
    }

    /// The last block of the kernel that the side's CPU ran, whoever's.
    pub fn cpu_block(&self, side: usize) -> u64 {
        let page = &self.ends.page;
        let cpu = page.sides[side].cpu.load(Ordering::Relaxed) as usize;
        page.cpus
            .get(cpu)
            .map_or(0, |cpu| cpu.block.load(Ordering::Relaxed))
    }

    /// Of a kernel whose symbols became known by this machine: the code of the
    /// function that exchanges tasks.
    pub fn learn_switch(&self, arch: &Arch, symbols: &Symbols) -> Result<TaskSwitch, MachineError> {
        let memory = self.ends.memory.try_clone().map_err(MachineError::Memory)?;
        let memory = GuestMemory::new(memory, arch, page_table(arch, symbols)?);
        let range = symbols
            .function(arch.switch, None)
            .ok_or_else(|| MachineError::NoSymbol(arch.switch.to_owned()))?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        memory
            .read(range.start, &mut bytes)
            .map_err(MachineError::Memory)?;
        switch_in(arch, &bytes, range.start)
    }

    /// Forgets what the kernel reported before the first schedule.
    pub fn forget_reports(&mut self) -> Vec<Crash> {
        self.signs = 0;
        std::mem::take(&mut self.crashes)
    }

    /// Text that the guest handed over before its first round.
    pub fn text(&self) -> Vec<u8> {
        self.ends.lock_step.text()
    }

    /// Rests between two looks.
    pub fn nap() {
        thread::sleep(NAP);
    }
}

/// Says what is to be watched; without a layout, nothing.
fn configure(page: &Page, arch: &Arch, layout: Option<&Layout>) {
    page.kernel_from.store(u64::MAX, Ordering::Relaxed);
    let Some(layout) = layout else { return };
    let limit = u64::try_from(STOP_LIMIT.as_nanos()).unwrap_or(u64::MAX);
    page.limit_ns.store(limit, Ordering::Relaxed);
    page.kernel_from.store(arch.kernel_from, Ordering::Relaxed);
    page.switch_out.store(layout.switch.out, Ordering::Relaxed);
    page.switch_in.store(layout.switch.come, Ordering::Relaxed);
    for (side, begins) in page.sides.iter().zip(&layout.begins) {
        for (word, begin) in side.begins.iter().zip(begins) {
            word.store(*begin, Ordering::Relaxed);
        }
    }
    let ranges = layout.ranges(arch);
    for (word, (first, end, kinds)) in page.ranges.iter().zip(&ranges) {
        word.first.store(*first, Ordering::Relaxed);
        word.end.store(*end, Ordering::Relaxed);
        word.kind.store(*kinds, Ordering::Relaxed);
    }
    page.ranges_used
        .store(ranges.len() as u64, Ordering::Release);
}
