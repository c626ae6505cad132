//! Guests in lock-step of one kernel, booted again and again: what `prove` and
//! `explore` force their schedules on.

use std::sync::atomic::AtomicBool;

use super::events::Events;
use super::exit::Failure;
use super::prepared_kernel::{Preparation, PreparedKernel};
use super::request::Request;
use crate::interleave::arch::{Arch, X86_64};
use crate::interleave::guest::LockStepPlan;
use crate::interleave::machine::{Layout, Machine, MachineError};
use crate::model::{Accel, Settings};
use crate::vm::contents::{self, PackError};
use crate::vm::protocol::{LOCK_STEP_PATH, Task, TrialPlan};
use crate::vm::{Qemu, VmSpec};

/// The fewest virtual CPUs: one for each side.
const FEWEST_CPUS: u32 = 2;

/// Checks what is asked for, and that QEMU can do it: before anything is built
/// or booted.
pub(super) fn prepare(
    mut request: Request,
    events: Events<'_>,
) -> Result<Preparation<'_>, Failure> {
    let settings = &mut request.settings;
    if settings.smp < FEWEST_CPUS {
        let error = format!("--smp {}: each side needs a virtual CPU", settings.smp);
        return Err(Failure::usage(error).hint("--smp 2, or more"));
    }
    if settings.accel == Accel::Kvm {
        let error = "--accel kvm: a virtual CPU can be stopped at an instruction under TCG alone";
        return Err(Failure::usage(error));
    }
    settings.accel = Accel::Tcg;
    let mut preparation = Preparation::new(request, events)?;
    preparation.request.settings.trials = 0;
    Qemu::find(preparation.request.qemu.as_deref())?.loads_plugins()?;
    Ok(preparation)
}

/// Why the guests' files could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum GuestFilesError {
    /// The initramfs could not be packed.
    #[error("packing the guest's files")]
    Pack(#[from] PackError),
    /// The plan could not be written.
    #[error("writing the guest's plan")]
    Plan(#[from] serde_json::Error),
}

/// Guests of one kernel.
#[derive(Debug)]
pub(super) struct Guests<'a> {
    /// The architecture.
    pub(super) arch: &'static Arch,
    /// Set by signals.
    pub(super) cancel: &'a AtomicBool,
    qemu: &'a Qemu,
    spec: VmSpec,
    base: &'a [u8],
    settings: &'a Settings,
}

impl<'a> Guests<'a> {
    /// Of a kernel that was made ready.
    pub(super) fn of(preparation: &'a Preparation<'_>, prepared: &'a PreparedKernel) -> Self {
        let spec = &prepared.trials.spec;
        Self {
            arch: &X86_64,
            cancel: &preparation.stop,
            qemu: &prepared.trials.qemu,
            // Addresses must be the same in every boot; grace periods that are
            // hurried make the rounds short and change no code of the two sides.
            spec: VmSpec {
                append: format!("nokaslr rcupdate.rcu_expedited=1 {}", spec.append)
                    .trim_end()
                    .to_owned(),
                ..spec.clone()
            },
            base: &prepared.trials.base,
            settings: &preparation.request.settings,
        }
    }

    /// The CPU on which modules are loaded. Work that the kernel leaves for
    /// after a load can keep its CPU busy: best a CPU of its own.
    pub(super) fn setup_cpu(&self) -> usize {
        if self.spec.smp > FEWEST_CPUS { 2 } else { 0 }
    }

    /// What a guest with this plan has besides what all have.
    pub(super) fn pack(
        &self,
        plan: &LockStepPlan,
        files: &[(&str, Vec<u8>)],
    ) -> Result<Vec<Vec<u8>>, GuestFilesError> {
        let trial = contents::plan(&TrialPlan {
            settings: self.settings.clone(),
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
    }

    /// A guest that is ready for its first round. Without a layout nothing of it
    /// is watched, and no side can be stopped.
    pub(super) fn boot(
        &self,
        parts: &[Vec<u8>],
        layout: Option<&Layout>,
        debugger: Option<u16>,
    ) -> Result<Machine, MachineError> {
        let mut initramfs = vec![self.base];
        initramfs.extend(parts.iter().map(Vec::as_slice));
        Machine::boot(
            self.qemu,
            &self.spec,
            &initramfs,
            self.arch,
            layout,
            debugger,
            self.cancel,
        )
    }
}
