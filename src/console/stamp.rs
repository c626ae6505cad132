//! printk's own prefix: `<level>`, `[time]`, `[caller]`, and the notice of
//! lost lines. Format: `print_prefix()` and `print_caller()` in printk.c.

use super::line::{Caller, Line, Origin};

/// Takes printk's prefix off the front.
pub(super) fn strip<'a>(text: &'a str, line: &mut Line<'_>) -> &'a str {
    let mut rest = text;
    if let Some(after) = dropped_notice(rest) {
        line.dropped_before = true;
        line.origin = Origin::Kernel;
        rest = after;
    }
    // 2.4 begins a panic's line with a blank before its level.
    if let Some((code, after)) = level(rest.strip_prefix(' ').unwrap_or(rest)) {
        line.level = Some(code & 7);
        // The facility of printk is 0; a program that writes to /dev/kmsg
        // gets another.
        line.origin = if code >> 3 == 0 {
            Origin::Kernel
        } else {
            Origin::UserSpace
        };
        rest = after;
    }
    if let Some((time, after)) = memory_image(rest) {
        line.time_s = Some(time);
        rest = after;
        if let Some((code, after)) = level(rest) {
            line.level = Some(code & 7);
            line.origin = Origin::Kernel;
            rest = wall_clock(after.trim_start_matches(' '));
        }
    } else if let Some((time, after)) = time(rest) {
        line.time_s = Some(time);
        if line.origin == Origin::Unknown && by_printk(rest) {
            line.origin = Origin::Kernel;
        }
        rest = after;
        while let Some((caller, after)) = caller(rest) {
            line.caller = Some(caller);
            rest = after;
        }
        rest = rest.strip_prefix(' ').unwrap_or(rest);
        // Two clocks: a serial logger's before printk's own.
        if let Some((time, after)) = self::time(rest) {
            line.time_s = Some(time);
            rest = after.strip_prefix(' ').unwrap_or(after);
        }
    }
    rest
}

/// The text behind a stamp that stands inside the line: a program had begun
/// the line when the kernel spoke.
pub(super) fn inside<'a>(text: &'a str, line: &mut Line<'_>) -> Option<&'a str> {
    let mut from = 0;
    while let Some(at) = text[from..].find('[') {
        let at = from + at;
        if time(&text[at..]).is_some() {
            return Some(strip(&text[at..], line));
        }
        from = at + 1;
    }
    None
}

/// Whether a time is printk's: that has six decimals, always. The X server's
/// has three.
fn by_printk(text: &str) -> bool {
    let decimals = text.split_once('.').map_or("", |(_, rest)| rest);
    decimals.find(|c: char| !c.is_ascii_digit()) == Some(6)
}

/// `[    1.186141]`; vendors add a unit or the wall clock:
/// `[    1.186141s]`, `[    1.186141 / 07-25 10:15:21.122]`.
fn time(text: &str) -> Option<(f64, &str)> {
    let inner = text.strip_prefix('[')?.trim_start_matches(' ');
    let (number, rest) = inner.split_once(']')?;
    let number = number.split_once(" / ").map_or(number, |(time, _)| time);
    let number = number.strip_suffix('s').unwrap_or(number);
    let (whole, fraction) = number.split_once('.')?;
    let digits = |s: &str| !s.is_empty() && s.len() < 12 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    Some((number.parse().ok()?, rest))
}

/// `   12.345678: `, as tools write it that read the log out of an image of the
/// memory (Qualcomm's parser of RAM dumps); a level follows, `  <6> `.
fn memory_image(text: &str) -> Option<(f64, &str)> {
    let inner = text.trim_start_matches(' ');
    if !inner.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (number, rest) = inner.split_once(": ")?;
    let (whole, fraction) = number.split_once('.')?;
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.len() > 11 || fraction.len() != 6 || !digits(whole) || !digits(fraction) {
        return None;
    }
    Some((number.parse().ok()?, rest.trim_start_matches(' ')))
}

/// The text behind `(01-28 07:22:33.304698634) `.
fn wall_clock(text: &str) -> &str {
    let inside = text
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(") "));
    match inside {
        Some((clock, rest))
            if clock
                .bytes()
                .all(|b| b.is_ascii_digit() || b"-:. ".contains(&b)) =>
        {
            rest
        }
        _ => text,
    }
}

/// `[   T57]` or `[    C1]`
fn caller(text: &str) -> Option<(Caller, &str)> {
    let inner = text.strip_prefix('[')?.trim_start_matches(' ');
    let (id, rest) = inner.split_once(']')?;
    if let Some(task) = id.strip_prefix('T') {
        return Some((Caller::Task(task.parse().ok()?), rest));
    }
    let cpu = id.strip_prefix('C')?;
    Some((Caller::Cpu(cpu.parse().ok()?), rest))
}

/// `<4>`: level and facility.
fn level(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    if number.is_empty() || number.len() > 3 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, rest))
}

/// `** 93 printk messages dropped **`, with whatever stands behind it.
fn dropped_notice(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("** ")?;
    let (count, rest) = rest.split_once(" printk messages dropped")?;
    if !count.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start_matches([' ', '*']);
    Some(rest)
}
