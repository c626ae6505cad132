//! A kernel made ready for machines that are started here, not by a command.

use std::sync::atomic::AtomicBool;

use modrace::build::cache::Cache;
use modrace::build::kbuild;
use modrace::build::module_image::ModuleImage;
use modrace::model::{Accel, Settings};
use modrace::session::{Request, kernel_arg};
use modrace::vm::protocol::{Task, TrialPlan};
use modrace::vm::{Qemu, VmSpec, contents};

use crate::{Failure, init};

/// What a machine takes.
pub(crate) struct Kernel {
    pub(crate) qemu: Qemu,
    pub(crate) spec: VmSpec,
    pub(crate) base: Vec<u8>,
    pub(crate) settings: Settings,
}

impl Kernel {
    /// Under TCG, so that the figures compare from host to host.
    pub(crate) fn prepare(name: &str, smp: u32, trials: u32) -> Result<Self, Failure> {
        let cache = Cache::from_env()?;
        let stop = AtomicBool::new(false);
        let kernel = kernel_arg::resolve(name, &cache).map_err(|found| found.error)?;
        let kdir = kernel.kdir.ok_or("no build tree")?;
        let module = ModuleImage::open(&kbuild::build_dummy(&kdir, &cache, &stop)?)?;
        let settings = Settings {
            trials,
            smp,
            accel: Accel::Tcg,
            ..Request::default().settings
        };
        Ok(Self {
            qemu: Qemu::find(None)?,
            spec: VmSpec {
                kernel: kernel.image,
                accel: settings.accel,
                smp,
                mem_mib: settings.mem_mib,
                append: String::new(),
            },
            base: contents::base(init(), module.bytes(), &[], false)?,
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
