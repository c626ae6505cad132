//! A function's name as a report writes it: `name+0x1/0x2 [module]`, with the
//! dot of the 64-bit powerpc ABI, as klogd, ksymoops or old x86-64 kernels
//! wrote it, or with the place that a symboliser put in the offset's place.

use std::sync::LazyLock;

use regex::Regex;

use crate::model::Frame;

/// A function and the text behind it.
pub(super) struct Symbol<'a> {
    pub(super) frame: Frame,
    pub(super) behind: &'a str,
}

/// A pattern of this folder.
pub(super) fn pattern(text: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "constants of this folder; the tests use each"
    )]
    Regex::new(text).expect("a pattern of this folder compiles")
}

/// `name+0x1/0x2 [module]`; `%pS` of lib/vsprintf.c. The dot is powerpc's;
/// x86-64 of 2.6.16 to 2.6.26 wrote `:module:name+0x1/0x2`.
static OFFSET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:\d+:)?(?::([\w-]+):)?\.?([A-Za-z_$][\w.$:<>-]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: *\[([\w-]+)[^\]]*\])?",
    )
});

/// `scripts/decode_stacktrace.sh`: `name (file.c:12 (discriminator 3) file.h:4)
/// module`.
static DECODED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^\.?([A-Za-z_$][\w.$]*) \(((?:[\w.~/+-]+\.\w{1,3}:\d+|\?\?:[?0]))(?: \(discriminator \d+\)| [\w.~/+-]+\.\w{1,3}:\d+)*\)(?: +\[?([A-Za-z_][\w-]*)\]?$)?",
    )
});

/// klogd: `[name+110/112]` or `[module:name+110/112]`, decimal.
static KLOGD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\[(?:([\w-]+):)?([A-Za-z_][\w.]*)\+(\d+)/(\d+)\]"));

/// x86-64 before 2.6.16: `{name+81}` or `{:module:name+81}`, decimal.
static BRACES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\{(?::([\w-]+):)?([A-Za-z_][\w.]*)\+(\d+)\}"));

/// ksymoops: `<name+1f/30>` or `<[module]name+1f/30>`, hexadecimal without 0x.
static KSYMOOPS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^<(?:\[([\w-]+)\])?([A-Za-z_][\w.]*)\+([0-9a-f]+)/([0-9a-f]+)>"));

fn number(text: Option<regex::Match<'_>>, radix: u32) -> Option<u64> {
    u64::from_str_radix(text?.as_str(), radix).ok()
}

fn word(text: Option<regex::Match<'_>>) -> Option<String> {
    text.map(|found| found.as_str().to_owned())
}

/// The function whose name the text begins with.
pub(super) fn symbol(text: &str) -> Option<Symbol<'_>> {
    let text = text.trim_start();
    if let Some(found) = KLOGD.captures(text) {
        let behind = &text[found[0].len()..];
        // The kernel's own name, where it prints one, is the better one: klogd
        // may have had another kernel's map.
        if let Some(own) = OFFSET.captures(behind.trim_start()) {
            return Some(with_offset(&own, behind.trim_start()));
        }
        return Some(Symbol {
            frame: Frame {
                function: found[2].to_owned(),
                offset: number(found.get(3), 10),
                size: number(found.get(4), 10),
                module: word(found.get(1)),
                reliable: true,
                ..Frame::default()
            },
            behind,
        });
    }
    if let Some(found) = BRACES.captures(text) {
        return Some(Symbol {
            frame: Frame {
                function: found[2].to_owned(),
                offset: number(found.get(3), 10),
                module: word(found.get(1)),
                reliable: true,
                ..Frame::default()
            },
            behind: &text[found[0].len()..],
        });
    }
    if let Some(found) = KSYMOOPS.captures(text) {
        return Some(Symbol {
            frame: Frame {
                function: found[2].to_owned(),
                offset: number(found.get(3), 16),
                size: number(found.get(4), 16),
                module: word(found.get(1)),
                reliable: true,
                ..Frame::default()
            },
            behind: &text[found[0].len()..],
        });
    }
    let text = text.trim_start_matches(['<', '(']);
    if let Some(found) = OFFSET.captures(text) {
        return Some(with_offset(&found, text));
    }
    let found = DECODED.captures(text)?;
    Some(Symbol {
        frame: Frame {
            function: found[1].to_owned(),
            module: word(found.get(3)),
            reliable: true,
            source: Some(found[2].to_owned()).filter(|place| !place.starts_with('?')),
            ..Frame::default()
        },
        behind: &text[found[0].len()..],
    })
}

fn with_offset<'a>(found: &regex::Captures<'_>, text: &'a str) -> Symbol<'a> {
    Symbol {
        frame: Frame {
            function: found[2].to_owned(),
            offset: number(found.get(3), 16),
            size: number(found.get(4), 16),
            module: word(found.get(5).or(found.get(1))),
            reliable: true,
            ..Frame::default()
        },
        behind: &text[found[0].len()..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> String {
        symbol(text)
            .unwrap_or_else(|| panic!("{text}"))
            .frame
            .function
    }

    #[test]
    fn a_function_is_read_in_every_notation() {
        for text in [
            "seq_read+0x16e/0x3b0",
            ".seq_read+0x16e/0x3b0",
            "<seq_read+0x16e/0x3b0>",
            "(seq_read+0x16e/0x3b0)",
            ":dummy:seq_read+0x16e/0x3b0",
            "seq_read (fs/seq_file.c:12 (discriminator 13))",
            "seq_read (fs/seq_file.c:12 include/linux/x.h:34) dummy",
            "[seq_read+110/112]",
            "[wrong_map+110/112] seq_read+0x6e/0x70",
            "[dummy:seq_read+110/112]",
            "{seq_read+81}",
            "{:dummy:seq_read+81}",
            "<seq_read+16e/3b0>",
            "<[dummy]seq_read+16e/3b0>",
        ] {
            assert_eq!(name(text), "seq_read", "{text}");
        }
    }

    #[test]
    fn words_are_no_function() {
        for text in ["page dumped because: x", "(detected by 3)", "Comm: a (b)"] {
            assert!(symbol(text).is_none(), "{text}");
        }
    }
}
