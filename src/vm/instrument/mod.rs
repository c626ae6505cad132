//! What an instrumented machine is given besides: the plugin, which is part of
//! this binary, the page that it shares with the host, memory that the host can
//! read, and the page of the lock-step. All anonymous files: they go with their
//! last descriptor, whatever ends modrace or QEMU.

pub mod lock_step;
#[path = "../../../plugin/page.rs"]
pub mod page;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};

use super::command::{Origin, fd, plugin_probe_arguments};
use super::machine::{dup, initrd, launch};
use super::qemu::host;
use super::{Qemu, Vm, VmError, VmSpec};
use crate::kernel::sys::{MappedPage, anonymous_file, die_with_parent};
use crate::recorder;
pub use lock_step::{LOCK_STEP_BYTES, LockStep};
use page::{MAGIC, PAGE_BYTES, Page};

/// The plugin, built by build.rs.
const PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/modrace_plugin.so"));

/// Longest wait for QEMU to load the plugin.
const PATIENCE: Duration = Duration::from_secs(20);

/// The files as QEMU inherits them.
#[derive(Debug)]
pub struct InstrumentFiles {
    pub(super) plugin: File,
    pub(super) page: File,
    pub(super) memory: File,
    pub(super) lock_step: File,
    /// The port at which a debugger may attach.
    pub debugger: Option<u16>,
}

/// The host's ends of an instrumented machine.
#[derive(Debug)]
pub struct Instrument {
    /// The page shared with the plugin.
    pub page: MappedPage<Page>,
    /// The page of the lock-step.
    pub lock_step: MappedPage<LockStep>,
    /// The guest's memory, from physical address 0.
    pub memory: File,
}

/// New files for one machine with `mem_mib` MiB of memory.
pub fn files(mem_mib: u32) -> Result<(InstrumentFiles, Instrument), VmError> {
    make(mem_mib).map_err(host("making the instrument's shared memory"))
}

fn make(mem_mib: u32) -> io::Result<(InstrumentFiles, Instrument)> {
    let sized = |name, bytes: usize| {
        let file = anonymous_file(name)?;
        file.set_len(bytes as u64)?;
        Ok::<File, io::Error>(file)
    };
    let mut plugin = anonymous_file(c"modrace-plugin")?;
    plugin.write_all(PLUGIN)?;
    let files = InstrumentFiles {
        plugin,
        page: sized(c"modrace-plugin-page", PAGE_BYTES)?,
        memory: sized(c"modrace-guest-memory", (mem_mib as usize) << 20)?,
        lock_step: sized(c"modrace-lock-step", LOCK_STEP_BYTES)?,
        debugger: None,
    };
    let ends = Instrument {
        page: MappedPage::map(&files.page, PAGE_BYTES)?,
        lock_step: MappedPage::map(&files.lock_step, LOCK_STEP_BYTES)?,
        memory: files.memory.try_clone()?,
    };
    ends.page.magic.store(MAGIC, Ordering::Release);
    Ok((files, ends))
}

impl Qemu {
    /// Boots a machine whose CPUs the plugin can stop.
    pub fn boot_instrumented(
        &self,
        spec: &VmSpec,
        initramfs: &[&[u8]],
        files: &InstrumentFiles,
    ) -> Result<Vm, VmError> {
        let initrd = initrd(initramfs)?;
        let (page, recorder) = recorder::create().map_err(host("making the flight recorder"))?;
        let inherited = vec![
            (fd::INITRD, initrd.into()),
            (fd::RECORDER, page.into()),
            (fd::RAM, dup(&files.memory)?),
            (fd::PLUGIN, dup(&files.plugin)?),
            (fd::PLUGIN_PAGE, dup(&files.page)?),
            (fd::LOCK_STEP, dup(&files.lock_step)?),
        ];
        let origin = Origin::Instrumented {
            debugger: files.debugger,
        };
        launch(self, spec, origin, recorder, inherited)
    }

    /// Starts it with the plugin and nothing to run.
    fn start_with_plugin(&self, files: &InstrumentFiles) -> Result<Child, VmError> {
        let mut command = Command::new(self.path());
        command.args(plugin_probe_arguments());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let inherit = |file: &File, child_fd: i32| {
            Ok::<_, VmError>(FdMapping {
                parent_fd: dup(file)?,
                child_fd,
            })
        };
        command
            .fd_mappings(vec![
                inherit(&files.plugin, fd::PLUGIN)?,
                inherit(&files.page, fd::PLUGIN_PAGE)?,
            ])
            .map_err(|error| host("passing descriptors")(io::Error::other(error)))?;
        die_with_parent(&mut command);
        command.spawn().map_err(host("starting QEMU"))
    }

    /// Whether this QEMU loads our plugin: a machine without a kernel is started
    /// with it, its CPUs stopped, and ended as soon as it has taken the page.
    pub fn loads_plugins(&self) -> Result<(), VmError> {
        let (files, ends) = files(1)?;
        let mut child = self.start_with_plugin(&files)?;
        let deadline = Instant::now() + PATIENCE;
        let refused = loop {
            if ends.page.taken.load(Ordering::Acquire) != 0 {
                break None;
            }
            if let Ok(Some(_)) = child.try_wait() {
                break Some("it ended at once");
            }
            if Instant::now() > deadline {
                break Some("it did not load one in time");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let _gone_already = child.kill();
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            // What was read before an error is told.
            let _ = stderr.read_to_string(&mut said);
        }
        let _reaped_already = child.wait();
        match refused {
            None => Ok(()),
            Some(why) => Err(VmError::NoPlugins {
                path: self.path().to_owned(),
                version: self.version().to_owned(),
                why: said.lines().next().unwrap_or(why).to_owned(),
            }),
        }
    }
}
