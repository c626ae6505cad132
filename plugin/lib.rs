//! A plugin for QEMU's TCG (plugin API version 1, QEMU 4.2 and later): it stops
//! one virtual CPU at one instruction, lets it go on, and tells what ran and
//! what was touched on the way. It knows addresses, sides and an order, all from
//! the page that it shares with modrace, and nothing of what they mean.
//!
//! Under `thread=multi` a callback runs in the host thread of its virtual CPU,
//! so one that waits stops that virtual CPU and no other. What waits holds up
//! whatever in QEMU needs all virtual CPUs (exclusive sections): every wait has
//! a limit.
//!
//! It is `no_std` and links nothing: the functions declared here are those of
//! QEMU and of the C library that QEMU itself runs on. Built by modrace's
//! build.rs, with rustc alone.
#![no_std]
#![deny(clippy::undocumented_unsafe_blocks)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "indices of sides, CPUs and events, which are small"
)]

mod page;

use core::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use page::{BEGINS, EVENTS, Page, RANGES, RECENT, SIDES, Side, call, event, kind, stop};

#[repr(C)]
struct Block {
    _opaque: [u8; 0],
}
#[repr(C)]
struct Instruction {
    _opaque: [u8; 0],
}
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

type PluginId = u64;
type MemoryInfo = u32;
type OnBlock = extern "C" fn(PluginId, *mut Block);
type OnRun = extern "C" fn(c_uint, *mut c_void);
type OnTouch = extern "C" fn(c_uint, MemoryInfo, u64, *mut c_void);

/// `QEMU_PLUGIN_CB_NO_REGS` and `QEMU_PLUGIN_MEM_RW`; with `_R` or `_W` alone
/// QEMU 7.2 calls nothing
/// (include/qemu/qemu-plugin.h).
const NO_REGISTERS: c_int = 0;
const READS_AND_WRITES: c_int = 3;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, callback: OnBlock);
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: OnRun,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        callback: OnTouch,
        flags: c_int,
        accesses: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_mem_is_store(info: MemoryInfo) -> bool;
    fn qemu_plugin_mem_size_shift(info: MemoryInfo) -> c_uint;

    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn close(file: c_int) -> c_int;
    fn mmap(
        address: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn abort() -> !;
}

const O_RDWR: c_int = 2;
const O_CLOEXEC: c_int = 0o2_000_000;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
const CLOCK_MONOTONIC: c_int = 1;
#[cfg(target_arch = "x86_64")]
const SYS_FUTEX: c_long = 202;
#[cfg(target_arch = "aarch64")]
const SYS_FUTEX: c_long = 98;
/// Not the private one: the host wakes from another process.
const FUTEX_WAIT: c_int = 0;
/// Between two looks of a side that is stopped and was not woken.
static LOOK_EVERY: Timespec = Timespec {
    seconds: 0,
    nanoseconds: 20_000_000,
};

/// The version of the plugin API that this is written for.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU looks for this name")]
pub static qemu_plugin_version: c_int = 1;

static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: abort() takes nothing and never returns.
    unsafe { abort() }
}

/// Called by QEMU when it has loaded the plugin. Other than 0: QEMU ends.
///
/// # Safety
/// QEMU hands over `count` strings in `arguments`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: QEMU hands over `count` strings that end in NUL.
        let argument = unsafe { CStr::from_ptr(*arguments.add(index)) };
        let Some(path) = argument.to_bytes_with_nul().strip_prefix(b"page=") else {
            continue;
        };
        let Ok(path) = CStr::from_bytes_with_nul(path) else {
            return 1;
        };
        if !take(path) {
            return 1;
        }
        // SAFETY: `id` is the one that QEMU gave.
        unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
        return 0;
    }
    1
}

/// Maps the page; false if it is not one of ours.
fn take(path: &CStr) -> bool {
    // SAFETY: plain system calls; the mapping is as long as a `Page`, is never
    // given back, and holds atomics only, for which any content is valid.
    let page = unsafe {
        let file = open(path.as_ptr(), O_RDWR | O_CLOEXEC);
        if file < 0 {
            return false;
        }
        let mapped = mmap(
            ptr::null_mut(),
            size_of::<Page>(),
            PROT_READ_WRITE,
            MAP_SHARED,
            file,
            0,
        );
        close(file);
        if mapped.addr() == usize::MAX {
            return false;
        }
        mapped.cast::<Page>()
    };
    PAGE.store(page, Ordering::Release);
    // SAFETY: mapped above, for ever.
    let page = unsafe { &*page };
    page.taken.store(1, Ordering::Release);
    page.magic.load(Ordering::Acquire) == page::MAGIC
}

/// The page. Callbacks are registered only once it is mapped.
fn page() -> &'static Page {
    // SAFETY: `take` has mapped it, for ever.
    unsafe { &*PAGE.load(Ordering::Relaxed) }
}

fn now_ns() -> u64 {
    let mut time = Timespec {
        seconds: 0,
        nanoseconds: 0,
    };
    // SAFETY: the pointer is valid for the call.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.seconds).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.nanoseconds).unwrap_or(0)
}

/// What is done at an address: the kind of its range, and whether it is the
/// first address of it.
fn watched(page: &Page, address: u64) -> (u64, bool) {
    let used = usize::try_from(page.ranges_used.load(Ordering::Relaxed)).unwrap_or(0);
    let ranges = &page.ranges[..used.min(RANGES)];
    let after = ranges.partition_point(|range| range.first.load(Ordering::Relaxed) <= address);
    let Some(range) = after.checked_sub(1).and_then(|index| ranges.get(index)) else {
        return (0, false);
    };
    if address < range.end.load(Ordering::Relaxed) {
        let first = range.first.load(Ordering::Relaxed) == address;
        (range.kind.load(Ordering::Relaxed), first)
    } else {
        (0, false)
    }
}

extern "C" fn translated(_id: PluginId, block: *mut Block) {
    let page = page();
    // SAFETY: QEMU's block, valid in this callback.
    let length = unsafe { qemu_plugin_tb_n_insns(block) };
    for index in 0..length {
        // SAFETY: `index` is below the number of instructions.
        let (instruction, address) = unsafe {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            (instruction, qemu_plugin_insn_vaddr(instruction))
        };
        if address < page.kernel_from.load(Ordering::Relaxed) {
            if index == 0 {
                on_run(instruction, user_space, 0);
            }
            continue;
        }
        if index == 0 {
            on_run(instruction, block_runs, address);
        }
        for (side, words) in page.sides.iter().enumerate() {
            let begins = &words.begins[..BEGINS];
            if begins
                .iter()
                .any(|begin| begin.load(Ordering::Relaxed) == address)
            {
                on_run(instruction, call_begins, side as u64);
            }
        }
        if address == page.switch_out.load(Ordering::Relaxed) {
            on_touch(instruction, switched_out, READS_AND_WRITES, address);
        }
        if address == page.switch_in.load(Ordering::Relaxed) {
            on_touch(instruction, switched_in, READS_AND_WRITES, address);
        }
        let (kinds, first) = watched(page, address);
        if first && kinds & kind::INTERRUPT != 0 {
            on_run(instruction, interrupted, 0);
        }
        if first && kinds & kind::RESUME != 0 {
            on_run(instruction, resumed, 0);
        }
        if first && kinds & kind::ENTRY != 0 {
            on_run(instruction, lock_entered, address);
        }
        if kinds & kind::LOCK != 0 {
            on_touch(instruction, lock_touched, READS_AND_WRITES, address);
        }
        if kinds & kind::RUN != 0 {
            on_run(instruction, runs, address);
        }
        if kinds & kind::TOUCH != 0 {
            on_touch(instruction, touched, READS_AND_WRITES, address);
        }
    }
}

fn on_run(instruction: *mut Instruction, callback: OnRun, data: u64) {
    let data = ptr::without_provenance_mut(usize::try_from(data).unwrap_or(0));
    // SAFETY: an instruction of the block that is being translated.
    unsafe { qemu_plugin_register_vcpu_insn_exec_cb(instruction, callback, NO_REGISTERS, data) };
}

fn on_touch(instruction: *mut Instruction, callback: OnTouch, accesses: c_int, data: u64) {
    let data = ptr::without_provenance_mut(usize::try_from(data).unwrap_or(0));
    // SAFETY: an instruction of the block that is being translated.
    unsafe {
        qemu_plugin_register_vcpu_mem_cb(instruction, callback, NO_REGISTERS, accesses, data);
    }
}

/// The side whose call this virtual CPU runs.
fn side_on(page: &'static Page, cpu: c_uint) -> Option<(usize, &'static Side)> {
    let cpu = page.cpus.get(cpu as usize)?;
    let side = (cpu.side.load(Ordering::Relaxed) as usize).checked_sub(1)?;
    Some((side, page.sides.get(side)?))
}

extern "C" fn block_runs(cpu: c_uint, data: *mut c_void) {
    let page = page();
    if let Some(here) = page.cpus.get(cpu as usize) {
        here.block.store(data.addr() as u64, Ordering::Relaxed);
    }
    if let Some((_, side)) = side_on(page, cpu) {
        side.block.store(data.addr() as u64, Ordering::Relaxed);
        add(&side.progress);
    }
}

extern "C" fn user_space(cpu: c_uint, _data: *mut c_void) {
    let page = page();
    if let Some((_, side)) = side_on(page, cpu) {
        page.cpus[cpu as usize].side.store(0, Ordering::Relaxed);
        side.interrupted.store(0, Ordering::Relaxed);
        side.call.store(call::ENDED, Ordering::Release);
    }
}

extern "C" fn call_begins(cpu: c_uint, data: *mut c_void) {
    let page = page();
    let (Some(side), Some(here)) = (page.sides.get(data.addr()), page.cpus.get(cpu as usize))
    else {
        return;
    };
    if side.cpu.load(Ordering::Relaxed) != cpu
        || side
            .call
            .compare_exchange(
                call::EXPECTED,
                call::UNDER_WAY,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_err()
    {
        return;
    }
    side.task
        .store(here.task.load(Ordering::Relaxed), Ordering::Relaxed);
    side.running.store(1, Ordering::Release);
    here.side.store(data.addr() as u32 + 1, Ordering::Relaxed);
}

extern "C" fn switched_out(cpu: c_uint, _info: MemoryInfo, task: u64, _data: *mut c_void) {
    let page = page();
    if let Some((_, side)) = side_on(page, cpu)
        && side.task.load(Ordering::Relaxed) == task
    {
        page.cpus[cpu as usize].side.store(0, Ordering::Relaxed);
        add(&side.switched_out);
        side.running.store(0, Ordering::Release);
    }
}

extern "C" fn switched_in(cpu: c_uint, _info: MemoryInfo, task: u64, _data: *mut c_void) {
    let page = page();
    let Some(here) = page.cpus.get(cpu as usize) else {
        return;
    };
    here.task.store(task, Ordering::Relaxed);
    for (index, side) in page.sides[..SIDES].iter().enumerate() {
        if side.call.load(Ordering::Relaxed) == call::UNDER_WAY
            && side.task.load(Ordering::Relaxed) == task
        {
            here.side.store(index as u32 + 1, Ordering::Relaxed);
            side.running.store(1, Ordering::Release);
        }
    }
}

extern "C" fn interrupted(cpu: c_uint, _data: *mut c_void) {
    if let Some((_, side)) = side_on(page(), cpu) {
        let depth = side.interrupted.load(Ordering::Relaxed);
        side.interrupted.store(depth + 1, Ordering::Relaxed);
    }
}

extern "C" fn resumed(cpu: c_uint, _data: *mut c_void) {
    if let Some((_, side)) = side_on(page(), cpu) {
        let depth = side.interrupted.load(Ordering::Relaxed);
        side.interrupted
            .store(depth.saturating_sub(1), Ordering::Relaxed);
    }
}

extern "C" fn lock_entered(cpu: c_uint, data: *mut c_void) {
    if let Some((_, side)) = side_on(page(), cpu)
        && side.interrupted.load(Ordering::Relaxed) == 0
    {
        side.touched.store(0, Ordering::Relaxed);
        side.lock_function
            .store(data.addr() as u64, Ordering::Release);
    }
}

extern "C" fn lock_touched(cpu: c_uint, _info: MemoryInfo, memory: u64, _data: *mut c_void) {
    if let Some((_, side)) = side_on(page(), cpu)
        && side.interrupted.load(Ordering::Relaxed) == 0
    {
        let at = side.touched.load(Ordering::Relaxed);
        side.recent[at as usize % RECENT].store(memory, Ordering::Relaxed);
        side.touched.store(at + 1, Ordering::Release);
    }
}

extern "C" fn runs(cpu: c_uint, data: *mut c_void) {
    let page = page();
    if let Some((index, side)) = side_on(page, cpu)
        && side.interrupted.load(Ordering::Relaxed) == 0
    {
        let address = data.addr() as u64;
        stop_at(page, side, address, 0);
        tell(page, index, cpu, address, 0, event::RUN);
        side.last_run.store(address, Ordering::Release);
    }
}

extern "C" fn touched(cpu: c_uint, info: MemoryInfo, memory: u64, data: *mut c_void) {
    let page = page();
    if let Some((index, side)) = side_on(page, cpu)
        && side.interrupted.load(Ordering::Relaxed) == 0
    {
        let address = data.addr() as u64;
        // SAFETY: `info` is the one that QEMU gave.
        let (store, shift) = unsafe {
            (
                qemu_plugin_mem_is_store(info),
                qemu_plugin_mem_size_shift(info),
            )
        };
        let what = if store { event::STORE } else { event::LOAD };
        tell(page, index, cpu, address, memory, what | shift << 8);
        stop_at(page, side, address, 1);
    }
}

/// Adds an event to those of a side.
fn tell(page: &Page, side: usize, cpu: c_uint, address: u64, memory: u64, what: u32) {
    let count = page.sides[side].events.load(Ordering::Relaxed);
    if let Some(event) = page.events[side][..EVENTS].get(count as usize) {
        event.address.store(address, Ordering::Relaxed);
        event.memory.store(memory, Ordering::Relaxed);
        let order = page.order.fetch_add(1, Ordering::Relaxed) + 1;
        event.order.store(order, Ordering::Relaxed);
        event.what.store(what, Ordering::Relaxed);
        event.cpu.store(cpu, Ordering::Relaxed);
    }
    page.sides[side].events.store(count + 1, Ordering::Release);
}

/// Stops the side if this is where it is to be stopped: until the host lets it
/// go, or the limit is over.
fn stop_at(page: &Page, side: &Side, address: u64, after: u32) {
    let asked = &side.stop;
    if asked.state.load(Ordering::Acquire) != stop::ARMED
        || asked.address.load(Ordering::Relaxed) != address
        || asked.after.load(Ordering::Relaxed) != after
    {
        return;
    }
    add(&asked.passes);
    if asked.passes.load(Ordering::Relaxed) != asked.pass.load(Ordering::Relaxed) {
        return;
    }
    let deadline = now_ns().saturating_add(page.limit_ns.load(Ordering::Relaxed));
    asked.state.store(stop::STOPPED, Ordering::Release);
    while asked.state.load(Ordering::Acquire) == stop::STOPPED {
        if now_ns() > deadline {
            let _released_just_now = asked.state.compare_exchange(
                stop::STOPPED,
                stop::EXPIRED,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            return;
        }
        // SAFETY: the word and the time are valid for the call. Woken early or
        // not at all, the loop looks again.
        let _woken = unsafe {
            syscall(
                SYS_FUTEX,
                asked.state.as_ptr(),
                FUTEX_WAIT,
                stop::STOPPED,
                &raw const LOOK_EVERY,
                ptr::null::<u32>(),
                0,
            )
        };
    }
}

/// Adds one. A side runs on one virtual CPU at a time, its only writer.
fn add(counter: &core::sync::atomic::AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
