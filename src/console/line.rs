//! One line of a log: the prefixes taken off, the text left. Must not panic on
//! any bytes.

use std::borrow::Cow;

use super::tag::{self, Tag};
use super::{kmsg, prefix, stamp};

/// Who printed a line, with `CONFIG_PRINTK_CALLER` or by a vendor's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// `[T123]`: a task.
    Task(u32),
    /// `[C1]`: a CPU outside any task.
    Cpu(u32),
}

/// Where a line comes from, as far as its prefix says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// printk: it has printk's time or level, or syslog says `kernel:`.
    Kernel,
    /// A program: syslog or journald names it.
    UserSpace,
    /// Nothing says.
    #[default]
    Unknown,
}

/// One line of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line<'a> {
    /// Seconds since boot, by printk's clock.
    pub time_s: Option<f64>,
    /// Who printed it.
    pub caller: Option<Caller>,
    /// Its syslog level, 0 (emergency) to 7 (debug).
    pub level: Option<u8>,
    /// Where it comes from.
    pub origin: Origin,
    /// What a vendor's tag says.
    pub tag: Option<Tag>,
    /// Whether syslog or journald put a prefix before it.
    pub logged: bool,
    /// printk says that it lost lines just before this one.
    pub dropped_before: bool,
    /// What stood before the kernel's own text began, in bytes of the cleaned
    /// line.
    pub text_at: usize,
    /// The message itself, without colours, control characters and line end.
    pub text: Cow<'a, str>,
}

/// The line without colours, control characters and line end. Blanks that do
/// not break become such that do; bytes that are not UTF-8 become U+FFFD.
pub fn clean(raw: &[u8]) -> Cow<'_, str> {
    let raw = trim_end(raw);
    if raw.iter().all(|&b| (0x20..0x7f).contains(&b) || b == b'\t') {
        return String::from_utf8_lossy(raw);
    }
    let decoded = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(decoded.len());
    let mut chars = decoded.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            skip_escape(&mut chars);
        } else if c == '\u{a0}' {
            // Mail programs make these of the kernel's blanks.
            out.push(' ');
        } else if c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Skips what follows an ESC: a control sequence up to its final letter, or
/// one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if chars.peek() != Some(&'[') {
        chars.next();
        return;
    }
    chars.next();
    while let Some(&c) = chars.peek() {
        // A cut sequence must not eat the rest of the line.
        if !(c.is_ascii_digit() || matches!(c, ';' | '?' | '=')) {
            if c.is_ascii_alphabetic() {
                chars.next();
            }
            return;
        }
        chars.next();
    }
}

fn trim_end(raw: &[u8]) -> &[u8] {
    let end = raw
        .iter()
        .rposition(|b| !matches!(b, b'\r' | b'\n'))
        .map_or(0, |at| at + 1);
    &raw[..end]
}

/// Takes the prefixes off a line.
pub fn parse_line(raw: &[u8]) -> Line<'_> {
    match clean(raw) {
        Cow::Borrowed(text) => parse(text),
        Cow::Owned(text) => {
            let line = parse(&text);
            Line {
                text: Cow::Owned(line.text.into_owned()),
                time_s: line.time_s,
                caller: line.caller,
                level: line.level,
                origin: line.origin,
                tag: line.tag,
                logged: line.logged,
                dropped_before: line.dropped_before,
                text_at: line.text_at,
            }
        }
    }
}

fn parse(whole: &str) -> Line<'_> {
    let mut line = Line::default();
    if let Some(text) = kmsg::record(whole, &mut line) {
        line.text_at = whole.len() - text.len();
        line.text = Cow::Borrowed(text);
        return line;
    }
    let mut rest = prefix::strip(whole, &mut line);
    rest = stamp::strip(rest, &mut line);
    // `journalctl -o short-monotonic` and the like: the time, then the rest.
    if line.time_s.is_some() {
        if let Some((tag, behind)) = tag::strip(rest) {
            line.caller = line.caller.or_else(|| tag.caller());
            line.tag = Some(tag);
            rest = behind;
        }
        rest = prefix::strip_after_time(rest, &mut line);
    } else if line.origin != Origin::UserSpace {
        rest = stamp::inside(rest, &mut line).unwrap_or(rest);
    }
    line.text_at = whole.len() - rest.len();
    line.text = Cow::Borrowed(rest);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> (Option<f64>, String) {
        let line = parse_line(raw.as_bytes());
        (line.time_s, line.text.into_owned())
    }

    #[test]
    fn printk_time_and_caller_come_off() {
        let line = parse_line(b"[    1.186141][   T57] BUG: kernel NULL pointer\r\n");
        assert_eq!(line.time_s, Some(1.186_141));
        assert_eq!(line.caller, Some(Caller::Task(57)));
        assert_eq!(line.origin, Origin::Kernel);
        assert_eq!(line.text, "BUG: kernel NULL pointer");
    }

    #[test]
    fn a_level_stands_before_the_time() {
        let line = parse_line(b"<4>[   12.000001] WARNING: x");
        assert_eq!((line.level, line.time_s), (Some(4), Some(12.000_001)));
        assert_eq!(line.text, "WARNING: x");
    }

    #[test]
    fn a_level_with_a_facility_is_a_programs() {
        assert_eq!(parse_line(b"<30>systemd[1]: hi").origin, Origin::UserSpace);
    }

    #[test]
    fn syslog_names_the_kernel_or_a_program() {
        let kernel = parse_line(b"Nov 22 18:01:02 host kernel: [   5.000000] Oops: 0000 [#1]");
        assert_eq!(kernel.origin, Origin::Kernel);
        assert_eq!(kernel.time_s, Some(5.0));
        assert_eq!(kernel.text, "Oops: 0000 [#1]");
        let program = parse_line(b"Nov 22 18:01:02 host app[12]: BUG: mine");
        assert_eq!(program.origin, Origin::UserSpace);
        assert_eq!(program.text, "BUG: mine");
        let iso = parse_line(b"2026-11-22T18:01:02.000123+00:00 host kernel: Oops: 0002");
        assert_eq!(iso.origin, Origin::Kernel);
        assert_eq!(iso.text, "Oops: 0002");
        let monotonic = parse_line(b"[   12.000000] host app[3]: BUG: mine");
        assert_eq!(monotonic.origin, Origin::UserSpace);
    }

    #[test]
    fn kmsg_records_say_level_time_and_caller() {
        let line = parse_line(b"4,339,5140900,-,caller=T12;BUG: x");
        assert_eq!(line.level, Some(4));
        assert_eq!(line.time_s, Some(5.1409));
        assert_eq!(line.caller, Some(Caller::Task(12)));
        assert_eq!(line.text, "BUG: x");
    }

    #[test]
    fn a_program_may_have_begun_the_kernels_line() {
        assert_eq!(
            text("host login: [   60.5] BUG: x"),
            (Some(60.5), "BUG: x".to_owned())
        );
    }

    #[test]
    fn lost_lines_are_noticed() {
        let line = parse_line(b"** 93 printk messages dropped ** [  322.962139] BUG: x");
        assert!(line.dropped_before);
        assert_eq!(line.text, "BUG: x");
    }

    #[test]
    fn colours_and_noise_come_off() {
        let raw = b"\x1b[32m[    1.000000] \x1b[0m\x1b[31mBUG:\x1b[0m \x00x\xff";
        assert_eq!(parse_line(raw).text, "BUG: x\u{fffd}");
    }

    #[test]
    fn a_programs_clock_is_not_printks() {
        let line = parse_line(b"[    12.345] (II) modeset(0): glamor");
        assert_eq!((line.origin, line.time_s), (Origin::Unknown, Some(12.345)));
    }

    #[test]
    fn a_bare_line_stays_as_it_is() {
        assert_eq!(
            text(" kernel BUG at x.c:1!"),
            (None, " kernel BUG at x.c:1!".to_owned())
        );
        assert_eq!(text("[ BUG: bad unlock balance detected! ]").0, None);
    }
}
