//! The guest's part of the lock-step: prepares a round as the page asks for it,
//! and has each side make its one call when the page says so. No loop runs
//! freely, so nothing crashes but the schedule that is on.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nix::sys::uio::pread;
use nix::unistd::write;
use serde::{Deserialize, Serialize};

use super::calls::Call;
use crate::kernel::module::{ModuleFile, unload_by_name};
use crate::kernel::{affinity, sys};
use crate::vm::instrument::lock_step::{FILE_OPEN, LOCK_STEP_MAGIC, LockStep, MODULE_LOADED};

/// Before the name of each of the reader's files, in the text that the guest
/// hands over.
pub const FILE_LINE: &str = "file ";
/// Before the address of the module's code and the bytes of the module.
pub const CODE_LINE: &str = "code ";

/// Between two looks at the page.
const LOOK_EVERY: Duration = Duration::from_micros(50);
/// The highest priority of `SCHED_FIFO`.
const HIGHEST: i32 = 99;
/// A name that no module has.
const NOTHING: &CStr = c"modrace_not_loaded";

/// Where the sides are, and what is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockStepPlan {
    /// The CPU that unloads.
    pub loader_cpu: usize,
    /// The CPU that reads.
    pub reader_cpu: usize,
    /// The CPU on which the module is loaded, and whatever the kernel does
    /// later for a load.
    pub setup_cpu: usize,
    /// Files of the module's forms, as the page numbers them.
    pub forms: Vec<PathBuf>,
    /// The name of all of them.
    pub name: String,
    /// Hand over the names of the reader's files and `/proc/kallsyms` first.
    pub symbols: bool,
    /// Bytes of a read, which is at offset 0.
    pub read_bytes: usize,
}

/// How a reader opens a file.
pub type Open = Box<dyn Fn(&Path) -> io::Result<File> + Send + Sync>;

/// What the reader's calls are done to.
pub struct Reads {
    /// Its files, as the page numbers them.
    pub files: Vec<PathBuf>,
    /// How it opens one.
    pub open: Open,
    /// What a write writes.
    pub text: String,
}

/// What both sides share.
struct Stage {
    page: &'static LockStep,
    forms: Vec<ModuleFile>,
    parameters: CString,
    name: CString,
    reads: Reads,
    read_bytes: usize,
    /// The reader's file, where it is open.
    open: Mutex<Option<File>>,
}

/// Serves rounds until the host ends the machine.
pub fn serve(
    plan: &LockStepPlan,
    page: &'static LockStep,
    parameters: CString,
    reads: Reads,
) -> io::Result<()> {
    let forms: Vec<ModuleFile> = plan
        .forms
        .iter()
        .map(|path| ModuleFile::open(path, &plan.name))
        .collect::<io::Result<_>>()?;
    let stage: &'static Stage = Box::leak(Box::new(Stage {
        page,
        forms,
        parameters,
        name: CString::new(plan.name.as_str())?,
        reads,
        read_bytes: plan.read_bytes,
        open: Mutex::new(None),
    }));
    if plan.symbols {
        stage.tell_symbols()?;
    }
    let (loader_cpu, reader_cpu) = (plan.loader_cpu, plan.reader_cpu);
    let start = |side: &str| thread::Builder::new().name(side.to_owned());
    // A keeper has its CPU for as long as it is told to.
    let _ = fs::write("/proc/sys/kernel/sched_rt_runtime_us", "-1");
    let keepers = [
        start("keeper/0").spawn(move || stage.keep(0, loader_cpu))?,
        start("keeper/1").spawn(move || stage.keep(1, reader_cpu))?,
    ];
    let [loaders, readers] = keepers.map(|keeper| keeper.thread().clone());
    start("loader").spawn(move || stage.side(0, loader_cpu, &readers))?;
    start("reader").spawn(move || stage.side(1, reader_cpu, &loaders))?;
    affinity::pin_to(plan.setup_cpu)?;
    page.magic.store(LOCK_STEP_MAGIC, Ordering::Release);
    let mut round = 0;
    loop {
        round = wait_for(&page.round, round + 1);
        stage.set_up(round);
    }
}

/// Says why no round can be served.
pub fn refuse(page: &LockStep, reason: &str) {
    page.put_text(reason.as_bytes());
    page.refused.store(1, Ordering::Release);
}

impl Stage {
    /// Hands over the names of the reader's files, a line each, and
    /// `/proc/kallsyms` with the module in it.
    fn tell_symbols(&self) -> io::Result<()> {
        let mut text = String::new();
        for file in &self.reads.files {
            text.push_str(&format!("{FILE_LINE}{}\n", file.display()));
        }
        let loaded = self.forms[0].load_with(&self.parameters).is_ok();
        let symbols = fs::read_to_string("/proc/kallsyms");
        let module = &self.forms[0];
        let code = section_of(module.name(), ".text").unwrap_or(0);
        // Before 6.4 the size of the parts that stay; since then of all.
        let bytes = module.attribute("coresize").unwrap_or_default();
        text.push_str(&format!("{CODE_LINE}{code} {bytes}\n"));
        if loaded {
            self.unload_patiently();
        }
        text.push_str(&symbols?);
        self.page.put_text(text.as_bytes());
        Ok(())
    }

    /// Prepares a round, and tidies up after it if need be.
    fn set_up(&self, round: u64) {
        let page = self.page;
        let form = usize::try_from(page.form.load(Ordering::Acquire)).unwrap_or(0);
        let Some(module) = self.forms.get(form) else {
            return;
        };
        let prepared = page.prepared.load(Ordering::Relaxed);
        let mut error = 0;
        if prepared & MODULE_LOADED != 0 {
            let loaded = module.load_with(&self.parameters);
            error = loaded.err().map_or(0, |errno| errno as u64);
        }
        page.load_error.store(error, Ordering::Relaxed);
        let address = |section: &str| section_of(module.name(), section).unwrap_or(0);
        page.module
            .store(address(".gnu.linkonce.this_module"), Ordering::Relaxed);
        page.code.store(address(".text"), Ordering::Relaxed);
        page.loaded.store(round, Ordering::Release);
        for ended in &page.ended {
            wait_for(ended, round);
        }
        if page.tidies.load(Ordering::Relaxed) != 0 {
            drop(self.file().take());
            self.unload_patiently();
        }
        page.clean.store(round, Ordering::Release);
    }

    fn unload_patiently(&self) {
        let name = self.name.to_string_lossy();
        while unload_by_name(&name).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes a side's CPU for as long as the host says so. The CPU lives on
    /// meanwhile: it answers interrupts, and grace periods end.
    fn keep(&self, side: usize, cpu: usize) {
        // Without both the host sees that nobody was preempted.
        let _ = affinity::pin_to(cpu);
        let _ = sys::set_priority(0, Some(HIGHEST));
        let keep = &self.page.keep[side];
        loop {
            thread::park();
            let round = keep.load(Ordering::Acquire);
            self.page.kept[side].store(round, Ordering::Release);
            while round != 0 && keep.load(Ordering::Acquire) == round {
                std::hint::spin_loop();
            }
            self.page.kept[side].store(0, Ordering::Release);
        }
    }

    /// All rounds of a side. `keeper` is that of the other side's CPU, which
    /// cannot wake it itself: it may be stopped.
    fn side(&self, side: usize, cpu: usize, keeper: &thread::Thread) {
        // A guest whose CPU is gone is seen by the host: its rounds never end.
        let _ = affinity::pin_to(cpu);
        let page = self.page;
        let mut round = 0;
        loop {
            round = wait_for(&page.loaded, round + 1);
            let call = Call::from_word(page.calls[side].load(Ordering::Relaxed));
            if side == 1 && page.prepared.load(Ordering::Relaxed) & FILE_OPEN != 0 {
                let opened = self.open_file();
                *self.file() = opened.ok();
            }
            page.ready[side].store(round, Ordering::Release);
            self.wait_for_begin(side, round, keeper);
            let result = self.make(call);
            page.result[side].store(word(result), Ordering::Relaxed);
            page.ended[side].store(round, Ordering::Release);
        }
    }

    fn wait_for_begin(&self, side: usize, round: u64, keeper: &thread::Thread) {
        let (page, other) = (self.page, 1 - side);
        while page.begin[side].load(Ordering::Acquire) < round {
            let asked = page.keep[other].load(Ordering::Acquire);
            if asked == round && page.woken[other].load(Ordering::Relaxed) != round {
                keeper.unpark();
                page.woken[other].store(round, Ordering::Release);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn make(&self, call: Call) -> Result<i64, Errno> {
        let with_file = |act: &dyn Fn(&File) -> Result<usize, Errno>| {
            let held = self.file();
            let file = held.as_ref().ok_or(Errno::EBADF)?;
            act(file).map(|bytes| i64::try_from(bytes).unwrap_or(0))
        };
        match call {
            Call::Nothing => Ok(0),
            Call::Load => self.form()?.load_with(&self.parameters).map(|()| 0),
            Call::Unload => delete_module(&self.name, DeleteModuleFlags::O_NONBLOCK).map(|()| 0),
            Call::UnloadNothing => {
                delete_module(NOTHING, DeleteModuleFlags::O_NONBLOCK).map(|()| 0)
            }
            Call::Open => {
                let file = self.open_file()?;
                *self.file() = Some(file);
                Ok(0)
            }
            Call::Close => {
                drop(self.file().take());
                Ok(0)
            }
            Call::Read => with_file(&|file| pread(file, &mut vec![0; self.read_bytes], 0)),
            Call::Write => with_file(&|file| write(file, self.reads.text.as_bytes())),
            Call::LookUp => fs::metadata(self.path()?)
                .map(|_| 0)
                .map_err(|error| errno_of(&error)),
        }
    }

    fn form(&self) -> Result<&ModuleFile, Errno> {
        let form = usize::try_from(self.page.form.load(Ordering::Relaxed)).unwrap_or(0);
        self.forms.get(form).ok_or(Errno::EINVAL)
    }

    fn path(&self) -> Result<&Path, Errno> {
        let file = usize::try_from(self.page.file.load(Ordering::Relaxed)).unwrap_or(0);
        let path = self.reads.files.get(file).ok_or(Errno::ENOENT)?;
        Ok(path)
    }

    fn open_file(&self) -> Result<File, Errno> {
        (self.reads.open)(self.path()?).map_err(|error| errno_of(&error))
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Waits for a round, asleep between two looks: the host decides the order, so
/// nothing has to be fast here, and a loop would take CPU time from the side
/// that is on.
fn wait_for(word: &AtomicU64, round: u64) -> u64 {
    loop {
        let now = word.load(Ordering::Acquire);
        if now >= round {
            return now;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A call's result as the kernel gives it: negative for an error number.
fn word(result: Result<i64, Errno>) -> u64 {
    result
        .unwrap_or_else(|errno| -(errno as i64))
        .cast_unsigned()
}

/// The address of a section of a loaded module (`kernel/module/sysfs.c`,
/// `add_sect_attrs()`). Its `struct module` is a section of its own.
fn section_of(name: &str, section: &str) -> Option<u64> {
    let path = Path::new("/sys/module").join(name).join("sections");
    let text = fs::read_to_string(path.join(section)).ok()?;
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}
