//! Records of `/dev/kmsg`: `prio,seq,usec,flags[,key=value…];text`.
//! Format: Documentation/ABI/testing/dev-kmsg.

use super::line::{Caller, Line, Origin, parse_line};

/// Parses one record as `/dev/kmsg` yields it. Nothing if it is none.
pub fn parse_kmsg(raw: &[u8]) -> Option<Line<'_>> {
    let line = parse_line(raw);
    (line.level.is_some() && line.time_s.is_some()).then_some(line)
}

/// Takes a record's head off, if the line is one.
pub(super) fn record<'a>(text: &'a str, line: &mut Line<'_>) -> Option<&'a str> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (head, body) = text.split_once(';')?;
    let mut fields = head.split(',');
    let prio: u32 = fields.next()?.parse().ok()?;
    let _sequence: u64 = fields.next()?.parse().ok()?;
    let usec: u64 = fields.next()?.parse().ok()?;
    let flags = fields.next()?;
    if flags.is_empty() || flags.len() > 2 {
        return None;
    }
    line.level = u8::try_from(prio & 7).ok();
    line.time_s = Some(usec as f64 / 1e6);
    line.origin = if prio >> 3 == 0 {
        Origin::Kernel
    } else {
        Origin::UserSpace
    };
    line.caller = fields
        .filter_map(|field| field.strip_prefix("caller="))
        .find_map(caller);
    Some(body)
}

/// `T12` or `C0`, as `print_caller()` writes it.
fn caller(id: &str) -> Option<Caller> {
    let number = id.get(1..)?.parse().ok()?;
    match id.as_bytes().first()? {
        b'T' => Some(Caller::Task(number)),
        b'C' => Some(Caller::Cpu(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_behind_the_caller_does_not_clear_it() {
        let line = parse_line(b"4,339,5140900,-,caller=T12,other=1;BUG: x");
        assert_eq!(line.caller, Some(Caller::Task(12)));
        let before = parse_line(b"4,339,5140900,-,other=1,caller=C3;BUG: x");
        assert_eq!(before.caller, Some(Caller::Cpu(3)));
    }
}
