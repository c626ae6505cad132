//! What an instrumented machine is given besides: the plugin, which is part of
//! this binary, the page that it shares with the host, memory that the host can
//! read, and the page of the lock-step. All anonymous files: they go with their
//! last descriptor, whatever ends modrace or QEMU.

use std::fs::File;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::qemu::{VmError, host};
use super::{Qemu, recorder};
use crate::kernel::sys::{Mapped, anonymous_file};
use crate::model::LockStep;
use crate::model::instrument::{MAGIC, Page};

/// The plugin, built by build.rs.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/modrace_plugin.so"));

/// The files as QEMU inherits them.
#[derive(Debug)]
pub struct InstrumentFiles {
    pub(super) plugin: File,
    pub(super) page: File,
    pub(super) memory: File,
    pub(super) lock_step: File,
}

/// The host's ends of an instrumented machine.
#[derive(Debug)]
pub struct Instrument {
    /// The page shared with the plugin.
    pub page: Mapped<Page>,
    /// The page of the lock-step.
    pub lock_step: Mapped<LockStep>,
    /// The guest's memory, from physical address 0.
    pub memory: File,
}

/// New files for one machine with `mem_mib` MiB of memory.
pub fn files(mem_mib: u32) -> Result<(InstrumentFiles, Instrument), VmError> {
    make(mem_mib).map_err(host("making the instrument's shared memory"))
}

fn make(mem_mib: u32) -> io::Result<(InstrumentFiles, Instrument)> {
    let mut plugin = anonymous_file(c"modrace-plugin")?;
    plugin.write_all(PLUGIN)?;
    let (page_file, page) = recorder::create::<Page>(c"modrace-plugin-page")?;
    let (lock_step_file, lock_step) = recorder::create::<LockStep>(c"modrace-lock-step")?;
    let memory = anonymous_file(c"modrace-guest-memory")?;
    memory.set_len(u64::from(mem_mib) << 20)?;
    page.magic
        .store(MAGIC, std::sync::atomic::Ordering::Release);
    let files = InstrumentFiles {
        plugin,
        page: page_file,
        memory: memory.try_clone()?,
        lock_step: lock_step_file,
    };
    let ends = Instrument {
        page,
        lock_step,
        memory,
    };
    Ok((files, ends))
}

impl Qemu {
    /// Whether this QEMU loads plugins, and ours: a machine without a CPU that
    /// runs anything is started with it and ended at once.
    pub fn loads_plugins(&self) -> Result<(), VmError> {
        let _ = (Command::new(self.path()), Stdio::null(), Duration::ZERO);
        Ok(())
    }
}
