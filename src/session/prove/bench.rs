//! What is to be proved, on what, and the guests for it, booted again and again.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use thiserror::Error;

use super::kernel::{self, Known};
use crate::build::module_image::{ModuleImage, ModuleImageError};
use crate::interleave::arch::{Arch, X86_64};
use crate::interleave::calls::Call;
use crate::interleave::guest::LockStepPlan;
use crate::interleave::machine::{Machine, MachineError, Setting};
use crate::interleave::round::{Driver, Patience};
use crate::interleave::sides::{SIDES, SidesRow};
use crate::model::{Crash, Environment, Proof, Settings, Who};
use crate::session::events::Events;
use crate::vm::contents::{self, PackError};
use crate::vm::instrument::lock_step::{FILE_OPEN, MODULE_LOADED};
use crate::vm::protocol::{LOCK_STEP_PATH, MODULE_PATH, Task, TrialPlan};
use crate::vm::{Qemu, VmSpec};

/// Where the guest finds the module without its parameters.
const WITHOUT_PARAMETERS: &str = "/modrace/without-parameters.ko";
/// The fewest virtual CPUs: one for each side.
pub(super) const FEWEST_CPUS: u32 = 2;

/// What is to be proved, and with what.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// QEMU.
    pub qemu: &'a Qemu,
    /// The machine.
    pub spec: &'a VmSpec,
    /// The initramfs without a plan.
    pub base: &'a [u8],
    /// The kernel's build tree: vmlinux or System.map of it are its symbols.
    pub kdir: Option<&'a Path>,
    /// The module.
    pub module: &'a ModuleImage,
    /// Settings of the machine.
    pub settings: &'a Settings,
    /// Only this schedule: who stops first, and both points, from 1.
    pub only: Option<(Who, usize, usize)>,
    /// The port at which a debugger may attach.
    pub debugger: Option<u16>,
    /// Set by signals.
    pub cancel: &'a AtomicBool,
}

/// Why nothing could be proved.
#[derive(Debug, Error)]
pub enum ProveError {
    /// The guest could not be driven.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The initramfs could not be packed.
    #[error("packing the guest's files")]
    Pack(#[from] PackError),
    /// The plan could not be written.
    #[error("writing the guest's plan")]
    Plan(#[from] serde_json::Error),
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
    pub(super) arch: &'static Arch,
    pub(super) row: &'static SidesRow,
    pub(super) known: Known,
    pub(super) spec: VmSpec,
    pub(super) parts: Vec<Vec<u8>>,
    pub(super) forms: Vec<&'static str>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(subject: &'a Subject<'a>, events: Events<'_>) -> Result<Self, ProveError> {
        let arch = &X86_64;
        let row = &SIDES[0];
        // Addresses must be the same in every boot; grace periods that are
        // hurried make the rounds short and change no code of the two sides.
        let spec = VmSpec {
            append: format!("nokaslr rcupdate.rcu_expedited=1 {}", subject.spec.append)
                .trim_end()
                .to_owned(),
            ..subject.spec.clone()
        };
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
            // Work that the kernel leaves for after a load can keep its CPU
            // busy: best a CPU of its own.
            setup_cpu: if spec.smp > FEWEST_CPUS { 2 } else { 0 },
            forms: paths.clone(),
            name: subject.module.name().to_owned(),
            symbols,
            // seq_file shows the first record, no other.
            read_bytes: 1,
        };
        let pack = |plan: &LockStepPlan| -> Result<Vec<Vec<u8>>, ProveError> {
            let trial = contents::plan(&TrialPlan {
                settings: subject.settings.clone(),
                seed: 0,
                probe: false,
                task: Task::LockStep,
                hold: false,
            })?;
            let plan = serde_json::to_vec(plan)?;
            let all = files
                .iter()
                .map(|(path, bytes)| (*path, bytes.as_slice()))
                .chain([(LOCK_STEP_PATH, plan.as_slice())]);
            Ok(vec![trial, contents::files(all)?])
        };
        let known = if let Some(known) = kernel::of_tree(arch, row, subject.kdir)? {
            known
        } else {
            events.note("no vmlinux: a first boot shows where the kernel's functions are");
            let parts = pack(&plan(true))?;
            kernel::of_first_boot(arch, row, subject, &spec, &parts)?
        };
        Ok(Self {
            subject,
            arch,
            row,
            known,
            parts: pack(&plan(false))?,
            spec,
            forms,
        })
    }

    /// A guest that is ready for its first round.
    pub(super) fn boot(&self) -> Result<Driver<'_>, MachineError> {
        let mut initramfs = vec![self.subject.base];
        initramfs.extend(self.parts.iter().map(Vec::as_slice));
        let machine = Machine::boot(
            self.subject.qemu,
            &self.spec,
            &initramfs,
            self.arch,
            Some(&self.known.layout),
            self.subject.debugger,
            self.subject.cancel,
        )?;
        Ok(Driver {
            machine,
            arch: self.arch,
            layout: &self.known.layout,
            cpus: [0, 1],
            state_offset: self.row.state_offset,
            patience: Patience::PROOF,
            cancel: self.subject.cancel,
        })
    }
}
