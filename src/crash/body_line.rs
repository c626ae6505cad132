//! How the lines of a report look, as far as that tells where one ends. What
//! they say is read in `stack_line` and `metadata`.

use std::sync::LazyLock;

use regex::Regex;

/// How lines of a report begin, besides frames, registers and dumps.
const BEGINNINGS: &[&str] = &[
    "------------[",
    "---[",
    "=====",
    "-----",
    "CPU:",
    "CPU#",
    "Hardware name:",
    "Hardware Name:",
    "Modules linked in:",
    "Code:",
    "Workqueue:",
    "Call Trace",
    "Call trace",
    "Backtrace",
    "Stack:",
    "task:",
    "Process ",
    "Krnl",
    "#PF:",
    "PGD ",
    "Oops",
    "Mem abort info",
    "ESR =",
    "EC =",
    "SET =",
    "EA =",
    "FSC =",
    "Data abort info",
    "ISV =",
    "CM =",
    "user pgtable",
    "swapper pgtable",
    "[0000",
    "[ffff",
    "[dead",
    "pstate",
    "Insn",
    "Unable",
    "Internal error",
    "invalid opcode",
    "kasan:",
    "KASAN:",
    "Read of size",
    "Write of size",
    "Read at addr",
    "Write at addr",
    "Allocated by",
    "Freed by",
    "Allocated:",
    "Freed:",
    "The buggy address",
    "which belongs to",
    "The buggy",
    "Memory state",
    "page:",
    "flags:",
    "raw:",
    "page dumped",
    "page last",
    "page_owner",
    "head:",
    "^",
    "unreferenced object",
    "comm \"",
    "hex dump",
    "backtrace",
    "Kernel panic",
    "Kernel Offset",
    "Rebooting in",
    "other info that",
    "Possible unsafe",
    "*** ",
    "stack backtrace",
    "but task is",
    "which lock",
    "the existing",
    "-> #",
    "rcu:",
    "rcu_",
    "Sending NMI",
    "NMI ",
    "Showing ",
    "irq event",
    "hardirqs last",
    "softirqs last",
    "INFO:",
    "Preemption disabled",
    "in_atomic",
    "preempt_count",
    "RCU nest",
    "\"echo 0",
    "<IRQ",
    "</IRQ",
    "<TASK",
    "</TASK",
    "<NMI",
    "</NMI",
    "locks held",
    "no locks",
    "stack of",
    "(detected",
    "task is",
    "read ",
    "write to",
    "value changed",
    "Reported by",
    "Uninit was",
    "Local variable",
    "Bytes ",
    "Memory access",
    "kfence-#",
    "allocated by",
    "freed by",
    "Exception stack",
    "Flags:",
    "Dumping ftrace",
    "UBSAN",
    "index ",
    "shift exponent",
    "list_add",
    "list_del",
    "refcount_t",
    "CR2:",
    "RIP",
    "Tainted",
    "EFLAGS",
    "EIP",
    "EIP is at",
    "PC is at",
    "LR is at",
    "PR is at",
    "ip is at",
    "pc is at",
    "ra is at",
    "pc = ",
    "ra = ",
    "TPC",
    "RPC",
    "TSTATE",
    "PSR:",
    "IAOQ",
    "IASQ",
    "RP(r2)",
    "NIP",
    "LR ",
    "REGS:",
    "MSR:",
    "TASK =",
    "GPR",
    "Caller[",
    "Disabling IRQ",
    "Trace:",
    "Trace;",
    "Stack Trace:",
    "Stack",
    "psr :",
    "$ ",
    "$1",
    "$2",
    "Hi ",
    "Lo ",
    "Status:",
    "Cause :",
    "BadVA",
    "PrId",
    "Pid:",
    "pid:",
    "printing eip",
    "*pde",
    "*pdpt",
    "last sysfs file",
    "Cpu ",
    "CPU ",
    "pgd =",
    "[c",
    "[b",
    "Last Breaking",
    "Kernel BUG",
    "kernel BUG",
    "Object 0x",
    "Slab 0x",
    "Redzone",
    "Padding",
    "CPU#",
    "ECR",
    "BTA",
    "LPS",
    "Path:",
    "Task dump",
    "task ",
    "dump_stack",
    "restoring",
    "WARNING:",
    "BUG:",
    "BUG ",
    "tsk->",
    "current->",
    "Unable",
    "Faulting instruction",
    "Instruction dump",
    "stack segment",
    "l0:",
    "i0:",
    "o0:",
    "g0:",
    "CSR ",
    "ExcCode",
];

/// Registers, dumps of memory, locks that are held, list points of locks.
static BODY: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this file")]
    Regex::new(
        r"^(?:[A-Za-z][A-Za-z0-9]{1,6} ?: ?(?:[0-9a-f]{4}:)?[0-9a-f]{4,16}\b|[>0-9a-f]{8,17}[: ]|(?:[0-9a-f]{2} ){4}|#\d+: |\d+ locks? held by |\S+/\d+ (?:is trying|is freeing|just|takes)|\[<|lock\()|\[no\. \d|\(#\d+\)",
    )
    .expect("a pattern that compiles")
});

/// Whether a line is of the sort that reports consist of.
pub(super) fn is_body_line(text: &str) -> bool {
    let text = text.trim_start();
    text.contains("+0x")
        || BEGINNINGS.iter().any(|word| text.starts_with(word))
        || BODY.is_match(text)
}

/// A line of raw stack: words of memory and nothing else, with or without the
/// address before them. Architectures print up to a whole stack of them.
static STACK_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this file")]
    Regex::new(
        r"^\s*(?:Stack ?: ?|[0-9a-f]{4}: |\(?[0-9a-f]{8,16}:?\)?:? ?)?(?:\s*\b[0-9a-f]{8}\b| +[0-9a-f]{16}\b)+ *$|^[0-9a-f]{4}:\s*$",
    )
    .expect("a pattern that compiles")
});

/// Whether a line is one of raw stack.
pub(super) fn is_stack_words(text: &str) -> bool {
    // Nothing but hexadecimal digits and little else: cheap to refute.
    text.len() < 200
        && text
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b" :()Stack".contains(&b))
        && STACK_WORDS.is_match(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_stack_is_known_in_every_architectures_form() {
        for text in [
            "1b00: c0343cdc c0343ce0 00000000 c0343cdc c0343ce0 00000000 c0343cdc c0343ce0",
            "1ac0:                                     c0343cdc c0343ce0",
            "        c0343cdc c0343ce0 00000000",
            "Stack : 80000000 80001234 00000000",
            "       ffff88081e807300 000000002e0f2fbf",
        ] {
            assert!(is_stack_words(text), "{text}");
        }
        for text in ["cafe", "Stack:", "usb 1-1: new", "deadbeef dummy: x"] {
            assert!(!is_stack_words(text), "{text}");
        }
    }
}
