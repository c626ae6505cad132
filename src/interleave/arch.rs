//! What the instrument must know of an architecture: names of functions, where
//! the kernel lies, and how its page tables read. Nothing else of the
//! interleavings is of one architecture.

use std::ops::Range;

/// How a side can be kept from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    /// For a lock whose memory names the task that holds it.
    Lock,
    /// For every CPU to answer, or to end what it does: interprocessor calls,
    /// RCU grace periods, `stop_machine()`.
    EveryCpu,
}

/// Functions in which a call waits.
#[derive(Debug)]
pub struct Waiting {
    /// The start of their names.
    pub prefix: &'static str,
    /// For what.
    pub kind: WaitKind,
    /// It is where such a wait begins: what was touched before is of another.
    pub entry: bool,
}

/// An architecture.
#[derive(Debug)]
pub struct Arch {
    /// As `uname -m` names it.
    pub name: &'static str,
    /// The lowest address of the kernel.
    pub kernel_from: u64,
    /// Virtual less physical address of the kernel's image, where it was not
    /// moved.
    pub image_offset: u64,
    /// The kernel's own top page table.
    pub page_table: &'static [&'static str],
    /// The function that exchanges two tasks' stacks.
    pub switch: &'static str,
    /// Functions that wait.
    pub waiting: &'static [Waiting],
    /// Functions that turn in a loop until a lock is free that names no owner:
    /// the start of their names.
    pub spins: &'static [&'static str],
    /// Functions that take a lock, or try to: the start of their names.
    pub takes_lock: &'static [&'static str],
    /// Before the name of a system call, the names that its function has had.
    pub system_call: &'static [&'static str],
    /// Where modules lie.
    pub modules: Range<u64>,
    /// Where interrupts and exceptions begin: the start of the names, of which a
    /// kernel has those of one group.
    pub interrupts: &'static [&'static [&'static str]],
    /// Where one returns to the kernel.
    pub resumes: &'static [&'static str],
    /// Bytes of the longest instruction.
    pub longest_instruction: usize,
}

const fn lock(prefix: &'static str) -> Waiting {
    Waiting {
        prefix,
        kind: WaitKind::Lock,
        entry: false,
    }
}

const fn lock_entry(prefix: &'static str) -> Waiting {
    Waiting {
        prefix,
        kind: WaitKind::Lock,
        entry: true,
    }
}

const fn every_cpu(prefix: &'static str) -> Waiting {
    Waiting {
        prefix,
        kind: WaitKind::EveryCpu,
        entry: false,
    }
}

/// x86-64 (`Documentation/x86/x86_64/mm.rst`).
pub const X86_64: Arch = Arch {
    name: "x86_64",
    kernel_from: 0xffff_8000_0000_0000,
    image_offset: 0xffff_ffff_8000_0000,
    page_table: &["init_top_pgt", "init_level4_pgt", "swapper_pg_dir"],
    switch: "__switch_to_asm",
    waiting: &[
        // kernel/locking/mutex.c. Not mutex_trylock: it never waits.
        lock_entry("mutex_lock"),
        lock("__mutex_lock"),
        lock("mutex_spin_on_owner"),
        lock("osq_lock"),
        // kernel/locking/rwsem.c and semaphore.c
        lock_entry("down_read"),
        lock_entry("down_write"),
        lock("rwsem_down_"),
        lock("rwsem_optimistic_spin"),
        lock("rwsem_spin_on_owner"),
        lock_entry("rt_mutex_lock"),
        lock("__rt_mutex_"),
        lock("rt_mutex_slowlock"),
        every_cpu("synchronize_rcu"),
        every_cpu("synchronize_sched"),
        every_cpu("__wait_rcu_gp"),
        every_cpu("rcu_barrier"),
        every_cpu("stop_machine"),
        every_cpu("stop_cpus"),
        every_cpu("multi_cpu_stop"),
        every_cpu("smp_call_function"),
        every_cpu("text_poke"),
        every_cpu("on_each_cpu"),
    ],
    spins: &[
        "queued_spin_lock_slowpath",
        "native_queued_spin_lock_slowpath",
        "queued_read_lock_slowpath",
        "queued_write_lock_slowpath",
    ],
    takes_lock: &[
        "mutex_lock",
        "mutex_trylock",
        "down_",
        "_raw_spin_lock",
        "_raw_spin_trylock",
        "_raw_read_lock",
        "_raw_write_lock",
        "rt_mutex_lock",
        "rt_mutex_trylock",
        "__rcu_read_lock",
        "__srcu_read_lock",
    ],
    system_call: &["__x64_sys_", "__se_sys_", "SyS_", "sys_"],
    modules: 0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000,
    // arch/x86/entry/entry_64.S, since 5.8 and before.
    interrupts: &[
        &[
            "asm_sysvec_",
            "asm_common_interrupt",
            "asm_spurious_interrupt",
            "asm_exc_",
        ],
        &[
            "apic_timer_interrupt",
            "common_interrupt",
            "reschedule_interrupt",
            "call_function_interrupt",
            "call_function_single_interrupt",
            "page_fault",
        ],
    ],
    resumes: &["restore_regs_and_return_to_kernel", "restore_regs_and_iret"],
    longest_instruction: 15,
};
