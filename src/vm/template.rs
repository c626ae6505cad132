//! A template: a guest that was booted, prepared and saved, for others to go on
//! from. Its RAM is an anonymous file that nobody can write to any more; the
//! state of its devices, less than half a megabyte, is bytes of ours. Neither
//! has a name, so both go with this process, whatever ends it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use thiserror::Error;

use super::command::{Origin, VmSpec, fd};
use super::machine::{Vm, VmEvent, dup, initrd, launch, spawn};
use super::qemu::{Qemu, VmError, host};
use super::qmp::QmpEvent;
use crate::kernel::sys;
use crate::recorder::{self, RECORDER_BYTES};

/// Longest wait for QEMU to save a machine: it takes some ten milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a machine could not be saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// A limit of this process is in the way.
    #[error(
        "the guest's memory of {mem_mib} MiB is a file to this host, and this process may make \
         none larger than {limit_mib} MiB (ulimit -f)"
    )]
    FileLimit {
        /// The guest's memory.
        mem_mib: u32,
        /// The limit.
        limit_mib: u64,
    },
    /// The machine did not start, or a resource was missing.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// QEMU does not save such a machine.
    #[error("QEMU refuses {command}: {reason}")]
    Refused {
        /// What it was told to do.
        command: String,
        /// Its reason.
        reason: String,
    },
    /// The guest does not use the flight recorder, by which a clone is told to go.
    #[error("the guest has no flight recorder, by which a clone is told to go")]
    NoRecorder,
    /// QEMU gave up, ended or said nothing.
    #[error("QEMU did not save the guest: {0}")]
    Failed(String),
}

/// A machine that boots in order to be saved.
#[derive(Debug)]
pub struct SavableVm {
    /// The machine.
    pub vm: Vm,
    qemu: Qemu,
    spec: VmSpec,
    ram: File,
    page: File,
}

/// A guest that was saved. Clones of it share its RAM and copy what they write.
#[derive(Debug)]
pub struct Template {
    pub(super) qemu: Qemu,
    pub(super) spec: VmSpec,
    pub(super) ram: File,
    pub(super) state: Arc<Vec<u8>>,
    pub(super) page: Vec<u8>,
    pub(super) recorder_at: u64,
}

impl Qemu {
    /// Boots a machine that can be saved.
    pub fn boot_to_save(&self, spec: &VmSpec, initramfs: &[&[u8]]) -> Result<SavableVm, SaveError> {
        let bytes = u64::from(spec.mem_mib) << 20;
        check_file_limit(spec.mem_mib)?;
        let ram = sys::sealable_file(c"modrace-ram")
            .and_then(|ram| ram.set_len(bytes).map(|()| ram))
            .map_err(host("making the guest's memory"))?;
        let initrd = initrd(initramfs)?;
        let (page, recorder) = recorder::create().map_err(host("making the flight recorder"))?;
        let inherited = vec![
            (fd::INITRD, initrd.into()),
            (fd::RAM, dup(&ram)?),
            (fd::RECORDER, dup(&page)?),
        ];
        Ok(SavableVm {
            vm: launch(self, spec, Origin::Template, recorder, inherited)?,
            qemu: self.clone(),
            spec: spec.clone(),
            ram,
            page,
        })
    }
}

/// Beyond the limit, the kernel would send SIGXFSZ instead of an error.
fn check_file_limit(mem_mib: u32) -> Result<(), SaveError> {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_FSIZE) else {
        return Ok(());
    };
    if limit == RLIM_INFINITY || limit >= u64::from(mem_mib) << 20 {
        return Ok(());
    }
    Err(SaveError::FileLimit {
        mem_mib,
        limit_mib: limit >> 20,
    })
}

impl SavableVm {
    /// Stops the machine where it is, saves it and ends it. What it says
    /// meanwhile is handed to `hear`.
    pub fn save(self, hear: &mut dyn FnMut(VmEvent)) -> Result<Template, SaveError> {
        let Self {
            mut vm,
            qemu,
            spec,
            ram,
            page,
        } = self;
        let deadline = Instant::now() + PATIENCE;
        let (mut ours, theirs) = UnixStream::pair().map_err(host("making a socket pair"))?;
        let asked = (vm.qmp.query_recorder())
            .and_then(|()| vm.qmp.leave_out_shared_ram())
            .and_then(|()| vm.qmp.save_to(theirs.as_fd()));
        asked.map_err(|error| SaveError::Failed(format!("QMP: {error}")))?;
        // QEMU has it now; with a copy of ours there would be no end of it.
        drop(theirs);
        let (send, received) = mpsc::channel();
        spawn("state", move || {
            let mut state = Vec::new();
            let read = ours.read_to_end(&mut state).map(|_| state);
            // The receiver may have given up.
            let _ = send.send(read);
        })?;
        let recorder_at = saved(&mut vm, deadline, hear)?;
        let state = received
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| SaveError::Failed(format!("its state: {error}")))?;
        // The CPUs stand still: nobody writes to page or RAM any more.
        let mut copy = vec![0; RECORDER_BYTES];
        page.read_exact_at(&mut copy, 0)
            .map_err(host("copying the flight recorder"))?;
        vm.kill();
        while let Some(event) = vm.last_events(deadline) {
            hear(event);
        }
        sys::seal(&ram).map_err(host("sealing the template's memory"))?;
        Ok(Template {
            qemu,
            spec,
            ram,
            state: Arc::new(state),
            page: copy,
            recorder_at,
        })
    }
}

/// Waits until QEMU has saved the machine; where the recorder is.
fn saved(vm: &mut Vm, deadline: Instant, hear: &mut dyn FnMut(VmEvent)) -> Result<u64, SaveError> {
    let mut recorder_at = None;
    while let Some(event) = vm.last_events(deadline) {
        match &event {
            VmEvent::Qmp(QmpEvent::RecorderAt(at)) => recorder_at = *at,
            VmEvent::Qmp(QmpEvent::Refused { command, reason }) => {
                return Err(SaveError::Refused {
                    command: command.clone(),
                    reason: reason.clone(),
                });
            }
            VmEvent::Qmp(QmpEvent::Migrated { completed: true }) => {
                return recorder_at.ok_or(SaveError::NoRecorder);
            }
            VmEvent::Qmp(QmpEvent::Migrated { completed: false }) => {
                return Err(SaveError::Failed("it gave up".to_owned()));
            }
            _ => {}
        }
        hear(event);
    }
    let complaint = vm.complaint();
    Err(SaveError::Failed(match complaint.lines().last() {
        Some(last) => last.to_owned(),
        None => "it said nothing".to_owned(),
    }))
}
