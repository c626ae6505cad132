//! From a CPU's registers and its stack to the calls that it is in. Pure but for
//! the words that it is given.
//!
//! A kernel with frame pointers links its frames: at `rbp` lies the caller's,
//! and above it the address to return to; interrupts leave `rbp` with its lowest
//! bit set where the interrupted registers lie (`ENCODE_FRAME_POINTER`,
//! arch/x86/include/asm/frame.h). Without them, what lies on the stack and in
//! text may be a call or left over.

use super::registers::Registers;

/// Bytes of a task's stack, at most (`THREAD_SIZE` with KASAN).
const STACK_BYTES: u64 = 32 * 1024;
/// Most frames that are told.
const MOST_FRAMES: usize = 16;
/// Most frames that are walked to get there: those of the interrupt that halted
/// the CPU come first.
const MOST_STEPS: usize = 64;
/// Where the kernel's text and its modules' can lie (`Documentation/x86/x86_64/mm.rst`).
const TEXT: std::ops::Range<u64> = 0xffff_ffff_8000_0000..0xffff_ffff_ff00_0000;
/// The kernel's half of the address space.
const KERNEL: u64 = 0xffff_8000_0000_0000;
/// `struct pt_regs`, in words (arch/x86/include/asm/ptrace.h).
const REGS_BP: usize = 4;
const REGS_IP: usize = 16;
const REGS_CS: usize = 17;
const REGS_SP: usize = 19;
/// `__KERNEL_CS`; the flags and the stack pointer come before `__KERNEL_DS`.
const KERNEL_CS: u64 = 0x10;

/// The calls that a CPU is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Addresses, the innermost first.
    pub(super) frames: Vec<u64>,
    /// It was in user space.
    pub(super) user: bool,
    /// False where the addresses only lie on the stack.
    pub(super) sure: bool,
}

/// Walks a stack. `read` gives words at an address, as far as there are any.
pub(super) fn walk(registers: &Registers, read: &mut dyn FnMut(u64) -> Vec<u64>) -> Walked {
    if registers.user {
        return Walked {
            user: true,
            sure: true,
            ..Walked::default()
        };
    }
    let linked = by_frames(registers, read);
    if linked.user || linked.frames.len() > 1 {
        return linked;
    }
    by_scan(registers, read)
}

/// Words that were read, and where.
struct Memory<'a> {
    read: &'a mut dyn FnMut(u64) -> Vec<u64>,
    windows: Vec<(u64, Vec<u64>)>,
}

impl Memory<'_> {
    /// The word of that number from an address on. The address may be any: it
    /// comes from a kernel that has crashed.
    fn from(&mut self, base: u64, index: usize) -> Option<u64> {
        self.word(base.wrapping_add(8 * index as u64))
    }

    /// A frame: where the caller's lies, and the address to return to.
    fn frame(&mut self, at: u64) -> Option<(u64, u64)> {
        let (outer, back) = (self.word(at)?, self.from(at, 1)?);
        TEXT.contains(&back).then_some((outer, back))
    }

    fn word(&mut self, at: u64) -> Option<u64> {
        for (start, words) in &self.windows {
            let index = at.checked_sub(*start).map(|distance| distance / 8);
            if let Some(word) = index.and_then(|index| words.get(usize::try_from(index).ok()?)) {
                return Some(*word);
            }
        }
        let words = (self.read)(at);
        let first = words.first().copied();
        self.windows.push((at, words));
        first
    }
}

fn by_frames(registers: &Registers, read: &mut dyn FnMut(u64) -> Vec<u64>) -> Walked {
    let mut memory = Memory {
        read,
        windows: Vec::new(),
    };
    let mut walked = Walked {
        frames: vec![registers.ip],
        user: false,
        sure: true,
    };
    let (mut bp, mut interrupted) = (registers.bp, false);
    for _ in 0..MOST_STEPS {
        if bp < KERNEL || walked.frames.len() >= MOST_FRAMES && interrupted {
            break;
        }
        if bp & 1 == 1 {
            let regs = bp & !1;
            let mut word = |index: usize| memory.from(regs, index);
            let (Some(cs), Some(ip), Some(outer)) = (word(REGS_CS), word(REGS_IP), word(REGS_BP))
            else {
                break;
            };
            if cs & 3 == 3 {
                // A system call leaves no such mark: it was there.
                walked.user = !interrupted;
                break;
            }
            // What it was at is what the first interrupt found.
            let top = word(REGS_SP).filter(|_| !interrupted);
            let caller = top.and_then(|sp| memory.word(sp));
            if !interrupted {
                walked.frames.clear();
            }
            interrupted = true;
            walked.frames.push(ip);
            // A function that has just begun has no frame yet: its caller's
            // address lies on top of the stack, and not in the caller's frame.
            let back = memory.from(outer, 1);
            walked
                .frames
                .extend(caller.filter(|at| TEXT.contains(at) && Some(*at) != back));
            bp = outer;
            continue;
        }
        let Some((outer, back)) = memory.frame(bp) else {
            break;
        };
        walked.frames.push(back);
        bp = outer;
    }
    walked.frames.truncate(MOST_FRAMES);
    if walked.user {
        walked.frames.clear();
    }
    walked
}

/// Fewest frames from a sleeping task to its system call.
const LEAST_FRAMES: usize = 4;
/// Most waiters of a lock that are told.
const MOST_WAITERS: usize = 4;
/// Words in which a lock's list of waiters is looked for, and a waiter's frame.
const LOCK_WORDS: u64 = 24;
const WAITER_WORDS: u64 = 64;

/// The calls of those who sleep on a mutex. Its waiters lie on their own stacks,
/// in a list that begins in the mutex (`struct mutex_waiter`,
/// kernel/locking/mutex.h); the list is known by its links.
pub(super) fn waiters(lock: u64, read: &mut dyn FnMut(u64) -> Vec<u64>) -> Vec<Walked> {
    let mut memory = Memory {
        read,
        windows: Vec::new(),
    };
    let head = (1..LOCK_WORDS)
        .map(|index| lock.wrapping_add(8 * index))
        // Of an empty list both links lead to itself: what lies behind it is
        // another one.
        .find(|&head| {
            let next = memory.word(head).filter(|&next| next >= KERNEL);
            next.is_some_and(|next| memory.from(next, 1) == Some(head))
        });
    let Some(head) = head else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut next = memory.word(head).unwrap_or(head);
    while next != head && next >= KERNEL && found.len() < MOST_WAITERS {
        if let Some(walked) = from_waiter(next, &mut memory) {
            found.push(walked);
        }
        let Some(following) = memory.word(next) else {
            break;
        };
        next = following;
    }
    found
}

/// The calls of the task on whose stack a waiter lies: by the first frame above
/// it from which others follow. What only looks like a frame leads nowhere.
fn from_waiter(waiter: u64, memory: &mut Memory<'_>) -> Option<Walked> {
    let frames = (2..WAITER_WORDS)
        .map(|index| chain(waiter.wrapping_add(8 * index), memory))
        .find(|frames| frames.len() >= LEAST_FRAMES)?;
    Some(Walked {
        frames,
        user: false,
        sure: true,
    })
}

/// The return addresses of the frames from one on, each further up one stack.
fn chain(first: u64, memory: &mut Memory<'_>) -> Vec<u64> {
    let (mut bp, mut frames) = (first, Vec::new());
    while frames.len() < MOST_FRAMES {
        let Some((outer, back)) = memory.frame(bp) else {
            break;
        };
        frames.push(back);
        if outer <= bp || outer - bp > STACK_BYTES {
            break;
        }
        bp = outer;
    }
    frames
}

/// What lies on the stack and in text, from the interrupted context on where the
/// stack shows one.
fn by_scan(registers: &Registers, read: &mut dyn FnMut(u64) -> Vec<u64>) -> Walked {
    let words = read(registers.sp);
    let is_context = |at: &usize| {
        let context = words.get(*at..*at + 4);
        context.is_some_and(|context| TEXT.contains(&context[0]) && context[1] == KERNEL_CS)
    };
    let context = (0..words.len()).find(is_context);
    let (first, from) = match context {
        Some(at) => (words[at], at + 4),
        None => (registers.ip, 0),
    };
    let on_stack = words[from.min(words.len())..].iter().copied();
    let mut frames = vec![first];
    frames.extend(on_stack.filter(|word| TEXT.contains(word)));
    frames.truncate(MOST_FRAMES);
    Walked {
        frames,
        user: false,
        sure: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: u64 = 0xffff_c900_0000_0000;
    const HALTED: u64 = 0xffff_ffff_8102_d4c5;
    const INTERRUPT: u64 = 0xffff_ffff_8160_0000;
    const LOCK: u64 = 0xffff_ffff_8106_0010;
    const FREE_MODULE: u64 = 0xffff_ffff_8108_0020;

    /// A stack of these words at [`STACK`].
    fn walked(bp: u64, words: &[u64]) -> Walked {
        let registers = Registers {
            ip: HALTED,
            sp: STACK,
            bp,
            user: false,
        };
        walk(&registers, &mut |at| of(words, at))
    }

    /// The words from an address on, of a memory that begins at [`STACK`].
    fn of(words: &[u64], at: u64) -> Vec<u64> {
        let index = at.checked_sub(STACK).map(|distance| distance / 8);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let rest = index.and_then(|index| words.get(index..));
        rest.unwrap_or_default().to_vec()
    }

    fn regs(ip: u64, cs: u64, bp: u64) -> Vec<u64> {
        let mut regs = vec![0; 21];
        regs[REGS_IP] = ip;
        regs[REGS_CS] = cs;
        regs[REGS_BP] = bp;
        regs
    }

    #[test]
    fn what_the_halting_interrupt_found_is_what_the_cpu_was_at() {
        // The interrupt's frame, the registers that it found, the frame of them.
        let mut words = vec![(STACK + 16) | 1, INTERRUPT];
        words.extend(regs(LOCK, KERNEL_CS, STACK + 8 * 23));
        words.extend([0, FREE_MODULE]);
        let walked = walked(STACK, &words);
        assert_eq!(walked.frames, [LOCK, FREE_MODULE]);
        assert!(walked.sure && !walked.user);
    }

    #[test]
    fn a_cpu_that_was_interrupted_in_user_space_was_there() {
        let mut words = vec![(STACK + 16) | 1, INTERRUPT];
        words.extend(regs(0x40_1000, 0x33, 0));
        let walked = walked(STACK, &words);
        assert!(walked.user && walked.frames.is_empty());
    }

    #[test]
    fn without_frame_pointers_what_lies_on_the_stack_is_told_as_unsure() {
        let words = [
            7,
            INTERRUPT,
            0,
            LOCK,
            KERNEL_CS,
            0x246,
            STACK,
            0x18,
            FREE_MODULE,
            3,
        ];
        let on_stack = walked(0x1234, &words);
        assert_eq!(on_stack.frames, [LOCK, FREE_MODULE]);
        assert!(!on_stack.sure);
        assert_eq!(walked(5, &[]).frames, [HALTED]);
    }

    #[test]
    fn who_sleeps_on_a_lock_is_found_by_the_locks_own_list() {
        let head = STACK + 8 * 2;
        let waiter = STACK + 8 * 6;
        let frame = |index: u64| STACK + 8 * index;
        // A lock whose list has one waiter, and what lies above that: a pair that
        // looks like a frame, and four frames.
        let mut words = vec![1, 0, waiter, waiter, 0, 0, head, head, 0, 0];
        words.extend([frame(30), 0xffff_ffff_a000_2040]);
        words.extend([frame(14), LOCK, frame(16), FREE_MODULE]);
        words.extend([frame(18), FREE_MODULE + 1, 0, FREE_MODULE + 2]);
        let mut read = |at: u64| of(&words, at);
        let found = waiters(STACK, &mut read);
        assert_eq!(found.len(), 1);
        let last = [FREE_MODULE, FREE_MODULE + 1, FREE_MODULE + 2];
        assert!(found[0].frames.ends_with(&last), "{found:x?}");
        let empty = [0, 0, head, head];
        let none = waiters(STACK, &mut |at| of(&empty, at));
        assert_eq!(none, []);
    }

    #[test]
    fn the_list_behind_a_lock_without_waiters_is_not_the_locks() {
        let word = |index: u64| STACK + 8 * index;
        // The lock's own empty list, another list, its one entry, four frames.
        let mut words = vec![1, 0, word(2), word(2), word(8), word(8), 0, 0];
        words.extend([word(4), word(4), 0, 0]);
        words.extend([word(14), LOCK, word(16), FREE_MODULE]);
        words.extend([word(18), FREE_MODULE + 1, 0, FREE_MODULE + 2]);
        assert_eq!(waiters(STACK, &mut |at| of(&words, at)), []);
    }

    #[test]
    fn a_chain_that_leads_in_a_circle_ends() {
        let words = [STACK, FREE_MODULE];
        assert!(walked(STACK, &words).frames.len() <= MOST_FRAMES);
        // An address at the end of all.
        assert_eq!(walked(u64::MAX - 6, &[]).frames, [HALTED]);
    }
}
