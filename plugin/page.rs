//! The page that the plugin and the host share: what is asked of the plugin,
//! and what it tells. Compiled into both, so that there is one layout.
//!
//! Every word is an atomic in native byte order. Who writes a word is said at
//! each: the host before QEMU starts, the host on the way, or the plugin.

#![allow(dead_code, reason = "each side uses its own part of it")]

use core::sync::atomic::{AtomicU32, AtomicU64};

/// `modrace`, `p`, and the layout's version.
pub const MAGIC: u64 = 0x6d6f_6472_6163_7002;
/// Calls that are told apart at one time.
pub const SIDES: usize = 2;
/// Addresses at which a side's call may begin.
pub const BEGINS: usize = 4;
/// Virtual CPUs.
pub const CPUS: usize = 64;
/// Ranges of addresses that are watched.
pub const RANGES: usize = 1 << 17;
/// Addresses kept of those that a side touched in its last lock function.
pub const RECENT: usize = 64;
/// Events kept of a side's call.
pub const EVENTS: usize = 1 << 19;
/// Bytes of the file that holds the page.
pub const PAGE_BYTES: usize = 40 << 20;

/// What is done in a range of addresses; bits of [`Range::kind`].
pub mod kind {
    /// Each instruction that runs is an event, and a side can be stopped
    /// before it.
    pub const RUN: u64 = 1;
    /// Each access to memory is an event, and a side can be stopped after it.
    pub const TOUCH: u64 = 2;
    /// A lock function: what it touches is kept in [`super::Side::recent`].
    pub const LOCK: u64 = 4;
    /// The range's first instruction enters a lock function anew.
    pub const ENTRY: u64 = 8;
    /// The range's first instruction begins an interrupt or exception.
    pub const INTERRUPT: u64 = 16;
    /// The range's first instruction returns from one to the kernel.
    pub const RESUME: u64 = 32;
}

/// Where a stop is; values of [`Stop::state`].
pub mod stop {
    /// None is asked for.
    pub const IDLE: u32 = 0;
    /// Written by the host: stop when the point is reached.
    pub const ARMED: u32 = 1;
    /// Written by the plugin: the side's virtual CPU stands at the point.
    pub const STOPPED: u32 = 2;
    /// Written by the host: go on.
    pub const RELEASED: u32 = 3;
    /// Written by the plugin: it stood for the limit's time and went on.
    pub const EXPIRED: u32 = 4;
}

/// Whether a side's call is under way; values of [`Side::call`].
pub mod call {
    /// Nothing is expected.
    pub const NONE: u32 = 0;
    /// Written by the host: the next call that begins is the side's.
    pub const EXPECTED: u32 = 1;
    /// Written by the plugin: it began.
    pub const UNDER_WAY: u32 = 2;
    /// Written by the plugin: its task is back in user space.
    pub const ENDED: u32 = 3;
}

/// What an event is; values of [`Event::what`], its low byte.
pub mod event {
    /// An instruction is about to run.
    pub const RUN: u32 = 0;
    /// Memory was read.
    pub const LOAD: u32 = 1;
    /// Memory was written.
    pub const STORE: u32 = 2;
}

/// Addresses from `first` up to, not including, `end`. Written by the host
/// before QEMU starts, sorted, not overlapping.
#[repr(C)]
#[cfg_attr(not(plugin), derive(Debug, zerocopy::FromBytes))]
pub struct Range {
    /// The first address.
    pub first: AtomicU64,
    /// The first address after it.
    pub end: AtomicU64,
    /// Bits of [`kind`].
    pub kind: AtomicU64,
}

/// Where a side is to be stopped.
#[repr(C)]
#[cfg_attr(not(plugin), derive(Debug, zerocopy::FromBytes))]
pub struct Stop {
    /// One of [`stop`].
    pub state: AtomicU32,
    /// 0: before the instruction; 1: right after its access to memory.
    pub after: AtomicU32,
    /// The instruction's address.
    pub address: AtomicU64,
    /// Which time of those that the call runs it, from 1.
    pub pass: AtomicU64,
    /// Written by the plugin: how many times the call ran it.
    pub passes: AtomicU64,
}

/// Something that a side's call did.
#[repr(C)]
#[cfg_attr(not(plugin), derive(Debug, zerocopy::FromBytes))]
pub struct Event {
    /// The instruction's address.
    pub address: AtomicU64,
    /// The address of the memory; 0 for an instruction that is about to run.
    pub memory: AtomicU64,
    /// Its place among the events of all sides, from 1.
    pub order: AtomicU64,
    /// Low byte: one of [`event`]; next byte: log2 of the bytes touched.
    pub what: AtomicU32,
    /// The virtual CPU.
    pub cpu: AtomicU32,
}

/// A side: one call of one task on one virtual CPU.
#[repr(C)]
#[cfg_attr(not(plugin), derive(Debug, zerocopy::FromBytes))]
pub struct Side {
    /// Where its call begins; 0: unused. Written by the host before QEMU
    /// starts.
    pub begins: [AtomicU64; BEGINS],
    /// The virtual CPU on which it begins. Written by the host on the way.
    pub cpu: AtomicU32,
    /// One of [`call`].
    pub call: AtomicU32,
    /// 1 while its task runs on a virtual CPU, 0 while it is switched out.
    pub running: AtomicU32,
    /// Depth of interrupts and exceptions that its task stands under.
    pub interrupted: AtomicU32,
    /// Its task: the address where the switch of tasks keeps its stack
    /// pointer.
    pub task: AtomicU64,
    /// Times that it was switched out.
    pub switched_out: AtomicU64,
    /// Translated blocks of the kernel that its task ran.
    pub progress: AtomicU64,
    /// The last of them.
    pub block: AtomicU64,
    /// The last instruction that ran in a range of [`kind::RUN`].
    pub last_run: AtomicU64,
    /// The lock function entered last; 0: none yet.
    pub lock_function: AtomicU64,
    /// Addresses touched in lock functions since then.
    pub touched: AtomicU64,
    /// The last of them, the newest at (`touched` - 1) modulo their number.
    pub recent: [AtomicU64; RECENT],
    /// Events of its call; those above [`EVENTS`] were dropped.
    pub events: AtomicU64,
    /// Where it is to be stopped.
    pub stop: Stop,
}

/// What is known of a virtual CPU. Written by the plugin.
#[repr(C)]
#[cfg_attr(not(plugin), derive(Debug, zerocopy::FromBytes))]
pub struct Cpu {
    /// The task that runs on it, named as in [`Side::task`].
    pub task: AtomicU64,
    /// 1 + the side whose call it runs; 0: none.
    pub side: AtomicU32,
    /// Room.
    pub reserved: AtomicU32,
    /// The last block of the kernel that it ran, whoever's.
    pub block: AtomicU64,
}

/// The page.
#[repr(C, align(4096))]
#[cfg_attr(not(plugin), derive(Debug, zerocopy::FromBytes))]
pub struct Page {
    /// [`MAGIC`]. Written by the host before QEMU starts.
    pub magic: AtomicU64,
    /// 1 once the plugin has taken the page.
    pub taken: AtomicU64,
    /// Longest time that a side is stopped, ns. Written by the host.
    pub limit_ns: AtomicU64,
    /// The instruction that stores the stack pointer of the task that is
    /// switched out. Written by the host before QEMU starts.
    pub switch_out: AtomicU64,
    /// The one that loads that of the task that is switched in.
    pub switch_in: AtomicU64,
    /// The lowest address of the kernel.
    pub kernel_from: AtomicU64,
    /// Events of all sides.
    pub order: AtomicU64,
    /// Ranges in use.
    pub ranges_used: AtomicU64,
    /// What is watched.
    pub ranges: [Range; RANGES],
    /// The virtual CPUs.
    pub cpus: [Cpu; CPUS],
    /// The sides.
    pub sides: [Side; SIDES],
    /// The events of each side.
    pub events: [[Event; EVENTS]; SIDES],
}

const _: () = assert!(size_of::<Page>() <= PAGE_BYTES);
