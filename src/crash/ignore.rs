//! Lines that look like a crash and are none. Each row says why. Applied
//! before any signature.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// A text that makes a line harmless, and why it does.
const HARMLESS: &[(&str, &str)] = &[
    ("Command line: ", "the kernel echoes its command line"),
    (
        "ommand line: ",
        "the same, told of an initrd or a crash kernel",
    ),
    (
        "command line parameters",
        "options that were passed on to init",
    ),
    ("BOOT_IMAGE=", "a command line quoted by a program"),
    ("audit: type=", "an audit record quotes its subject"),
    ("audit(", "the same, through auditd"),
    ("Unknown parameter '", "a mount option, quoted"),
    ("nrecognized mount option", "the same"),
    (
        "INFO: lockdep is turned off",
        "a remark inside other reports",
    ),
    (
        "Stall ended before state dump start",
        "a stall that was over in time",
    ),
    ("INFO: NMI handler", "slow, not stuck"),
    ("took too long", "the same of interrupts"),
    ("recovery required on readonly", "a file system's remark"),
    (
        "hung_task_timeout_secs\" disables",
        "advice inside a report",
    ),
    ("Firmware Bug", "somebody else's"),
    ("Firmware Warn", "somebody else's"),
    ("no syscalls can create resource", "a fuzzer's own words"),
    ("is not present in /proc/kallsyms", "a fuzzer's own words"),
    ("executing program", "a fuzzer's own words"),
    ("xlog_status:", "a vendor's log"),
    ("module verification failed", "our own module is not signed"),
    (
        "loading out-of-tree module taints",
        "our own module is out of tree",
    ),
    ("workqueue cpumask: online intersect", "a remark at boot"),
    ("Decompressing Linux", "the first words of a boot"),
    ("Parsing ELF", "the first words of a boot"),
    (
        "Disabling lock debugging due to kernel taint",
        "follows any oops",
    ),
];

/// Finds all of them in one pass.
static PARTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a list of constants")]
    AhoCorasick::new(HARMLESS.iter().map(|(part, _)| part)).expect("the parts build")
});

/// Bytes of the longest.
static LONGEST: LazyLock<usize> = LazyLock::new(|| {
    HARMLESS
        .iter()
        .map(|(part, _)| part.len())
        .max()
        .unwrap_or(0)
});

/// Whether what a marker at `at` begins is harmless: the words stand before it
/// or begin with it. Behind it they belong to another message, which got into
/// the same line.
pub(super) fn harmless(text: &str, at: usize) -> bool {
    // Only so far can a part reach that begins at the marker.
    let end = text.len().min(at + *LONGEST);
    PARTS
        .find_overlapping_iter(&text.as_bytes()[..end])
        .any(|found| found.start() <= at)
        || from_a_program(&text[..at])
}

/// `systemd[1]: `: a program that writes to /dev/kmsg. `Comm[123]` of the
/// kernel's own lines (segfaults) has no colon behind it.
fn from_a_program(text: &str) -> bool {
    let Some((name, rest)) = text.split_once('[') else {
        return false;
    };
    let Some((pid, rest)) = rest.split_once(']') else {
        return false;
    };
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-./@()".contains(&b))
        && !pid.is_empty()
        && pid.bytes().all(|b| b.is_ascii_digit())
        && rest.starts_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_line_in_kmsg_is_harmless() {
        assert!(harmless(
            "systemd[1]: BUG: unable to handle kernel paging request",
            12
        ));
        assert!(!harmless("BUG: Bad page state in process a  pfn:1", 0));
    }

    #[test]
    fn an_echoed_command_line_is_harmless() {
        assert!(harmless(
            "Kernel command line: console=ttyS0 oops=panic",
            36
        ));
    }

    #[test]
    fn another_message_behind_the_marker_does_not_make_it_harmless() {
        assert!(!harmless("Oops: 0000 [#1] audit: type=1400 audit(1)", 0));
    }

    #[test]
    fn every_row_says_why() {
        assert!(
            HARMLESS
                .iter()
                .all(|(part, why)| part.len() > 4 && why.len() > 4)
        );
    }
}
