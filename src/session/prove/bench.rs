//! What is to be proved, on what, and the guests for it, booted again and again.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::kernel::{self, Known};
use crate::build::module_image::{ModuleImage, ModuleImageError};
use crate::interleave::arch::Arch;
use crate::interleave::calls::Call;
use crate::interleave::driver::Driver;
use crate::interleave::guest::LockStepPlan;
use crate::interleave::machine::{MachineError, Setting};
use crate::interleave::sides::{SIDES, SidesRow};
use crate::interleave::standing::Patience;
use crate::model::{Crash, Environment, Proof, Who};
use crate::session::events::Events;
use crate::session::lock_step::{GuestFilesError, Guests};
use crate::vm::instrument::lock_step::{FILE_OPEN, MODULE_LOADED};
use crate::vm::protocol::MODULE_PATH;

/// Where the guest finds the module without its parameters.
const WITHOUT_PARAMETERS: &str = "/modrace/without-parameters.ko";

/// What is to be proved, and with what.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// Its guests.
    pub guests: Guests<'a>,
    /// The kernel's build tree: vmlinux or System.map of it are its symbols.
    pub kdir: Option<&'a Path>,
    /// The module.
    pub module: &'a ModuleImage,
    /// Only this schedule: who stops first, and both points, from 1.
    pub only: Option<(Who, usize, usize)>,
    /// The port at which a debugger may attach.
    pub debugger: Option<u16>,
}

/// Why nothing could be proved.
#[derive(Debug, Error)]
pub enum ProveError {
    /// The guest could not be driven.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The guest's files could not be packed.
    #[error(transparent)]
    Files(#[from] GuestFilesError),
    /// The module is not usable.
    #[error("the module's other form")]
    Module(#[from] ModuleImageError),
    /// A file of the kernel could not be read.
    #[error("{}: {why}", .path.display())]
    Symbols {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is no such point.
    #[error("there is no point {0}: the points are L1 to L{1} and R1 to R{2}")]
    NoPoint(String, usize, usize),
    /// The points are of different forms of the module.
    #[error("L{0} and R{1} are points of different forms of the module: no schedule has both")]
    TwoForms(usize, usize),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Proved {
    /// The record.
    pub proof: Proof,
    /// False if it was cut short.
    pub complete: bool,
    /// What the guest said of itself.
    pub environment: Option<Environment>,
    /// The console of the guest that crashed, or of the last one.
    pub console: Vec<u8>,
    /// What the kernel reported before the first schedule.
    pub before: Vec<Crash>,
}

/// A round of the race: one unload and one read of an open file.
pub(super) fn of_race(form: usize, unload: Call) -> Setting {
    Setting {
        form: form as u64,
        prepared: MODULE_LOADED | FILE_OPEN,
        calls: [unload, Call::Read],
        file: 0,
        tidies: true,
    }
}

/// All that it takes to boot guests in lock-step, again and again.
pub(super) struct Bench<'a> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) row: &'static SidesRow,
    pub(super) known: Known,
    pub(super) parts: Vec<Vec<u8>>,
    pub(super) forms: Vec<&'static str>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(subject: &'a Subject<'a>, events: Events<'_>) -> Result<Self, ProveError> {
        let guests = &subject.guests;
        let row = &SIDES[0];
        let mut forms = vec!["as built"];
        let mut paths: Vec<PathBuf> = vec![MODULE_PATH.into()];
        let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
        if let Some(bytes) = subject.module.without_parameters()? {
            forms.push("without parameters");
            paths.push(WITHOUT_PARAMETERS.into());
            files.push((WITHOUT_PARAMETERS, bytes));
        }
        let plan = |symbols| LockStepPlan {
            loader_cpu: 0,
            reader_cpu: 1,
            setup_cpu: guests.setup_cpu(),
            forms: paths.clone(),
            name: subject.module.name().to_owned(),
            symbols,
            // seq_file shows the first record, no other.
            read_bytes: 1,
        };
        let known = if let Some(known) = kernel::of_tree(guests.arch, row, subject.kdir)? {
            known
        } else {
            events.note("no vmlinux: a first boot shows where the kernel's functions are");
            let parts = guests.pack(&plan(true), &files)?;
            kernel::of_first_boot(guests, row, &parts)?
        };
        Ok(Self {
            subject,
            row,
            known,
            parts: guests.pack(&plan(false), &files)?,
            forms,
        })
    }

    /// Its architecture.
    pub(super) fn arch(&self) -> &'static Arch {
        self.subject.guests.arch
    }

    /// A guest that is ready for its first round.
    pub(super) fn boot(&self) -> Result<Driver<'_>, MachineError> {
        let guests = &self.subject.guests;
        let layout = &self.known.layout;
        let debugger = self.subject.debugger;
        Ok(Driver {
            machine: guests.boot(&self.parts, Some(layout), debugger)?,
            arch: guests.arch,
            layout,
            cpus: [0, 1],
            state_offset: self.row.state_offset,
            patience: Patience::PROOF,
            others_cpu_lives: false,
            home: None,
            cancel: guests.cancel,
        })
    }
}
