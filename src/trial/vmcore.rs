//! The memory of a guest that panicked, as a file beside its console log that
//! crash(8) and drgn open: QEMU writes it while the guest stands still.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use tempfile::NamedTempFile;

use crate::model::Vmcore;
use crate::vm::vmcore::{self, Uname};
use crate::vm::{QmpEvent, Vm, VmEvent};

/// Between two looks whether QEMU has written it.
const TURN: Duration = Duration::from_millis(50);
/// Longest time for one; memory goes to a disk at more than 4 MiB a second.
const SECONDS_PER_MIB: f64 = 0.25;

/// Which crashes of a run leave a vmcore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VmcoreChoice {
    /// None does.
    #[default]
    None,
    /// The first does.
    First,
    /// Each does.
    All,
}

/// The vmcores of a run.
#[derive(Debug)]
pub struct Vmcores {
    choice: VmcoreChoice,
    folder: PathBuf,
    mem_mib: u32,
    /// The first crash has taken its own.
    taken: AtomicBool,
}

impl Vmcores {
    /// Those of guests with that much memory, in the folder of console logs.
    pub fn new(choice: VmcoreChoice, folder: &Path, mem_mib: u32) -> Self {
        Self {
            choice,
            folder: folder.to_owned(),
            mem_mib,
            taken: AtomicBool::new(false),
        }
    }

    /// Whether a crash that happens now is to leave one. True once where only
    /// the first does.
    pub(super) fn wants(&self) -> bool {
        match self.choice {
            VmcoreChoice::None => false,
            VmcoreChoice::All => true,
            VmcoreChoice::First => !self.taken.swap(true, Ordering::Relaxed),
        }
    }

    /// Has a stopped machine's memory written, with the kernel's name. `hear` is
    /// told what comes meanwhile. An error is why there is none.
    pub(super) fn write(
        &self,
        vm: &mut Vm,
        index: u32,
        uname: Uname<'_>,
        stop: &AtomicBool,
        hear: &mut dyn FnMut(VmEvent),
    ) -> Result<Vmcore, String> {
        let name = format!("trial-{index:04}.vmcore");
        let named = |error: io::Error| format!("{}: {error}", self.folder.display());
        self.check_space()?;
        let began = Instant::now();
        // Half a vmcore is none: neither file has a name before it is whole.
        let flattened = tempfile::tempfile_in(&self.folder).map_err(named)?;
        vm.dump_memory(&flattened)
            .map_err(|error| format!("QEMU does not listen: {error}"))?;
        self.wait(vm, stop, hear)?;
        let finish = || {
            let whole = NamedTempFile::new_in(&self.folder)?;
            vmcore::unflatten(&flattened, whole.as_file(), uname)?;
            let file = whole.persist(self.folder.join(&name))?;
            Ok(file.metadata()?.len())
        };
        let bytes = finish().map_err(named)?;
        let logs = self.folder.file_name().map_or(&*self.folder, Path::new);
        Ok(Vmcore {
            file: logs.join(name).display().to_string(),
            bytes,
            took_s: began.elapsed().as_secs_f64(),
        })
    }

    /// Whether all of the memory would fit: how far it can be compressed is not
    /// known before.
    fn check_space(&self) -> Result<(), String> {
        let folder = &self.folder;
        let known = statvfs(folder).map_err(|errno| format!("{}: {errno}", folder.display()))?;
        let free_mib = known
            .blocks_available()
            .saturating_mul(known.fragment_size())
            >> 20;
        if free_mib < u64::from(self.mem_mib) {
            return Err(format!(
                "{} has {free_mib} MiB free, and it may take {} MiB",
                folder.display(),
                self.mem_mib
            ));
        }
        Ok(())
    }

    fn wait(
        &self,
        vm: &mut Vm,
        stop: &AtomicBool,
        hear: &mut dyn FnMut(VmEvent),
    ) -> Result<(), String> {
        let longest = Duration::from_secs_f64(SECONDS_PER_MIB * f64::from(self.mem_mib));
        let until = Instant::now() + longest;
        loop {
            match vm.next_event(TURN) {
                Some(VmEvent::Qmp(QmpEvent::Dumped { error: None })) => return Ok(()),
                Some(VmEvent::Qmp(QmpEvent::Dumped { error: Some(why) })) => return Err(why),
                Some(VmEvent::Qmp(QmpEvent::Refused { command, reason }))
                    if command == "dump-guest-memory" =>
                {
                    return Err(reason);
                }
                Some(event) => hear(event),
                None => {}
            }
            if stop.load(Ordering::Relaxed) {
                return Err("interrupted".to_owned());
            }
            if vm.exited().is_some() {
                return Err("QEMU ended meanwhile".to_owned());
            }
            if Instant::now() > until {
                return Err(format!("QEMU did not write it within {longest:?}"));
            }
        }
    }
}
