//! A machine looked at: what its sides ran and touched, where they stand, what
//! they wait for.

use std::sync::atomic::Ordering;

use super::{Machine, MachineError, layout};
use crate::decode::instructions::{Instruction, TaskSwitch, call_before, decode};
use crate::decode::symbols::Symbols;
use crate::interleave::arch::Arch;
use crate::interleave::memory::GuestMemory;
use crate::vm::instrument::page::{EVENTS, RECENT, event};

/// Bytes of a sleeper's stack that are looked through.
const STACK_BYTES: usize = 2048;
/// Return addresses that are kept of it.
const FRAMES: usize = 24;

/// One access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The address.
    pub memory: u64,
    /// Bytes.
    pub bytes: u32,
    /// Whether it was written.
    pub store: bool,
}

/// An instruction that a side ran, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its address.
    pub address: u64,
    /// Its place among what both sides ran.
    pub order: u64,
    /// The memory that it touched.
    pub touches: Vec<Touch>,
}

/// A side as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// One of [`call`].
    pub call: u32,
    /// Whether its task runs on a CPU.
    pub running: bool,
    /// Times that it was switched out.
    pub switched_out: u64,
    /// Blocks of the kernel that it ran.
    pub progress: u64,
    /// The last of them.
    pub block: u64,
    /// The last instruction of its functions that it ran.
    pub last_run: u64,
    /// The lock function that it entered last.
    pub lock_function: u64,
    /// Its task.
    pub task: u64,
}

impl Machine {
    /// A side at this moment.
    pub fn look(&self, side: usize) -> Look {
        let words = &self.ends.page.sides[side];
        Look {
            call: words.call.load(Ordering::Acquire),
            running: words.running.load(Ordering::Acquire) != 0,
            switched_out: words.switched_out.load(Ordering::Relaxed),
            progress: words.progress.load(Ordering::Relaxed),
            block: words.block.load(Ordering::Relaxed),
            last_run: words.last_run.load(Ordering::Relaxed),
            lock_function: words.lock_function.load(Ordering::Relaxed),
            task: words.task.load(Ordering::Relaxed),
        }
    }

    /// Words that the side touched in the lock function that it entered last,
    /// with what they hold now; the newest first, each once.
    pub fn lock_words(&self, side: usize) -> Vec<(u64, u64)> {
        let words = &self.ends.page.sides[side];
        let count = words.touched.load(Ordering::Acquire);
        let kept = count.min(RECENT as u64);
        let mut seen = Vec::new();
        for back in 1..=kept {
            let at = usize::try_from((count - back) % RECENT as u64).unwrap_or(0);
            let address = words.recent[at].load(Ordering::Relaxed);
            if seen.iter().any(|(known, _)| *known == address) {
                continue;
            }
            if let Ok(value) = self.memory.word(address) {
                seen.push((address, value));
            }
        }
        seen
    }

    /// Return addresses on the stack of a side that is switched out, innermost
    /// first: those words of it that follow a call.
    pub fn sleeper_stack(&self, side: usize) -> Vec<u64> {
        let task = self.look(side).task;
        let Ok(pointer) = self.memory.word(task) else {
            return Vec::new();
        };
        // Never across the end of the stack, whose size is a power of two.
        let room = usize::try_from(4096 - pointer % 4096).unwrap_or(4096);
        let mut bytes = vec![
            0;
            if room < STACK_BYTES {
                STACK_BYTES
            } else {
                room.min(STACK_BYTES)
            }
        ];
        if self.memory.read(pointer, &mut bytes).is_err() {
            bytes.truncate(room);
            if self.memory.read(pointer, &mut bytes).is_err() {
                return Vec::new();
            }
        }
        bytes
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
            .filter(|&word| self.follows_a_call(word))
            .take(FRAMES)
            .collect()
    }

    fn follows_a_call(&self, address: u64) -> bool {
        let mut before = [0; 8];
        address > self.image_from
            && self.memory.read(address - 8, &mut before).is_ok()
            && call_before(&before, address).is_some()
    }

    /// The pointer to a side's task, as locks hold it.
    pub fn task_pointer(&self, side: usize) -> u64 {
        self.look(side).task.wrapping_sub(self.switch.offset)
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The code of a function as it runs.
    pub fn code(&self, range: &std::ops::Range<u64>) -> Result<Vec<Instruction>, MachineError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.memory
            .read(range.start, &mut bytes)
            .map_err(MachineError::Memory)?;
        Ok(decode(&bytes, range.start))
    }

    /// What a side has run in this round.
    pub fn trace(&self, side: usize) -> Vec<Ran> {
        let page = &self.ends.page;
        let count = page.sides[side].events.load(Ordering::Acquire);
        let count = usize::try_from(count).unwrap_or(0).min(EVENTS);
        let mut all: Vec<Ran> = Vec::new();
        for told in &page.events[side][..count] {
            let address = told.address.load(Ordering::Relaxed);
            let what = told.what.load(Ordering::Relaxed);
            if what & 0xff == event::RUN {
                all.push(Ran {
                    address,
                    order: told.order.load(Ordering::Relaxed),
                    touches: Vec::new(),
                });
            } else if let Some(last) = all.last_mut().filter(|last| last.address == address) {
                last.touches.push(Touch {
                    memory: told.memory.load(Ordering::Relaxed),
                    bytes: 1 << (what >> 8 & 0xff),
                    store: what & 0xff == event::STORE,
                });
            }
        }
        all
    }

    /// The last block of the kernel that the side's CPU ran, whoever's.
    pub fn cpu_block(&self, side: usize) -> u64 {
        let page = &self.ends.page;
        let cpu = page.sides[side].cpu.load(Ordering::Relaxed) as usize;
        page.cpus
            .get(cpu)
            .map_or(0, |cpu| cpu.block.load(Ordering::Relaxed))
    }

    /// Of a kernel whose symbols became known by this machine: the code of the
    /// function that exchanges tasks.
    pub fn learn_switch(&self, arch: &Arch, symbols: &Symbols) -> Result<TaskSwitch, MachineError> {
        let memory = self.ends.memory.try_clone().map_err(MachineError::Memory)?;
        let memory = GuestMemory::new(memory, arch, layout::page_table(arch, symbols)?);
        let range = symbols
            .function(arch.switch, None)
            .ok_or_else(|| MachineError::NoSymbol(arch.switch.to_owned()))?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        memory
            .read(range.start, &mut bytes)
            .map_err(MachineError::Memory)?;
        layout::switch_in(arch, &bytes, range.start)
    }
}
