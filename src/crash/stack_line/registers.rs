//! Program counter and link register, as each architecture names them in
//! `show_regs()`. The forms are those of Linux 6.1, of its predecessors, and
//! of ksymoops.

use std::sync::LazyLock;

use regex::Regex;

use super::ProgramCounter;
use super::symbol::{pattern, symbol};
use crate::model::Frame;

/// Where a program counter is told: arch, and the words before it.
const PROGRAM_COUNTERS: &[(&str, &str)] = &[
    ("x86", r"\b[ER]?IP:?(?: is at)?"),
    ("x86, ksymoops", r">>[ER]IP;"),
    ("powerpc", r"\bNIP:?"),
    ("powerpc, interrupted", r"--- interrupt: [0-9a-f]+ at"),
    ("powerpc, exception", r"--- Exception: [0-9a-f]+ at"),
    ("arm, sh", r"\b[PI]C is at"),
    ("arm64, riscv", r"\be?pc ?:"),
    ("mips, loongarch", r"\b(?:epc|era) +:"),
    ("loongarch", r"\bERA:"),
    ("powerpc, xmon", r"^ +pc: [0-9a-f]+:"),
    ("s390", r"\bKrnl PSW :"),
    ("sparc64", r"\bTPC: ?<"),
    ("sparc64, a BUG", r"^TPC<"),
    ("sparc32, m68k, csky", r"^PC: "),
    ("parisc", r"\bIAOQ\[0\]:"),
    ("alpha", r"\bpc is at"),
    ("ia64", r"^ip is at"),
    ("arc", r"\[ERET *\]:"),
    ("arc, a memory fault", r"\bby insn @"),
];

/// The same for the link register: the caller, where a function died before
/// it had a frame of its own.
const LINK_REGISTERS: &[(&str, &str)] = &[
    ("arm, alpha", r"\b(?:LR|ra) is at"),
    ("sh", r"\bPR is at"),
    ("arm64, riscv, mips, loongarch", r"^\s*(?:lr|ra) *:"),
    ("powerpc, csky", r"^\s*LR:? "),
    ("powerpc, xmon", r"^ +lr: [0-9a-f]+:"),
    ("sparc", r"\bRPC: ?"),
    ("parisc", r"\bRP\(r2\):"),
    ("arc", r"\[BLINK *\]:"),
];

fn any_of(forms: &[(&str, &str)]) -> Regex {
    let words: Vec<&str> = forms.iter().map(|(_, words)| *words).collect();
    pattern(&format!("(?:{}) *(.*)$", words.join("|")))
}

static PROGRAM_COUNTER: LazyLock<Regex> = LazyLock::new(|| any_of(PROGRAM_COUNTERS));
static LINK_REGISTER: LazyLock<Regex> = LazyLock::new(|| any_of(LINK_REGISTERS));

/// Segment and addresses that may stand before the name.
static ADDRESSES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[0-9a-f]{2,4}:)?(?:(?:[\[<(]*(?:0x)?[0-9a-f]{6,16}[\]>)]*|[0-9a-f]{8,16})\s+){0,2}(?:<[0-9a-f]{8,16}>)?",
    )
});

/// An address without a name that is certainly the program counter. A number
/// alone is not: some architectures print it on another line than its name.
static NAMELESS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[0-9a-f]{2,4}:)?(?:(?:\[[0-9a-f]+\]\s+)?0x[0-9a-f]+|(?:\[<[0-9a-f]+>\]\s+)?(?:\[<)?\s*\(null\))",
    )
});

/// Code segments of user space on x86.
const USER_SEGMENTS: &[&str] = &["0033:", "0023:", "0073:", "002b:"];

/// The program counter that a line tells, unless it is user space's.
pub(super) fn program_counter(text: &str) -> Option<ProgramCounter> {
    let found = PROGRAM_COUNTER.captures(text)?;
    let behind = found.get(1)?.as_str();
    if USER_SEGMENTS.iter().any(|cs| behind.starts_with(cs)) {
        return None;
    }
    // s390 writes the mask before the address.
    let behind = match behind.split_once(' ') {
        Some((mask, rest)) if text.contains("Krnl PSW") && mask.len() == 16 => rest,
        _ => behind,
    };
    if let Some(frame) = named(behind) {
        return Some(ProgramCounter { frame: Some(frame) });
    }
    NAMELESS.is_match(behind).then(ProgramCounter::default)
}

/// The function that the link register points into.
pub(super) fn link_register(text: &str) -> Option<Frame> {
    named(LINK_REGISTER.captures(text)?.get(1)?.as_str())
}

fn named(text: &str) -> Option<Frame> {
    let addresses = ADDRESSES.find(text).map_or(0, |found| found.end());
    symbol(&text[addresses..]).map(|symbol| symbol.frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_counters_of_every_architecture() {
        for text in [
            "RIP: 0010:[<ffffffff810d64c5>]  [<ffffffff810d64c5>] module_flags+0xb5/0xc0",
            "RIP: 0010:module_flags+0xb5/0xc0",
            "RIP: 0010:[<ffffffff810d64c5>] <ffffffff810d64c5>{module_flags+181}",
            "RIP: 0010:module_flags (kernel/module.c:12 kernel/module.h:3)",
            "IP: [<ffffffff810d64c5>] module_flags+0xb5/0xc0",
            "IP: module_flags+0xb5/0xc0",
            "EIP: 0060:[<c10d64c5>] module_flags+0xb5/0xc0",
            "EIP: 0060:[module_flags+181/192]    Tainted: P",
            "EIP: module_flags (kernel/module.c:7244 (discriminator 13))",
            "EIP is at module_flags+0xb5/0xc0",
            ">>EIP; c10d64c5 <module_flags+b5/c0>   <=====",
            "PC is at module_flags+0xb5/0xc0",
            "pc : module_flags+0xb5/0xc0",
            "epc : module_flags+0xb5/0xc0",
            "epc   : 80123456 module_flags+0xb5/0xc0",
            "era   : 9000000000212345 module_flags+0xb5/0xc0",
            "  ERA: 9000000000212345 module_flags+0xb5/0xc0",
            "NIP [c0000000001abcde] module_flags+0xb5/0xc0",
            "NIP [d0000000008cb4dc] .module_flags+0x18c/0x220 [ipr]",
            "Krnl PSW : 0704d00180000000 00000000004c1d1c (module_flags+0xb5/0xc0)",
            "--- interrupt: 700 at module_flags+0xb5/0xc0",
            "--- Exception: 300 at .module_flags+0xb5/0xc0",
            "TPC: <module_flags+0x204/0x2e0>",
            "TPC<module_flags+0x204/0x2e0>",
            "PC: <module_flags+0x204/0x2e0>",
            "PC: [<00123456>] module_flags+0x4/0x20",
            "PC: 0x80123456 (module_flags+0x4/0x20)",
            " IAOQ[0]: module_flags+0x24/0x30",
            "pc is at module_flags+0x24/0x30",
            "ip is at module_flags+0x24/0x30",
            "[ERET  ]: module_flags+0x24/0x30",
            "Invalid Read @ 0x00000004 by insn @ module_flags+0x24/0x30",
            "RIP  [<ffffffff810d64c5>] module_flags+0xb5/0xc0",
        ] {
            let pc = program_counter(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(pc.frame.expect(text).function, "module_flags", "{text}");
        }
        assert!(program_counter("RIP: 0033:0x7f0012345678").is_none());
        for text in ["RIP: 0010:0x0", "NIP [0000000000000000] 0x0", "pc : 0x0"] {
            assert!(program_counter(text).expect(text).frame.is_none(), "{text}");
        }
    }

    #[test]
    fn link_registers_of_every_architecture() {
        for text in [
            "LR is at m_show+0x1/0x20",
            "PR is at m_show+0x1/0x20",
            "ra is at m_show+0x1/0x20",
            "lr : m_show+0x120/0x19c",
            " ra : m_show+0x120/0x19c",
            "ra    : 80123456 m_show+0x120/0x19c",
            "   ra: 9000000000212345 m_show+0x120/0x19c",
            "LR [c0000000001abcde] .m_show+0x9c/0x140",
            "LR: 0x80123456 (m_show+0x4/0x20)",
            "RPC: <m_show+0x4/0x20>",
            " RP(r2): m_show+0x4/0x20",
            "[BLINK ]: m_show+0x4/0x20",
        ] {
            let link = link_register(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(link.function, "m_show", "{text}");
        }
        for text in [
            "lr : 0000000000000000",
            "epc : ffffffff80 ra : ffffffff81 sp : 0",
        ] {
            assert!(link_register(text).is_none(), "{text}");
        }
    }
}
