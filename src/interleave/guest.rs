//! The guest's part of the lock-step: loads the module anew when the page asks
//! for a round, and has each side make its one call when the page says so. No
//! loop runs freely, so nothing crashes but the schedule that is on.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use serde::{Deserialize, Serialize};

use crate::kernel::affinity;
use crate::kernel::module::{ModuleFile, unload_by_name};
use crate::vm::instrument::lock_step::{LOCK_STEP_MAGIC, LockStep, NAMES_NOTHING};

/// The reader's file: one record of it is one call of `m_show()`.
const READ: &str = "/proc/modules";
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
    /// Hand over `/proc/kallsyms` first.
    pub symbols: bool,
}

/// Serves rounds until the host ends the machine.
pub fn serve(plan: &LockStepPlan, page: &'static LockStep) -> io::Result<()> {
    let forms: Vec<ModuleFile> = plan
        .forms
        .iter()
        .map(|path| ModuleFile::open(path, &plan.name))
        .collect::<io::Result<_>>()?;
    if plan.symbols {
        page.put_text(&fs::read("/proc/kallsyms")?);
    }
    let name = CString::new(plan.name.as_str())?;
    let (loader_cpu, reader_cpu) = (plan.loader_cpu, plan.reader_cpu);
    let start = |side: &str| thread::Builder::new().name(side.to_owned());
    start("loader").spawn(move || unload_on(loader_cpu, page, &name))?;
    start("reader").spawn(move || read_on(reader_cpu, page))?;
    affinity::pin_to(plan.setup_cpu)?;
    page.magic.store(LOCK_STEP_MAGIC, Ordering::Release);
    let mut round = 0;
    loop {
        round = wait_for(&page.round, round + 1);
        set_up(page, round, &forms);
    }
}

/// Loads the module for a round, and unloads it afterwards if need be.
fn set_up(page: &LockStep, round: u64, forms: &[ModuleFile]) {
    let form = usize::try_from(page.form.load(Ordering::Acquire)).unwrap_or(0);
    let Some(module) = forms.get(form) else {
        return;
    };
    let error = module.load().err().map_or(0, |errno| errno as u64);
    page.load_error.store(error, Ordering::Relaxed);
    let address = address_of(module.name()).unwrap_or(0);
    page.module.store(address, Ordering::Relaxed);
    page.loaded.store(round, Ordering::Release);
    for ended in &page.ended {
        wait_for(ended, round);
    }
    while unload_by_name(module.name()).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
    page.clean.store(round, Ordering::Release);
}

/// All rounds of the side that unloads.
fn unload_on(cpu: usize, page: &LockStep, name: &CStr) {
    let _best_effort = affinity::pin_to(cpu);
    let mut round = 0;
    loop {
        round = wait_for(&page.loaded, round + 1);
        page.ready[0].store(round, Ordering::Release);
        wait_for(&page.begin[0], round);
        let name = if page.names.load(Ordering::Acquire) == NAMES_NOTHING {
            NOTHING
        } else {
            name
        };
        let unloaded = delete_module(name, DeleteModuleFlags::O_NONBLOCK);
        page.result[0].store(word(unloaded.map(|()| 0)), Ordering::Relaxed);
        page.ended[0].store(round, Ordering::Release);
    }
}

/// All rounds of the side that reads.
fn read_on(cpu: usize, page: &LockStep) {
    let _best_effort = affinity::pin_to(cpu);
    let mut round = 0;
    loop {
        round = wait_for(&page.loaded, round + 1);
        let file = File::open(READ);
        page.ready[1].store(round, Ordering::Release);
        wait_for(&page.begin[1], round);
        let mut byte = [0];
        // One byte at offset 0: seq_file shows the first record, no other.
        let read = file.and_then(|file| file.read_at(&mut byte, 0));
        let read = read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)));
        page.result[1].store(
            word(read.map(|bytes| i64::try_from(bytes).unwrap_or(0))),
            Ordering::Relaxed,
        );
        page.ended[1].store(round, Ordering::Release);
    }
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
        thread::sleep(Duration::from_micros(50));
    }
}

/// A call's result as the kernel gives it: negative for an error number.
fn word(result: Result<i64, Errno>) -> u64 {
    result
        .unwrap_or_else(|errno| -(errno as i64))
        .cast_unsigned()
}

/// The address of a loaded module's `struct module`, which is a section of its
/// own (`kernel/module/sysfs.c`, `add_sect_attrs()`).
fn address_of(name: &str) -> Option<u64> {
    let path = Path::new("/sys/module")
        .join(name)
        .join("sections/.gnu.linkonce.this_module");
    let text = fs::read_to_string(path).ok()?;
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}
