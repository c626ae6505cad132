//! The table of signatures: one row per kind of report. The first row that
//! matches a line names it, so a special row stands before the general one.
//! Titles follow the names under which the kernel's developers discuss such
//! reports. How a row is matched is not decided here.

use super::signature::{FrameSelector as F, Signature};
use crate::model::CrashKind as K;

/// Shorthand for a row.
const fn row(name: &'static str, kind: K, marker: &'static str, title: &'static str) -> Signature {
    Signature::new(name, kind, marker, title)
}

/// An access by KASAN's words.
const ACCESS: &str = r"\b(Read|Write) (?:of size|at addr) [0-9a-f]+";

/// Who frees memory is found behind the functions that do it.
const FREEING: &[&str] = &["slab_*", "kfree*", "vunmap*", "vfree*"];

/// RCU's own functions, and the allocator that uses it.
const RCU_USERS: &[&str] = &["rcu_*", "call_rcu*", "kmem_*", "slab_*", "lockdep_rcu_*"];

/// Who leaked memory is found behind the functions that allocate it.
const ALLOCATING: &[&str] = &[
    "kmemleak_*",
    "mmap_*",
    "slab_*",
    "create_object",
    "idr_get*",
    "idr_alloc*",
    "list_lru_init*",
    "pcpu_create*",
    "pcpu_alloc*",
    "alloc_percpu*",
    "alloc_pages*",
    "alloc_inode",
    "new_inode*",
    "alloc_skb*",
    "sk_alloc",
    "sk_prot_alloc",
    "devm_k*",
];

/// What SLUB says in its reports (mm/slub.c; since 2.6.22).
const SLUB_REASONS: &str = r"^BUG (?:\S.* \((?:Not tainted|Tainted: [^)]*|[A-Z ]*)\)|[\w:.@/-]+(?:\([^)]*\))?): ((?:Objects? (?:remaining|already free|padding)|Poison|(?:Left |Right )?Redzone|(?:Alignment )?[Pp]adding|Free(?:chain|pointer|list) |Invalid object|Invalid slab|Not a valid slab|Wrong (?:object|slab|number)|Attempt to free|Slab ).*)";

/// SLUB's own functions, and those that call it.
const SLUB: &[&str] = &[
    "slab_*",
    "object_err",
    "print_trailer",
    "check_bytes*",
    "check_object",
    "check_slab",
    "free_debug_processing",
    "alloc_debug_processing",
    "kmem_cache_*",
    "list_slab_objects",
    "shutdown_cache",
    "init_object",
    "on_freelist",
    "free_to_partial_list",
];

/// The timer interrupt that finds a stall, and what prints it.
const TICK: &[&str] = &[
    "*apic_timer_interrupt",
    "*timer_interrupt",
    "rcu_*",
    "rcu",
    "print_cpu_stall",
    "print_other_cpu_stall",
    "check_cpu_stall",
    "nmi_cpu_backtrace*",
    "nmi_trigger_*",
    "arch_trigger_*",
    "sched_show_task",
    "dump_cpu_task",
    "update_process_times",
    "tick_*",
    "hrtimer_*",
    "run_hrtimer*",
    "handle_percpu_*",
    "handle_irq_*",
    "generic_handle_*",
    "handle_domain_irq",
    "gic_handle_irq",
    "arch_timer_handler_*",
    "plat_irq_dispatch",
    "do_IRQ",
    "handle_int",
    "irq_svc",
    "el1_irq",
];

/// The layers between a USB driver and the host controller.
const USB_SUBMIT: &[&str] = &[
    "usb_submit_urb",
    "usb_start_wait_urb",
    "usb_bulk_msg",
    "usb_interrupt_msg",
    "usb_control_msg",
];

/// An address that the kernel may have failed at, as a pattern: its own half,
/// or near NULL. Any other one is user space's, whose fault it is.
macro_rules! kernel_address {
    () => {
        r"(?:\[<)?(?:0x)?(?:0*[0-9a-f]{1,3}|[7-9a-f][0-9a-f]{7}|[89a-f][0-9a-f]{15})(?:[^0-9a-f]|$)"
    };
}

/// Every signature.
pub const SIGNATURES: &[Signature] = &[
    // KASAN, KMSAN, KCSAN, KFENCE
    row("kasan_free", K::Kasan, "BUG: KASAN: ", "KASAN: invalid-free in {function}")
        .anywhere()
        .pattern(r"^BUG: KASAN: (?:double-free or invalid-free|double-free|invalid-free) in ")
        .select(F::HeaderThenTrace)
        .skip(FREEING),
    row("kasan_address", K::Kasan, "BUG: KASAN: ", "KASAN: {1} {w1}")
        .anywhere()
        .pattern(r"^BUG: KASAN: ([a-z-]+) on address")
        .within(ACCESS),
    row("kasan", K::Kasan, "BUG: KASAN: ", "KASAN: {1} {w1} in {function}")
        .anywhere()
        .pattern(r"^BUG: KASAN: ([a-z-]+) in ")
        .within(ACCESS)
        .select(F::HeaderThenTrace)
        .skip(&["do_kernel_fault", "do_tag_check_fault", "do_mem_abort", "el1_*", "el1h_*"]),
    row("kasan_cut", K::Kasan, "BUG: KASAN: ", "KASAN: {rest}").anywhere().cut(),
    row("kmsan_usb", K::Kmsan, "BUG: KMSAN: kernel-usb-infoleak", "KMSAN: kernel-usb-infoleak in {function}")
        .anywhere()
        .select(F::Following)
        .skip(&["alloc_skb*", "usb_submit_urb", "usb_start_wait_urb", "usb_bulk_msg", "usb_interrupt_msg", "usb_control_msg"]),
    row("kmsan", K::Kmsan, "BUG: KMSAN: ", "KMSAN: {1} in {function}")
        .anywhere()
        .pattern(r"^BUG: KMSAN: ([a-z-]+) in ")
        .select(F::Following)
        .skip(&["alloc_skb*", "netlink_ack", "netlink_rcv_skb", "*_encrypt", "crypto_*", "cipher_*", "drbg_*", "rng_*"]),
    row("kcsan", K::Kcsan, "BUG: KCSAN: ", "KCSAN: {rest}").anywhere().warning(),
    row("kfence_access", K::Kfence, "BUG: KFENCE: ", "KFENCE: {1} {2} in {function}")
        .anywhere()
        .pattern(r"^BUG: KFENCE: (use-after-free|out-of-bounds) (read|write) in ")
        .select(F::HeaderThenTrace),
    row("kfence", K::Kfence, "BUG: KFENCE: ", "KFENCE: {1} in {function}")
        .anywhere()
        .pattern(r"^BUG: KFENCE: (invalid free|invalid read|invalid write|memory corruption) in ")
        .select(F::HeaderThenTrace),
    // Faults, as x86 and powerpc say them
    row("null_dereference", K::NullDereference, "BUG: ", "BUG: unable to handle kernel NULL pointer dereference in {function}")
        .anywhere()
        .pattern(r"^BUG: (?:unable to handle )?[Kk]ernel NULL pointer dereference")
        .select(F::PcThenTrace)
        .fatal(),
    row("page_fault", K::PageFault, "BUG: ", "BUG: unable to handle kernel paging request in {function}")
        .anywhere()
        .pattern(r"^BUG: (?:unable to handle kernel paging request|unable to handle page fault for address|Unable to handle (?:kernel (?:data access|instruction fetch|unaligned access)|unknown paging fault))")
        .select(F::PcThenTrace)
        .fatal(),
    row("fault_cut", K::PageFault, "BUG: ", "BUG: unable to handle kernel")
        .pattern(r"^BUG: [Uu]nable to handle kernel")
        .fatal()
        .cut(),
    // Locks
    row("spinlock", K::Locking, "BUG: ", "BUG: {1} {2} in {function}")
        .anywhere()
        .pattern(r"^BUG: (spinlock|rwlock) (lockup suspected|already unlocked|recursion|cpu recursion|bad magic|wrong owner|wrong CPU|trylock failure on UP)")
        .select(F::Trace)
        .skip(&["spin_*", "do_raw_*", "*_lock", "*_unlock"]),
    row("soft_lockup", K::Lockup, "BUG: soft lockup", "BUG: soft lockup in {function}")
        .anywhere()
        .select(F::Stuck),
    row("hard_lockup", K::Lockup, "Watchdog detected hard LOCKUP", "hard LOCKUP in {function}")
        .anywhere()
        .select(F::Stuck)
        .fatal()
        .continues(),
    row("hard_lockup_powerpc", K::Lockup, "ard LOCKUP", "hard LOCKUP in {function}")
        .within_line()
        .pattern(r"^(?:Watchdog )?CPU[ :]\d+ (?:self-detected |detected )?[Hh]ard LOCKUP")
        .select(F::Stuck)
        .fatal(),
    row("hard_lockup_warning", K::Lockup, "WARNING: ", "hard LOCKUP in {function}")
        .pattern(r"^WARNING: .*kernel/(?:watchdog|watchdog_hld)\.c:\d+ \.?watchdog_overflow_callback")
        .select(F::Stuck)
        .fatal(),
    row("bug_locks_held", K::Locking, "BUG: ", "BUG: still has locks held in {function}")
        .pattern(r"^BUG: .*still has locks held!")
        .select(F::LockSite("still has locks held!")),
    row("warning_locks_held", K::Locking, "WARNING: ", "WARNING: still has locks held in {function}")
        .pattern(r"^WARNING: .*still has locks held!")
        .select(F::LockSite("still has locks held!")),
    row("bug_lock_to_user", K::Locking, "BUG: lock held when returning to user space", "BUG: lock held when returning to user space in {function}")
        .anywhere()
        .select(F::LockSite("locks still held")),
    row("warning_lock_to_user", K::Locking, "WARNING: lock held when returning to user space", "WARNING: lock held when returning to user space in {function}")
        .anywhere()
        .select(F::LockSite("locks still held")),
    row("bug_unlock_balance", K::Locking, "BUG: bad unlock balance detected", "BUG: bad unlock balance in {function}")
        .anywhere()
        .select(F::ReleaseSite),
    row("warning_unlock_balance", K::Locking, "WARNING: bad unlock balance detected", "WARNING: bad unlock balance in {function}")
        .anywhere()
        .select(F::ReleaseSite),
    row("bug_held_lock_freed", K::Locking, "BUG: held lock freed!", "BUG: held lock freed in {function}")
        .anywhere()
        .select(F::LockSite("held lock freed!")),
    row("warning_held_lock_freed", K::Locking, "WARNING: held lock freed!", "WARNING: held lock freed in {function}")
        .anywhere()
        .select(F::LockSite("held lock freed!")),
    row("invalid_wait_context", K::Locking, "BUG: Invalid wait context", "WARNING: locking bug in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(&["lock_sock", "release_sock"]),
    row("warning_circular_locking", K::Locking, "WARNING: possible circular locking dependency detected", "possible deadlock in {function}")
        .anywhere()
        .select(F::TwoLockSites)
        .skip(&["process_one_work", "flush_workqueue", "drain_workqueue", "destroy_workqueue"]),
    row("info_circular_locking", K::Locking, "INFO: possible circular locking dependency detected", "possible deadlock in {function}")
        .anywhere()
        .select(F::LockSite("is trying to acquire lock")),
    row("irq_lock_inversion", K::Locking, "WARNING: possible irq lock inversion dependency detected", "possible deadlock in {function}")
        .anywhere()
        .select(F::LockSite("just changed the state of lock")),
    row("info_irq_lock_inversion", K::Locking, "INFO: possible irq lock inversion dependency detected", "possible deadlock in {function}")
        .anywhere()
        .select(F::LockSite("just changed the state of lock")),
    row("unsafe_lock_order", K::Locking, "WARNING: ", "possible deadlock in {function}")
        .pattern(r"^WARNING: .*-safe -> .*-unsafe lock order detected")
        .select(F::TraceAfter("which became ")),
    row("info_unsafe_lock_order", K::Locking, "INFO: SOFTIRQ-safe -> ", "possible deadlock in {function}")
        .pattern(r"^INFO: .*-safe -> .*-unsafe lock order detected")
        .select(F::LockSite("is trying to acquire")),
    row("recursive_locking", K::Locking, "WARNING: possible recursive locking detected", "possible deadlock in {function}")
        .anywhere()
        .select(F::LockSite("is trying to acquire lock")),
    row("info_recursive_locking", K::Locking, "INFO: possible recursive locking detected", "possible deadlock in {function}")
        .anywhere()
        .select(F::LockSite("is trying to acquire lock")),
    row("inconsistent_lock", K::Locking, "WARNING: inconsistent lock state", "inconsistent lock state in {function}")
        .anywhere()
        .skip(&["lock_sock", "release_sock"])
        .select(F::Trace),
    row("info_inconsistent_lock", K::Locking, "INFO: inconsistent lock state", "inconsistent lock state in {function}")
        .anywhere()
        .select(F::LockSite(" takes")),
    row("nested_lock", K::Locking, "WARNING: Nested lock was not taken", "WARNING: nested lock was not taken in {function}")
        .anywhere()
        .select(F::Warn),
    row("non_static_key", K::Locking, "INFO: trying to register non-static key", "INFO: trying to register non-static key in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(&["*_lock", "*_lock_irq*", "lock_*", "assign_lock_key"]),
    // Context
    row("scheduling_while_atomic", K::AtomicSleep, "BUG: scheduling while atomic", "BUG: scheduling while atomic in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(&["schedule*", "preempt_schedule*", "io_schedule*"]),
    row("invalid_context", K::AtomicSleep, "BUG: sleeping function called from invalid context", "BUG: sleeping function called from invalid context in {function}")
        .anywhere()
        .select(F::Trace),
    row("preemptible", K::AtomicSleep, "BUG: using ", "BUG: using {1}() in preemptible code in {function}")
        .pattern(r"^BUG: using ([a-z_]+)\(\) in preemptible")
        .select(F::Trace)
        .skip(&["check_preemption_disabled", "debug_smp_processor_id", "this_cpu_*"]),
    // Memory
    row("rss_counter", K::BadMemory, "BUG: Bad rss-counter state", "BUG: Bad rss-counter state"),
    row("page_tables", K::BadMemory, "BUG: non-zero ", "BUG: non-zero {1} on freeing mm")
        .pattern(r"^BUG: non-zero (nr_ptes|nr_pmds) on freeing mm"),
    row("dentry", K::BadMemory, "BUG: Dentry ", "BUG: Dentry still in use in {1}")
        .pattern(r"^BUG: Dentry .* still in use \([0-9]+\) \[(unmount) of ")
        .absorbs(r"^WARNING: .*fs/dcache\.c")
        .continues(),
    row("bad_page", K::BadMemory, "BUG: Bad page ", "BUG: Bad page {1} in {function}")
        .pattern(r"^BUG: Bad page (state|cache)")
        .select(F::TraceAfter("page last allocated"))
        .skip(&["free_page*", "put_page*", "get_page*", "update_page*", "release_page*", "free_unref*", "folio_*", "truncate_inode_pages*", "page_frag_free", "prep_new_page", "post_alloc_hook", "alloc_*", "kmalloc*", "vmalloc*", "vmap*", "page_owner*", "set_page_owner*", "get_page_from_freelist", "bad_page"]),
    row("page_map", K::BadMemory, "BUG: Bad page map", "BUG: Bad page map").anywhere(),
    row("memory_leak", K::MemoryLeak, "BUG: memory leak", "memory leak in {function}")
        .unstamped()
        .select(F::TraceAfter("backtrace"))
        .skip(ALLOCATING),
    row("unreferenced_object", K::MemoryLeak, "unreferenced object ", "memory leak in {function}")
        .pattern(r"^unreferenced object (?:0x)?[0-9a-f]{8,16} \(size \d+\):")
        .unstamped()
        .continues()
        .select(F::TraceAfter("backtrace"))
        .skip(ALLOCATING),
    row("stack_guard_page", K::StackOverflow, "BUG: ", "BUG: stack guard page was hit in {function}")
        .anywhere()
        .pattern(r"^BUG: .*stack guard page was hit at")
        .select(F::Stuck)
        .fatal(),
    // Who finds poison overwritten did not do it.
    row("slub_poison", K::BadMemory, "BUG ", "BUG: {1}")
        .pattern(r"^BUG [^:]*(?::[^ ][^:]*)*: (Poison .*)")
        .continues(),
    row("slub", K::BadMemory, "BUG ", "BUG: {1}")
        .pattern(SLUB_REASONS)
        .select(F::Trace)
        .skip(SLUB)
        .else_without()
        .continues(),
    // KASAN had SLUB print its object; without what follows it is nothing.
    row("slub_other", K::BadMemory, "BUG ", "BUG: {1}")
        .pattern(r"^BUG \S.* \((?:Not tainted|Tainted: [^)]*|[A-Z ]*)\): (.*)")
        .select(F::Trace)
        .skip(SLUB)
        .else_without()
        .continues()
        .confirm(r"^-{20,}|^(?:INFO: )?Slab 0x|^(?:INFO: )?Object 0x|^INFO: 0x|^Disabling lock", 6),
    row("slab_freed", K::BadMemory, "INFO: Freed in ", "INFO: Freed in {function}")
        .pattern(r"^INFO: Freed in \S+ age=")
        .select(F::Named)
        .continues(),
    row("slab_allocated", K::BadMemory, "INFO: Allocated in ", "INFO: Allocated in {function}")
        .pattern(r"^INFO: Allocated in \S+ age=")
        .select(F::Named)
        .continues(),
    // Work queues
    // Only new kernels show what the stuck workers do.
    row("workqueue_lockup", K::Lockup, "BUG: workqueue lockup", "BUG: workqueue lockup in {function}")
        .select(F::Workers)
        .else_without(),
    row("workqueue_leak", K::Locking, "BUG: workqueue leaked ", "BUG: workqueue leaked lock or atomic in {w1}")
        .within(r"last function: ([a-zA-Z0-9_]+)"),
    row("bug_warning", K::Warning, "BUG: warning at ", "WARNING in {function}")
        .pattern(r"^BUG: warning at [\w./-]+:\d+")
        .select(F::Warn)
        .warning(),
    row("bug_failure", K::Bug, "BUG: failure at ", "kernel BUG in {function}")
        .pattern(r"^BUG: failure at [\w./-]+:\d+/\w+\(\)!")
        .select(F::Named)
        .fatal(),
    row("cut", K::Bug, "BUG:", "BUG: corrupted").kernel_line().pattern(r"^BUG:\s*$").cut(),
    row("bug_line", K::Bug, "BUG: ", "{line}").kernel_line().pattern(r"^BUG: \S"),
    // WARN(), by the file whose checks it is
    row("odebug", K::Odebug, "WARNING: ", "WARNING: ODEBUG bug in {function}")
        .pattern(r"^WARNING: .*lib/debugobjects\.c.* (?:debug_print|debug_check|at)")
        .select(F::Warn)
        .skip(&["debug_*", "rcu_*", "call_rcu*", "hrtimer_*", "timer_*", "init_timer*", "work_*", "init_work", "percpu_*", "kmem_*", "slab_*", "free_*"]),
    row("usercopy_warning", K::BadMemory, "WARNING: ", "WARNING: bad usercopy in {function}")
        .pattern(r"^WARNING: .*mm/usercopy\.c.* (?:usercopy_warn|at)")
        .select(F::Warn)
        .skip(&["usercopy_*", "check_*"]),
    row("kobject", K::Warning, "WARNING: ", "WARNING: kobject bug in {function}")
        .pattern(r"^WARNING: .*lib/kobject\.c.* (?:kobject_|at)")
        .select(F::Warn)
        .skip(&["kobject_*"])
        .warning(),
    row("proc_registration", K::Warning, "WARNING: ", "WARNING: proc registration bug in {function}")
        .pattern(r"^WARNING: .*fs/proc/generic\.c.* (?:proc_register|at)")
        .select(F::Warn)
        .skip(&["proc_register*", "proc_mkdir*", "proc_create*", "proc_symlink*", "proc_remove*"])
        .warning(),
    row("refcount", K::Refcount, "WARNING: ", "WARNING: refcount bug in {function}")
        .pattern(r"^WARNING: .*lib/refcount\.c.* (?:refcount_|at)")
        .select(F::Warn)
        .skip(&["refcount_*", "kobject_*"]),
    row("lockdep_warning", K::Locking, "WARNING: ", "WARNING: locking bug in {function}")
        .pattern(r"^WARNING: .*kernel/locking/lockdep\.c.*lock_")
        .select(F::Warn)
        .skip(&["lock_sock", "release_sock"]),
    row("kmalloc", K::Warning, "WARNING: ", "WARNING: kmalloc bug in {function}")
        .pattern(r"^WARNING: .*mm/.*\.c.* k?\w?malloc")
        .select(F::Warn)
        .skip(&["kmalloc*", "slab_*", "kmem_*"])
        .warning(),
    row("zero_size_vmalloc", K::Warning, "WARNING: ", "WARNING: zero-size vmalloc in {function}")
        .pattern(r"^WARNING: .*mm/vmalloc\.c.*__vmalloc_node")
        .select(F::Warn)
        .warning(),
    row("vmap_bad_unmap", K::BadMemory, "WARNING: ", "WARNING in {function}")
        .pattern(r"^WARNING: .*mm/vmalloc\.c.*(?:vunmap|vfree|remove_vm_area)")
        .select(F::Warn),
    row("usb_urb", K::Warning, "WARNING: ", "WARNING in {function}/usb_submit_urb")
        .pattern(r"^WARNING: .* usb_submit_urb")
        .select(F::Warn)
        .skip(USB_SUBMIT)
        .warning(),
    row("module_warning", K::ModuleLoader, "WARNING: ", "WARNING in {function}")
        .pattern(r"^WARNING: .*(?:kernel/module\.c|kernel/module/\w+\.c|fs/sysfs/dir\.c):\d+")
        .select(F::Warn)
        .warning(),
    row("warning", K::Warning, "WARNING: ", "WARNING in {function}")
        .select(F::Warn)
        .warning(),
    row("badness", K::Warning, "Badness ", "WARNING in {function}")
        .pattern(r"^Badness (?:in \S+ )?at [\w./-]+:\d+")
        .select(F::Warn)
        .warning(),
    row("suspicious_rcu", K::Rcu, "WARNING: suspicious RCU usage", "WARNING: suspicious RCU usage in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(RCU_USERS)
        .warning(),
    row("info_suspicious_rcu", K::Rcu, "INFO: suspicious RCU usage", "INFO: suspicious RCU usage in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(RCU_USERS)
        .warning(),
    row("stack_regs", K::Warning, "WARNING: kernel stack regs at ", "WARNING: kernel stack regs has bad value")
        .anywhere()
        .warning(),
    row("stack_frame_pointer", K::Warning, "WARNING: kernel stack frame pointer at ", "WARNING: kernel stack frame pointer has bad value")
        .anywhere()
        .warning(),
    row("unwinder", K::Warning, "WARNING: ", "{line}")
        .pattern(r"^WARNING: (?:stack recursion on stack type|stack going in the wrong direction|can't (?:dereference|access) )")
        .warning(),
    // Stalls and hangs
    row("rcu_stall", K::Stall, "INFO: rcu_", "INFO: rcu detected stall in {function}")
        .anywhere()
        .pattern(r"^INFO: rcu_\w+ (?:self-)?detected(?: expedited)? stall")
        .select(F::RcuStall)
        .skip(TICK),
    row("hung_task", K::HungTask, "INFO: task ", "INFO: task hung in {function}")
        .anywhere()
        .pattern(r"^INFO: task .* blocked(?: in I/O wait| on \w+)? for more than [0-9]+ seconds")
        .select(F::Hung),
    row("undying_task", K::HungTask, "INFO: task ", "INFO: task can't die in {function}")
        .anywhere()
        .pattern(r"^INFO: task .* can't die for more than .* seconds")
        .select(F::Trace)
        .skip(&["schedule*", "preempt_schedule*", "io_schedule*"]),
    // Faults, as other architectures say them
    row("unable_null", K::NullDereference, "Unable to handle kernel ", "BUG: unable to handle kernel NULL pointer dereference in {function}")
        .anywhere()
        .pattern(r"^Unable to handle kernel NULL pointer dereference")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("unable", K::PageFault, "Unable to handle kernel ", "BUG: unable to handle kernel {1} in {function}")
        .anywhere()
        .pattern(r"^Unable to handle kernel (paging request|access(?: to user memory)?|unaligned access|kernel text|pointer dereference|read from unreadable memory|write to read-only memory|execute from non-executable memory|execution of user memory)")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("unable_line", K::PageFault, "Unable to handle kernel ", "{line}").anywhere().fatal().continues(),
    row("powerpc_null", K::NullDereference, "Kernel NULL pointer dereference", "BUG: unable to handle kernel NULL pointer dereference in {function}")
        .pattern(r"^Kernel NULL pointer dereference .*(?:0x)?[0-9a-f]{8}")
        .select(F::PcThenTrace)
        .fatal(),
    row("general_protection", K::GeneralProtection, "general protection fault", "general protection fault in {function}")
        .anywhere()
        .pattern(r"^general protection fault(?:: [0-9a-f]{4}|, (?:probably|maybe) for|.*\[#\d+\])")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("stack_segment", K::Oops, "stack segment: ", "stack segment fault in {function}")
        .anywhere()
        .pattern(r"^stack segment: [0-9a-f]{4}")
        .select(F::PcThenTrace)
        .fatal(),
    // A BUG(), by the file whose checks it is
    row("usercopy", K::BadMemory, "kernel BUG at mm/usercopy.c", "BUG: bad usercopy in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(&["usercopy_*", "check_*"])
        .fatal(),
    row("list_corruption", K::ListCorruption, "kernel BUG at lib/list_debug.c", "BUG: corrupted list in {function}")
        .anywhere()
        .select(F::Trace)
        .fatal(),
    row("bug", K::Bug, "kernel BUG at ", "kernel BUG in {function}")
        .anywhere()
        .select(F::PcThenTrace)
        // What checks a buffer is not who filled it wrongly.
        .skip(&["skb_*"])
        .fatal(),
    row("bug_mips", K::Bug, "Kernel bug detected", "kernel BUG in {function}")
        .pattern(r"^Kernel bug detected\[#\d+\]")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("bug_alpha", K::Bug, "Kernel bug at ", "kernel BUG in {function}")
        .pattern(r"^Kernel bug at \S+:\d+")
        .select(F::PcThenTrace)
        .fatal(),
    row("bug_die", K::Bug, "Kernel BUG", "kernel BUG in {function}")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("double_fault", K::StackOverflow, "PANIC: double fault", "PANIC: double fault in {function}")
        .anywhere()
        .select(F::Pc)
        .fatal()
        .continues(),
    row("double_fault_die", K::StackOverflow, "double fault: ", "PANIC: double fault in {function}")
        .pattern(r"^double fault: [0-9a-f]{4} \[#\d+\]")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("early_exception", K::Panic, "PANIC: early exception", "{line}").fatal(),
    row("divide_error", K::Oops, "divide error: ", "divide error in {function}")
        .anywhere()
        .pattern(r"^divide error: [0-9a-f]{4}")
        .select(F::PcThenTrace)
        .fatal(),
    row("divide_error_misspelt", K::Oops, "divide_error: ", "divide error in {function}")
        .anywhere()
        .pattern(r"^divide_error: [0-9a-f]{4}")
        .select(F::PcThenTrace)
        .fatal(),
    row("invalid_opcode", K::Oops, "invalid opcode: ", "invalid opcode in {function}")
        .anywhere()
        .pattern(r"^invalid opcode: [0-9a-f]{4}")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("ubsan_old", K::Ubsan, "UBSAN: Undefined behaviour in", "UBSAN: undefined-behaviour in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(&["ubsan_*", "handle_overflow", "*_overflow"]),
    row("ubsan", K::Ubsan, "UBSAN: ", "UBSAN: {1} in {function}")
        .anywhere()
        .pattern(r"^UBSAN: (\S.*?) in ")
        .select(F::Trace)
        .skip(&["ubsan_*", "handle_overflow", "*_overflow"]),
    row("rust_panic", K::Panic, "rust_kernel: panicked at ", "{w1} in {function}")
        .within(r"^(\S.*)$")
        .select(F::Trace)
        .skip(&["rust_begin_unwind"])
        .fatal(),
    // Panics
    row("stack_protector", K::StackCorruption, "Kernel panic - not syncing: stack-protector:", "kernel panic: stack is corrupted in {1}")
        .anywhere()
        .pattern(r"^Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: ([a-zA-Z_]\w*)[.+]")
        .fatal(),
    row("stack_protector_address", K::StackCorruption, "Kernel panic - not syncing: stack-protector:", "kernel panic: stack is corrupted in {function}")
        .anywhere()
        .select(F::Trace)
        .skip(&["stack_chk_*"])
        .fatal(),
    row("stack_end", K::StackOverflow, "Kernel panic - not syncing: corrupted stack end", "kernel panic: corrupted stack end in {function}")
        .anywhere()
        .select(F::StuckTrace)
        .skip(&["schedule*", "preempt_schedule*", "retint_kernel"])
        .fatal(),
    row("stack_overflow", K::StackOverflow, "Kernel panic - not syncing: kernel stack overflow", "kernel stack overflow in {function}")
        .anywhere()
        .select(F::StuckTrace)
        .skip(&["*bad_stack*"])
        .fatal(),
    row("init_killed", K::Panic, "Kernel panic - not syncing: Attempted to kill init!", "kernel panic: Attempted to kill init!")
        .anywhere()
        .fatal(),
    row("tty_ldisc", K::Panic, "Kernel panic - not syncing: Couldn't open N_TTY ldisc for ", "kernel panic: Couldn't open N_TTY ldisc")
        .anywhere()
        .fatal(),
    row("out_of_memory", K::OutOfMemory, "Kernel panic - not syncing: ", "kernel panic: {1}")
        .anywhere()
        .pattern(r"^Kernel panic - not syncing: (System is deadlocked on memory|Out of memory.*)")
        .fatal(),
    // These end another report. Alone they mean that its beginning was lost.
    row("fatal_exception", K::Panic, "Kernel panic - not syncing: Fatal exception", "kernel panic: Fatal exception")
        .anywhere()
        .fatal()
        .cut(),
    row("panic_on_warn", K::Panic, "Kernel panic - not syncing: panic_on_warn set", "kernel panic: panic_on_warn set")
        .anywhere()
        .fatal()
        .cut(),
    row("panic_on_hang", K::Panic, "Kernel panic - not syncing: hung_task: blocked tasks", "kernel panic: hung_task: blocked tasks")
        .anywhere()
        .fatal()
        .cut(),
    row("serror_panic", K::Panic, "Kernel panic - not syncing: Asynchronous SError Interrupt", "kernel panic: Asynchronous SError Interrupt")
        .anywhere()
        .select(F::Trace)
        .skip(&["*serror*", "el1*", "nmi_panic"])
        .else_without()
        .fatal(),
    row("um_fault", K::PageFault, "Kernel panic - not syncing: Kernel ", "kernel panic: kernel mode fault in {function}")
        .anywhere()
        .pattern(r"^Kernel panic - not syncing: Kernel (?:mode fault at addr|tried to access user memory at addr) 0x")
        .select(F::Trace)
        .skip(&["segv*", "*sig_handler*", "*_handler", "hard_handler"])
        .fatal(),
    row("fatal_exception_old", K::Panic, "Kernel panic: Fatal exception", "kernel panic: Fatal exception")
        .fatal()
        .cut(),
    row("panic_old", K::Panic, "Kernel panic: ", "kernel panic: {1}")
        .pattern(r"^Kernel panic: (\S.*)")
        .fatal(),
    row("panic", K::Panic, "Kernel panic - not syncing", "kernel panic: {1}")
        .anywhere()
        .pattern(r"^Kernel panic - not syncing:? ?(.*)")
        .fatal(),
    // arm, arm64, s390
    row("internal_error", K::Oops, "Internal error: ", "Internal error in {function}")
        .anywhere()
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("unhandled_fault", K::PageFault, "Unhandled ", "Unhandled fault in {function}")
        .anywhere()
        .pattern(concat!(r"^Unhandled (?:fault|prefetch abort): .* at ", kernel_address!()))
        .confirm("^Internal error: ", 4)
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("alignment_trap", K::Oops, "Alignment trap: ", "Alignment trap in {function}")
        .anywhere()
        .pattern(concat!(r"^Alignment trap: not handling instruction [0-9a-f]+ at ", kernel_address!()))
        .confirm("^Internal error: ", 4)
        .select(F::PcThenTrace)
        .fatal(),
    row("s390_operation", K::Oops, "illegal operation: 00", "illegal operation in {function}")
        .pattern(r"^illegal operation: 00\d\d ")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("s390_addressing", K::Oops, "addressing exception: 00", "addressing exception in {function}")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("s390_specification", K::Oops, "specification exception: 00", "specification exception in {function}")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("s390_protection", K::Oops, "protection exception: 00", "protection exception in {function}")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("oops", K::Oops, "Oops", "Oops in {function}")
        .anywhere()
        .pattern(r"^Oops.*\[#\d+\]")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    // Other architectures
    row("serror", K::Oops, "SError Interrupt on CPU", "SError in {function}")
        .anywhere()
        .pattern(r"^SError Interrupt on CPU\d+, code 0x")
        .select(F::PcThenTrace)
        .fatal(),
    row("stack_space", K::StackOverflow, "Insufficient stack space to handle exception", "kernel stack overflow in {function}")
        .anywhere()
        .select(F::PcThenTrace)
        .fatal(),
    row("s390_stack", K::StackOverflow, "Kernel stack overflow.", "kernel stack overflow in {function}")
        .select(F::PcThenTrace)
        .fatal(),
    row("parisc", K::Oops, ": Code=", "{1} in {function}")
        .within_line()
        .pattern(r"^(Kernel Fault|Unexpected interruption|High Priority Machine Check \(HPMC\)): Code=\d+")
        .select(F::PcThenTrace)
        .fatal(),
    row("parisc_die", K::Oops, " (code ", "{1} in {function}")
        .within_line()
        .pattern(r"^\S.* \(pid \d+\): (\S.*) \(code -?\d+\)$")
        .select(F::PcThenTrace)
        .fatal()
        .confirm(r"^\s*(?:YZrvWESTHLNXBCVM|IASQ: |IAOQ\[0\])", 30),
    row("xmon", K::Oops, ": Vector: ", "Oops: {1} in {function}")
        .within_line()
        .pattern(r"^cpu 0x[0-9a-f]+: Vector: [0-9a-f]+ ?\(([^)]*)\) at \[")
        .select(F::PcThenTrace)
        .fatal(),
    row("alpha_instruction", K::Oops, "Instruction fault ", "Instruction fault in {function}")
        .within_line()
        .pattern(r"^(?:CPU \d+ )?\S+\(\d+\): Instruction fault -?\d+$")
        .select(F::PcThenTrace)
        .fatal()
        .confirm(r"^pc = \[<", 4),
    row("alpha_arithmetic", K::Oops, "Arithmetic fault ", "Arithmetic fault in {function}")
        .within_line()
        .pattern(r"^(?:CPU \d+ )?\S+\(\d+\): Arithmetic fault -?\d+$")
        .select(F::PcThenTrace)
        .fatal()
        .confirm(r"^pc = \[<", 4),
    row("m68k_trap", K::Oops, "BAD KERNEL TRAP: ", "Oops: bad kernel trap in {function}")
        .pattern(r"^BAD KERNEL TRAP: [0-9a-f]{8}")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("openrisc", K::Oops, "KERNEL: ", "Oops: {1} in {function}")
        .pattern(r"^KERNEL: (Illegal instruction|Unaligned Access|Bus error)")
        .select(F::PcThenTrace)
        .fatal()
        .confirm(r"^Die:|^CPU #: ", 8),
    row("oops_signal", K::Oops, "Oops: ", "Oops in {function}")
        .pattern(r"^Oops: .+, sig: \d+ *$")
        .select(F::PcThenTrace)
        .fatal()
        .continues(),
    row("oops_old", K::Oops, "Oops: ", "Oops in {function}")
        .pattern(r"^Oops: [0-9a-f]{4,8} *(?:$|SMP|PREEMPT)")
        .select(F::PcThenTrace)
        .fatal()
        .continues()
        .confirm(
            r"^(?:CPU:? *\d|Modules linked in:|[ER]IP: |PC *: |PC is at \S+\+0x|pc ?: )",
            6,
        ),
    row("oops_bare", K::Oops, "Oops", "Oops in {function}")
        .kernel_line()
        .pattern(r"^Oops *$")
        .select(F::PcThenTrace)
        .fatal()
        .continues()
        .confirm(r"ECR *\]?: 0x|^Path: |by insn @", 8),
    row("die", K::Oops, "[#", "{1} in {function}")
        .within_line()
        .pattern(r"^(?:CPU \d+ )?(?:[\w./:-]+[(\[]\d+[)\]]: )?([A-Za-z#][\w' ,./()!?#-]*?)(?:(?:: [0-9a-f]{1,16})?(?: ilc:\d)?|,? sig: \d+|: sig: \d+)?:? ?\[#\d+\](?::| *$| [A-Z])")
        .select(F::PcThenTrace)
        .fatal()
        .continues()
        .confirm(r"^(?:CPU:? *\d|Cpu \d|Modules linked in:|Pid: \d|PC *: |PC is at \S+\+0x|pc ?: |epc +: |era +: |NIP|REGS: |TSTATE: |Krnl PSW|Process .*pid|\$ 0  |[ER]IP: )", 6),
    // An oops whose first lines are gone.
    row("oops_cut", K::Oops, "EIP is at ", "Oops in {function}")
        .pattern(r"^EIP is at \S+\+0x")
        .select(F::PcThenTrace)
        .fatal()
        .continues()
        .cut()
        .confirm(r"^Process .*\(pid: |^Code: |Kernel panic", 80),
    row("oops_cut_arm", K::Oops, "PC is at ", "Oops in {function}")
        .pattern(r"^PC is at \S+\+0x")
        .select(F::PcThenTrace)
        .fatal()
        .continues()
        .cut()
        .confirm(r"^Process .*\(pid: |Kernel panic", 80),
    // The rest
    row("reboot", K::Reboot, "Booting the kernel", "unexpected kernel reboot")
        .fatal()
        .unstamped(),
    row("banner", K::Reboot, "Linux version ", "unexpected kernel reboot")
        .pattern(r"^Linux version \d+\.\d+\S* \(")
        .fatal()
        .unstamped(),
    row("netdevice", K::Refcount, "unregister_netdevice: waiting for ", "unregister_netdevice: waiting for DEV to become free")
        .pattern(r"^unregister_netdevice: waiting for .* to become free"),
    row("vfs_close", K::BadMemory, "VFS: Close: file count is 0", "VFS: Close: file count is zero (use-after-free)"),
    row("vfs_busy_inodes", K::BadMemory, "VFS: Busy inodes after unmount", "VFS: Busy inodes after unmount (use-after-free)"),
    row("duplicate_module", K::ModuleLoader, "sysfs: cannot create duplicate filename '/module/", "sysfs: cannot create duplicate filename in {function}")
        .select(F::Trace)
        .skip(&["sysfs_*", "create_dir", "kernfs_*"])
        .absorbs(r"^WARNING: .*fs/sysfs/dir\.c")
        .continues(),
    row("duplicate_file", K::Warning, "sysfs: cannot create duplicate filename", "sysfs: cannot create duplicate filename in {function}")
        .select(F::Trace)
        .skip(&["sysfs_*", "create_dir", "kernfs_*"])
        .absorbs(r"^WARNING: .*fs/sysfs/dir\.c")
        .continues()
        .warning(),
];
