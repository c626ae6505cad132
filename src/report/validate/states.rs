//! Checks of the module's states in a report: whether `ok` says what expected
//! and seen say, and whether none were taken out.

use super::Mismatch;
use crate::model::{Report, StateCheck};

pub(super) fn check(report: &Report) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let made = report.terms.states_checked.unwrap_or(0);
    let kept = u32::try_from(report.states.len()).unwrap_or(u32::MAX);
    if made > kept {
        found.push(Mismatch::new(
            "states",
            format!("{kept} checks"),
            format!("{made} checks were made"),
        ));
    }
    for (i, check) in report.states.iter().enumerate() {
        if check.ok != agrees(check) {
            let field = format!("states[{i}].ok");
            found.push(Mismatch::new(field, check.ok, agrees(check)));
        }
    }
    found
}

/// Whether what was seen is what was expected: the same text, or a number in the
/// range that the text names.
fn agrees(check: &StateCheck) -> bool {
    let StateCheck { expected, seen, .. } = check;
    if expected == seen {
        return true;
    }
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse::<u64>().ok(),
    };
    let Some(value) = number(seen) else {
        return false;
    };
    // "more than 16384, its size when live"
    if let Some(rest) = expected.strip_prefix("more than ") {
        let limit = rest.split(',').next().and_then(number);
        return limit.is_some_and(|limit| value > limit);
    }
    // "a page in 0xffffffffa0000000..0xffffffffff600000"
    if let Some(range) = expected.strip_prefix("a page in ") {
        let ends = range.split_once("..");
        let ends = ends.and_then(|(from, to)| Some(number(from)?..number(to)?));
        return ends.is_some_and(|ends| ends.contains(&value)) && value.is_multiple_of(4096);
    }
    if expected == "a page, not 0" {
        return value != 0 && value.is_multiple_of(4096);
    }
    // "0x0000000000000000, since kptr_restrict is 2"
    expected
        .split_once(", ")
        .and_then(|(wanted, _)| number(wanted))
        == Some(value)
}
