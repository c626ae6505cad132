//! What loggers put before a kernel line: syslog, journald, `dmesg -T`,
//! serial loggers with a clock of their own. They also tell the kernel's lines
//! from a program's.

use std::sync::LazyLock;

use regex::Regex;

use super::line::{Line, Origin};

/// A pattern written in this file.
fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "a constant of this file, tested below")]
    Regex::new(text).expect("a pattern that compiles")
}

/// `Nov 22 18:01:02 host ident[pid]: `, the same with an ISO time, and as
/// busybox and `OpenWrt` write it: a year behind the time, the host left out,
/// `kern.warn` before the name.
static SYSLOG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:<\d{1,3}>)?(?:(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?(?: \d{4})?|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?) (?:\S*[^\s:] )?(?:[a-z]+\d?\.[a-z]+ )?([A-Za-z_][\w./@-]*)(?:\[\d+\])?: ?",
    )
});

/// RFC 5424: `<4>1 TIME HOST APP PID ID - text`.
static SYSLOG_5424: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^<(\d{1,3})>1 \S+ \S+ (\S+) \S+ \S+ (?:-|\[[^\]]*\]) ?"));

/// `dmesg -x` and the kernel test robot: `kern  :warn  : `.
static FACILITY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^([a-z][a-z0-9]{2,7}) *:(?:emerg|alert|crit|err|warn|notice|info|debug) *: ?")
});

/// `host ident[pid]: ` behind a monotonic time.
static AFTER_TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^([A-Za-z][\w.-]*) ([A-Za-z_][\w./@-]*)(\[\d+\])?: "));

/// A clock alone: `[Sun Nov 22 18:01:02 2026] `, `2026-11-22 18:01:02.345 `.
static CLOCK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ?|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?:? +|\[\d\d:\d\d:\d\d(?:\.\d+)?\] ?)",
    )
});

/// Android's `logcat -v threadtime`: `01-02 03:04:05.123  PID  TID W tag: `. The
/// kernel's lines come from process 0.
static LOGCAT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^\d\d-\d\d \d\d:\d\d:\d\d\.\d{3,6} +(\d+) +\d+ [VDIWEFA] (\[[^\]]*\]|[^:]*?) *: ?")
});

/// What a syslog server writes of a sender that it knows by address only. With
/// netconsole's packets no name of a program follows, so a word with a colon is
/// one only if it says so.
static SENDER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) (?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}) (kernel: ?|[A-Za-z_][\w./@-]*\[\d+\]: ?)?",
    )
});

/// The marks of a mail that quotes.
static QUOTE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:>+ )+|^>+$"));

/// Takes a logger's prefix off the front.
pub(super) fn strip<'a>(text: &'a str, line: &mut Line<'_>) -> &'a str {
    let begins = text.as_bytes().first().copied().unwrap_or_default();
    // Most lines begin with `[ 12.345678]`; no pattern needs to look at them.
    let worth_it = match begins {
        b'[' => text
            .as_bytes()
            .get(1)
            .is_some_and(u8::is_ascii_alphanumeric),
        b'<' | b'>' => true,
        b => b.is_ascii_alphanumeric(),
    };
    if !worth_it {
        return text;
    }
    if begins == b'>' {
        // A quoted line has its own prefix.
        return QUOTE
            .find(text)
            .map_or(text, |marks| strip(&text[marks.end()..], line));
    }
    if begins.is_ascii_digit()
        && let Some(found) = LOGCAT.captures(text)
    {
        line.origin = origin(&found[1] == "0");
        let tag = found.get(2).map_or("", |tag| tag.as_str());
        let task = super::tag::strip(tag);
        if let Some((tag, "")) = task {
            line.caller = tag.caller();
            line.tag = Some(tag);
        }
        return &text[found[0].len()..];
    }
    if let Some(found) = SENDER.captures(text) {
        line.logged = true;
        if let Some(program) = found.get(1) {
            line.origin = origin(program.as_str().starts_with("kernel"));
        }
        return &text[found[0].len()..];
    }
    if let Some(found) = SYSLOG.captures(text) {
        line.logged = true;
        line.origin = origin(&found[1] == "kernel");
        return &text[found[0].len()..];
    }
    if begins == b'<'
        && let Some(found) = SYSLOG_5424.captures(text)
    {
        line.logged = true;
        line.origin = origin(&found[2] == "kernel");
        return &text[found[0].len()..];
    }
    if begins.is_ascii_lowercase()
        && let Some(found) = FACILITY.captures(text)
    {
        line.origin = origin(&found[1] == "kern");
        return &text[found[0].len()..];
    }
    if let Some(found) = CLOCK.find(text) {
        if text.starts_with('[') && text.as_bytes().get(1).is_some_and(u8::is_ascii_uppercase) {
            line.origin = Origin::Kernel;
        }
        return &text[found.end()..];
    }
    text
}

fn origin(kernel: bool) -> Origin {
    if kernel {
        Origin::Kernel
    } else {
        Origin::UserSpace
    }
}

/// The same behind a time: `host kernel: text`, `host app[12]: text`.
pub(super) fn strip_after_time<'a>(text: &'a str, line: &mut Line<'_>) -> &'a str {
    let Some(found) = AFTER_TIME.captures(text) else {
        return text;
    };
    if &found[2] == "kernel" && &found[1] != "Linux" {
        line.origin = Origin::Kernel;
        line.logged = true;
        return &text[found[0].len()..];
    }
    // The kernel's own `usb hub: text` has two words as well; only a process
    // number makes it a program.
    if found.get(3).is_some() {
        line.origin = Origin::UserSpace;
        return &text[found[0].len()..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for re in [
            &SYSLOG,
            &SYSLOG_5424,
            &FACILITY,
            &AFTER_TIME,
            &CLOCK,
            &LOGCAT,
            &SENDER,
            &QUOTE,
        ] {
            assert!(!re.as_str().is_empty());
        }
    }

    #[test]
    fn dmesg_with_wall_clock_is_the_kernels() {
        let mut line = Line::default();
        let rest = strip("[Sun Nov 22 18:01:02 2026] BUG: x", &mut line);
        assert_eq!(rest, "BUG: x");
        assert_eq!(line.origin, Origin::Kernel);
    }

    #[test]
    fn every_syslog_names_the_kernel_and_programs() {
        for (text, wanted) in [
            (
                "Mon Jan  1 00:00:05 2024 kern.warn kernel: BUG: x",
                Origin::Kernel,
            ),
            (
                "Jan  1 00:00:05 (none) kern.alert kernel: BUG: x",
                Origin::Kernel,
            ),
            ("Jan  1 00:00:05 kernel: BUG: x", Origin::Kernel),
            (
                "<4>1 2024-01-01T00:00:05Z box kernel - - - BUG: x",
                Origin::Kernel,
            ),
            ("kern  :warn  : BUG: x", Origin::Kernel),
            ("user  :info  : BUG: x", Origin::UserSpace),
            (
                "Mon Jan  1 00:00:05 2024 daemon.info dnsmasq[12]: BUG: x",
                Origin::UserSpace,
            ),
            (
                "<30>1 2024-01-01T00:00:05Z box app 12 - - BUG: x",
                Origin::UserSpace,
            ),
        ] {
            let mut line = Line::default();
            assert_eq!(strip(text, &mut line), "BUG: x", "{text}");
            assert_eq!(line.origin, wanted, "{text}");
        }
    }

    #[test]
    fn a_driver_with_two_words_is_no_program() {
        let mut line = Line::default();
        assert_eq!(
            strip_after_time("usb hub: text", &mut line),
            "usb hub: text"
        );
        assert_eq!(line.origin, Origin::Unknown);
    }
}
