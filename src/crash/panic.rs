//! The line with which a kernel panics: its own event, or what becomes of the
//! crash before it.

/// How panics begin, since 2.6.9 and before.
const PANICS: &[&str] = &["Kernel panic - not syncing", "Kernel panic: "];
/// How panics go on that only say what becomes of a crash before.
const CONSEQUENCES: &[&str] = &[
    "Fatal",
    "panic_on",
    "kernel: panic_on",
    "kasan",
    "KASAN",
    "KFENCE",
    "UBSAN",
    "hung_task",
    "softlockup",
    "RCU Stall",
    "Hard LOCKUP",
    "Attempted to kill",
    "Aiee",
    "Oops",
    "BUG",
    "corrupted stack end",
    "Asynchronous SError",
    "Kernel Fault",
    "Kernel stack overflow",
    "kernel stack overflow",
    "Corrupt kernel stack",
];

/// What a panic's line says behind its first words, if it is one.
pub(super) fn reason(text: &str) -> Option<&str> {
    let rest = PANICS.iter().find_map(|words| text.strip_prefix(words))?;
    Some(rest.trim_start_matches([':', ' ']))
}

/// Whether a panic for this reason follows from another crash.
pub(super) fn is_consequence(reason: &str) -> bool {
    CONSEQUENCES.iter().any(|words| reason.starts_with(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_why_in_new_words_and_old() {
        assert_eq!(
            reason("Kernel panic - not syncing: Fatal exception"),
            Some("Fatal exception")
        );
        assert_eq!(
            reason("Kernel panic: Aiee, killing interrupt handler!"),
            Some("Aiee, killing interrupt handler!")
        );
        assert_eq!(reason("panic: x"), None);
        assert!(is_consequence("Fatal exception") && !is_consequence("VFS: x"));
    }
}
