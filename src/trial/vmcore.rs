//! The memory of a guest that panicked, as a file beside its console log that
//! crash(8) and drgn open: QEMU writes it while the guest stands still.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

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

/// A file that is removed unless it was kept: half a vmcore is none.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It is gone where it was renamed.
        let _ = fs::remove_file(&self.0);
    }
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

    /// Has a stopped machine's memory written, with the kernel's name. `hear` is told what comes
    /// meanwhile. An error is why there is none.
    pub(super) fn write(
        &self,
        vm: &mut Vm,
        index: u32,
        uname: Uname<'_>,
        stop: &AtomicBool,
        hear: &mut dyn FnMut(VmEvent),
    ) -> Result<Vmcore, String> {
        let name = format!("trial-{index:04}.vmcore");
        // QEMU runs elsewhere, as far as paths are concerned.
        let folder = fs::canonicalize(&self.folder)
            .map_err(|error| format!("{}: {error}", self.folder.display()))?;
        self.check_space(&folder)?;
        let partial = |of: &str| Partial(folder.join(format!(".{name}.{of}")));
        let (flattened, whole) = (partial("flattened"), partial("part"));
        let began = Instant::now();
        vm.dump_memory(&flattened.0)
            .map_err(|error| format!("QEMU does not listen: {error}"))?;
        self.wait(vm, stop, hear)?;
        let finish = || {
            vmcore::unflatten(&flattened.0, &whole.0, uname)?;
            fs::rename(&whole.0, folder.join(&name))?;
            Ok(fs::metadata(folder.join(&name))?.len())
        };
        let bytes =
            finish().map_err(|error: io::Error| format!("{}: {error}", folder.display()))?;
        let logs = self.folder.file_name().map_or(&*self.folder, Path::new);
        Ok(Vmcore {
            file: logs.join(name).display().to_string(),
            bytes,
            took_s: began.elapsed().as_secs_f64(),
        })
    }

    /// Whether all of the memory would fit: how far it can be compressed is not
    /// known before.
    fn check_space(&self, folder: &Path) -> Result<(), String> {
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
