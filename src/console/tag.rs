//! The tag that vendors' kernels print between time and text: which CPU
//! printed the line, in which task. Several Android trees have one each; every
//! line of such a log carries it.

use std::sync::LazyLock;

use regex::Regex;

use super::line::Caller;

/// CPU and task, as a vendor's tag tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The CPU's number.
    pub cpu: Option<u32>,
    /// The task's number.
    pub pid: Option<u32>,
    /// The task's name.
    pub comm: Option<String>,
}

impl Tag {
    /// Who printed the line: the task, or the CPU where task 0 idles.
    pub(super) fn caller(&self) -> Option<Caller> {
        match (self.pid, self.cpu) {
            (Some(0) | None, Some(cpu)) => Some(Caller::Cpu(cpu)),
            (Some(pid), _) => Some(Caller::Task(pid)),
            (None, None) => None,
        }
    }
}

/// A pattern of this file.
fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "a constant of this file, tested below")]
    Regex::new(text).expect("a pattern that compiles")
}

/// The forms, each with the groups `cpu`, `pid`, `comm` where it has them.
static FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // Samsung: `[3:    kworker/3:0:14402] `, `I[7:      swapper/0:    1] `.
        r"^ *[A-Z ]?\[ *(?P<cpu>\d{1,3}): *(?P<comm>[^\[\]]{1,40}?): *(?P<pid>\d{1,7})\] ?",
        // Mediatek: `(3)[1234:comm]`, `-(0)[0:swapper/0]`, `<1>.(1)[24:x]`.
        r"^ *(?:<\d+>\.?)?[-.]?\((?P<cpu>\d{1,3})\)\[(?P<pid>\d{1,7}):(?P<comm>[^\]]{0,40})\] ?",
        // Hisilicon: `[pid:1,cpu0,swapper/0]`, `[pid:1,cpu0,in irq,3]`.
        r"^ *(?:\[\d{4}[^\]]*\])?\[pid:(?P<pid>\d{1,7}),cpu(?P<cpu>\d{1,3}),(?P<comm>[^\],]{1,40})(?:,\d+)?\] ?",
        // LG, Sony: `/ 07-25 10:15:21.122][4] `, the time already taken off.
        r"^\[(?P<cpu>\d{1,2})\] (?P<comm>)(?P<pid>)",
        // Spreadtrum: `c3 `, `c3 1234 (5678) `.
        r"^ *c(?P<cpu>\d{1,2}) +(?P<comm>)(?P<pid>\d{1,7})? *(?:\(\d+\))? +",
    ]
    .into_iter()
    .map(pattern)
    .collect()
});

/// Takes a vendor's tag off the text that stands behind a time.
pub(super) fn strip(text: &str) -> Option<(Tag, &str)> {
    // Most lines have none; no pattern needs to look at those.
    let first = text.trim_start_matches([' ', '-', '.']).as_bytes();
    let worth_it = match first.first()? {
        b'[' | b'(' | b'<' | b'c' => true,
        letter => letter.is_ascii_uppercase() && first.get(1) == Some(&b'['),
    };
    if !worth_it {
        return None;
    }
    FORMS.iter().find_map(|form| {
        let found = form.captures(text)?;
        let number = |name| {
            found
                .name(name)
                .and_then(|group| group.as_str().parse().ok())
        };
        let comm = found
            .name("comm")
            .map(|group| group.as_str().trim().to_owned())
            .filter(|comm| !comm.is_empty());
        let tag = Tag {
            cpu: number("cpu"),
            pid: number("pid"),
            comm,
        };
        Some((tag, &text[found[0].len()..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> (Option<u32>, Option<u32>, Option<String>, &str) {
        let (tag, rest) = strip(text).unwrap_or_else(|| panic!("{text}"));
        (tag.cpu, tag.pid, tag.comm, rest)
    }

    #[test]
    fn every_vendors_tag_tells_cpu_and_task() {
        let comm = |name: &str| Some(name.to_owned());
        assert_eq!(
            tag(" [3:    kworker/3:0:14402] text"),
            (Some(3), Some(14402), comm("kworker/3:0"), "text")
        );
        assert_eq!(
            tag("I[7:      swapper/0:    1] text"),
            (Some(7), Some(1), comm("swapper/0"), "text")
        );
        assert_eq!(
            tag("(3)[1234:comm]text"),
            (Some(3), Some(1234), comm("comm"), "text")
        );
        assert_eq!(
            tag(" -(0)[0:swapper/0]text"),
            (Some(0), Some(0), comm("swapper/0"), "text")
        );
        assert_eq!(
            tag("[pid:1,cpu2,init,3]text"),
            (Some(2), Some(1), comm("init"), "text")
        );
        assert_eq!(tag("c1  text").0, Some(1));
    }

    #[test]
    fn the_kernels_own_brackets_are_no_tag() {
        for text in [
            "[drm] Initialized",
            "[ BUG: bad unlock balance detected! ]",
            "[<c0123456>] foo+0x1/0x2",
            "[Firmware Bug]: x",
            "(NULL device *): x",
            "cfg80211: x",
            "------------[ cut here ]------------",
        ] {
            assert_eq!(strip(text), None, "{text}");
        }
    }
}
