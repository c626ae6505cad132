//! A guest in lock-step, from the host: booted with the plugin, told when each
//! side begins, stops and goes on, and looked at while it stands. Moves and
//! looks; decides nothing.

mod drive;
mod layout;
mod look;

pub use drive::Setting;
pub use layout::{Function, Layout, Watched, switch_in};
pub use look::{Look, Ran, Touch};

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use self::layout::configure;
use super::arch::Arch;
use super::memory::GuestMemory;
use crate::crash::{ScanEvent, Scanner};
use crate::decode::instructions::TaskSwitch;
use crate::kernel::sys;
use crate::model::{Crash, Environment};
use crate::vm::instrument::lock_step::LOCK_STEP_MAGIC;
use crate::vm::instrument::{self, Instrument};
use crate::vm::protocol::{GuestMessage, MessageReader};
use crate::vm::{Qemu, QmpEvent, Shutdown, Vm, VmError, VmEvent, VmSpec};

/// The side that unloads.
pub const LOADER: usize = 0;
/// The side that reads.
pub const READER: usize = 1;

/// From power-on to the first round.
const BOOT: Duration = Duration::from_secs(120);
/// Between two looks.
const NAP: Duration = Duration::from_micros(60);
/// From a crash's first line to the end of its report.
const LINGER: Duration = Duration::from_secs(10);

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
    /// The guest cannot serve what is asked for.
    #[error("{0}")]
    Refused(String),
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
            if self.ends.lock_step.refused.load(Ordering::Acquire) != 0 {
                let reason = String::from_utf8_lossy(&self.text()).into_owned();
                return Err(MachineError::Refused(reason));
            }
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
        // One that was killed before may have taken it.
        let by_itself = status.code().is_some();
        if by_itself && self.ends.page.taken.load(Ordering::Acquire) == 0 {
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
