//! Normalised titles: what changes from one machine or day to the next goes
//! out, what tells crashes apart stays.

use std::sync::LazyLock;

use regex::Regex;

/// Longest title. What is longer is two lines written into one.
const LONGEST: usize = 120;

/// A pattern of this file.
fn pattern(text: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "constants of this file; the tests use each"
    )]
    Regex::new(text).expect("a pattern of this file compiles")
}

/// What changes, and what is put in its place. In this order.
static CHANGES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        // Fuzzers number their processes.
        (r"syz-executor\.?[0-9]+(?:[/:][0-9]+)?", "syz-executor"),
        (r"syzkaller[0-9]+(?:[/:][0-9]+)?", "syzkaller"),
        // Offsets come before addresses: they look like some.
        (r"([a-zA-Z][a-zA-Z0-9_.]+)\+0x[0-9a-f]+/0x[0-9a-f]+", "$1"),
        (r"\b[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,7}\b:*|\b[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?", "IPV6ADDR"),
        (r"([^a-zA-Z0-9])(?:0x)?[0-9a-f]{6,}", "${1}ADDR"),
        (r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", "IP"),
        (r"(\.\w+)(?::[0-9]+)+", "$1:LINE"),
        (r"CPU#[0-9]+", "CPU"),
    ]
    .into_iter()
    .map(|(from, to)| (pattern(from), to))
    .collect()
});

/// A number that is no part of a name; neighbours may share a separator.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\W)\d+(\W|$)"));

/// A number in a name is part of it, unless it is this long.
static LONG_NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d{7,}"));

/// Normalises a title.
pub(super) fn normalise(title: &str) -> String {
    let mut text = title.to_owned();
    for (from, to) in CHANGES.iter() {
        if from.is_match(&text) {
            text = from.replace_all(&text, *to).into_owned();
        }
    }
    // Twice: in `1,2` the comma ends one match and would begin the next.
    for _ in 0..2 {
        text = NUMBER.replace_all(&text, "${1}NUM${2}").into_owned();
    }
    text = LONG_NUMBER.replace_all(&text, "NUM").into_owned();
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars().take(LONGEST) {
        let c = if c == '\t' { ' ' } else { c };
        if !(' '..='~').contains(&c) || (c == ' ' && (out.is_empty() || out.ends_with(' '))) {
            continue;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out
}

/// The function's own name: without the compiler's suffixes
/// (`.isra.0`, `.part.1`, `.cold`).
pub(super) fn plain(function: &str) -> &str {
    function.split_once('.').map_or(function, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_goes_out() {
        assert_eq!(
            normalise("BUG: x at ffff88081e807300 in m_show+0x19c/0x1e0, CPU#37: 12,13"),
            "BUG: x at ADDR in m_show, CPU: NUM,NUM"
        );
        assert_eq!(normalise("a at mm/slub.c:123!"), "a at mm/slub.c:LINE!");
        assert_eq!(
            normalise("BUG: Address fc00:: on device lo is missing its host route."),
            "BUG: Address IPV6ADDR on device lo is missing its host route."
        );
        assert_eq!(normalise("in nl802154_dump"), "in nl802154_dump");
        assert_eq!(
            normalise("INFO: task syz-executor3:12 in x"),
            "INFO: task syz-executor in x"
        );
    }

    #[test]
    fn an_endless_line_makes_no_endless_title() {
        assert!(normalise(&"BUG: a ".repeat(9999)).len() <= LONGEST);
    }
}
