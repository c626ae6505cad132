//! Finds the few places in many bytes that could begin a report, so that no
//! other line is ever parsed. Knows nothing of lines but that a marker in the
//! middle of a word is none.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Every marker of the table contains one of these; `signatures` has a test
/// for it. Short lists and rare words make a fast search.
pub const TOKENS: &[&str] = &[
    "BUG",
    "WARNING: ",
    "Badness ",
    "INFO: task ",
    "INFO: rcu_",
    "INFO: possible ",
    "INFO: suspicious ",
    "INFO: inconsistent ",
    "INFO: trying to register",
    "INFO: Freed in ",
    "INFO: Allocated in ",
    "-safe -> ",
    "ernel panic",
    "general protection",
    "Oops",
    "PANIC: ",
    "nable to handle kernel",
    "ernel NULL pointer",
    "stack segment: ",
    "double fault",
    "divide error: ",
    "divide_error: ",
    "invalid opcode: ",
    "UBSAN: ",
    "nternal error: ",
    "Unhandled ",
    "Alignment trap: ",
    "Kernel bug ",
    "Booting the kernel",
    "Linux version ",
    "unregister_netdevice: waiting",
    "unreferenced object ",
    "VFS: ",
    "ard LOCKUP",
    "rust_kernel: panicked",
    "circular locking",
    "sysfs: cannot create duplicate",
    "exception: 00",
    "operation: 00",
    "EIP is at ",
    "PC is at ",
    "SError Interrupt on CPU",
    "Insufficient stack space",
    "Kernel stack overflow.",
    ": Code=",
    " (code ",
    ": Vector: ",
    "Instruction fault ",
    "Arithmetic fault ",
    "KERNEL: ",
    "KERNEL TRAP: ",
    "[#",
    // What was before the kernel, and what follows when it has been told to
    // reboot, is not the kernel's.
    "U-Boot ",
    "coreboot-",
    "OpenSBI v",
    "barebox ",
    "reboot: ",
    "Restarting system",
    // As mail programs write them.
    "panic\u{a0}-",
    "general\u{a0}protection",
    "INFO:\u{a0}",
    "WARNING:\u{a0}",
    "handle\u{a0}kernel",
];

static AUTOMATON: LazyLock<AhoCorasick> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a short list of constants")]
    AhoCorasick::builder()
        .match_kind(aho_corasick::MatchKind::LeftmostFirst)
        .build(TOKENS)
        .expect("the tokens build")
});

/// The next place at or behind `from` that could matter.
pub(super) fn next(bytes: &[u8], from: usize) -> Option<usize> {
    AUTOMATON
        .find_iter(bytes.get(from..)?)
        .map(|found| from + found.start())
        .find(|&at| {
            // `DEBUG:` is by far the most frequent word with a token in it.
            at == 0
                || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
                || !bytes[at..].starts_with(b"BUG")
        })
}

/// Whether a line could matter.
pub(super) fn hits(line: &[u8]) -> bool {
    next(line, 0).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::SIGNATURES;

    #[test]
    fn every_marker_has_a_token_in_it() {
        for row in SIGNATURES {
            assert!(
                TOKENS.iter().any(|token| row.marker.contains(token)),
                "{}: add a token for {:?}",
                row.name,
                row.marker
            );
        }
    }

    #[test]
    fn a_token_inside_a_word_is_passed_by() {
        assert_eq!(next(b"DEBUG: x\nODEBUG: y\nBUG: z", 0), Some(19));
    }
}
