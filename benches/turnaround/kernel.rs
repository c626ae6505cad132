//! A kernel made ready for machines that are started here, not by a command.

use std::sync::Arc;

use modrace::model::{Accel, Settings, StartChoice};
use modrace::session::{Events, Preparation, Request};
use modrace::vm::protocol::{Task, TrialPlan};
use modrace::vm::{Qemu, VmSpec, contents};

use crate::{Failure, init};

/// What a machine takes.
pub(crate) struct Kernel {
    pub(crate) qemu: Qemu,
    pub(crate) spec: VmSpec,
    pub(crate) base: Arc<Vec<u8>>,
    pub(crate) settings: Settings,
}

impl Kernel {
    /// Under TCG, so that the figures compare from host to host.
    pub(crate) fn prepare(name: &str, smp: u32, start: StartChoice) -> Result<Self, Failure> {
        let mut request = Request {
            program: Some(init().to_owned()),
            ..Request::default()
        };
        request.settings.smp = smp;
        request.settings.accel = Accel::Tcg;
        request.settings.start = start;
        let settings = request.settings.clone();
        let silent = |_| {};
        let preparation =
            Preparation::new(request, Events::to(&silent)).map_err(|failure| failure.error)?;
        let prepared = preparation
            .prepare(name, None)
            .map_err(|failure| failure.error)?;
        let trials = prepared.trials;
        Ok(Self {
            qemu: trials.qemu.clone(),
            spec: trials.spec.clone(),
            base: Arc::clone(&trials.base),
            settings,
        })
    }

    /// A plan as a part of the initramfs.
    pub(crate) fn plan(&self, probe: bool, hold: bool) -> Result<Vec<u8>, Failure> {
        Ok(contents::plan(&TrialPlan {
            settings: self.settings.clone(),
            seed: 1,
            probe,
            hold,
            task: Task::Race,
        })?)
    }
}
