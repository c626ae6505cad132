//! A crash's lines as maintainers want them in a mail: without time stamps,
//! module lists, registers, stack dumps and code bytes (Documentation/process/
//! submitting-patches.rst, "Backtraces in commit messages").

use std::sync::LazyLock;

use regex::Regex;

use super::decoded;
use crate::model::Crash;

/// Lines that say nothing to a reader who has the kernel.
const NOISE: &[&str] = &[
    r"^-+\[ (cut here|end trace .*) \]-+",
    r"^(Modules linked in|Code|Stack):",
    r"^(RSP|RAX|RDX|RBP|R10|R13|FS|CS|CR2|DR0|DR3|EFLAGS|EAX|ESI|DS|CR0|DR6|PKRU): ",
    r"^(RSP: [0-9a-f]{4}:|note: )",
    r"^\s*[0-9a-f]{16}( [0-9a-f]{16})*$",
    r"^\s*</?(TASK|IRQ|NMI|SOFTIRQ)>$",
    r"^Kernel Offset: ",
    // Where user space was: nothing of the kernel.
    r"^RIP: 0033:",
];

/// Only unwrapped because a test compiles each of them.
static NOISE_RE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&NOISE.join("|")).ok());
static STAMP_RE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(<\d+>)?\[ *\d+\.\d+\](\[ *[TC]\d+\])? ?").ok());

/// The lines worth sending, with places of the source and the code where they
/// are known; ASCII, none longer than `width`.
pub(super) fn trim(crash: &Crash, width: usize) -> Vec<String> {
    let frames = decoded::frames(crash);
    let code = decoded::behind_trace(crash).into_iter();
    crash
        .excerpt
        .iter()
        .map(|line| {
            let line = line.trim_end();
            match &*STAMP_RE {
                Some(stamp) => stamp.replace(line, "").into_owned(),
                None => line.to_owned(),
            }
        })
        .filter(|line| !line.trim().is_empty())
        .filter(|line| {
            let noise = NOISE_RE.as_ref();
            !noise.is_some_and(|noise| noise.is_match(line))
        })
        .flat_map(|line| match decoded::in_line(&line, &frames) {
            Some(told) => fold(&ascii(&told), width),
            None => vec![shorten(&ascii(&line), width)],
        })
        .chain(code.map(|line| shorten(&ascii(&line), width)))
        .collect()
}

/// Every character that a mailing list may mangle becomes `?`; tabs, a space.
pub(super) fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' '..='~' => c,
            '\t' => ' ',
            _ => '?',
        })
        .collect()
}

/// A line in several, where it is longer: nothing of it may be lost.
fn fold(line: &str, width: usize) -> Vec<String> {
    let indent = line.len() - line.trim_start().len();
    let further = " ".repeat(indent + 4);
    let options = textwrap::Options::new(width).subsequent_indent(&further);
    let wrapped = textwrap::wrap(line, options).into_iter();
    wrapped.map(std::borrow::Cow::into_owned).collect()
}

fn shorten(line: &str, width: usize) -> String {
    if line.len() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(3)).collect();
    format!("{kept}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn crash(excerpt: Vec<String>) -> Crash {
        Crash {
            excerpt,
            ..Crash::default()
        }
    }

    #[test]
    fn the_patterns_compile() {
        assert!(NOISE_RE.is_some() && STAMP_RE.is_some());
    }

    #[test]
    fn what_a_reader_needs_stays_and_the_rest_goes() {
        let log = lines(
            "[    1.251] ------------[ cut here ]------------\n\
             <0>[    1.251][   T87] kernel BUG at kernel/module/main.c:2998!\n\
             [    1.252] Modules linked in: dummy_module(O)\n\
             [    1.252] CPU: 1 PID: 87 Comm: cat Tainted: G           O       6.1.192 #2\n\
             [    1.253] RIP: 0010:module_flags+0xb5/0xc0\n\
             [    1.254] Code: 48 63 c2 <0f> 0b\n\
             [    1.254] RSP: 0018:ffff8880 EFLAGS: 00010246\n\
             [    1.254] RAX: 0000000000000003 RBX: ffffffffa03b5200\n\
             [    1.255]  <TASK>\n\
             [    1.256]  m_show+0x19c/0x1e0\n\
             [    1.259] ---[ end trace 0000000000000000 ]---\n",
        );
        let expected = lines(
            "kernel BUG at kernel/module/main.c:2998!\n\
             CPU: 1 PID: 87 Comm: cat Tainted: G           O       6.1.192 #2\n\
             RIP: 0010:module_flags+0xb5/0xc0\n \
             m_show+0x19c/0x1e0\n",
        );
        assert_eq!(trim(&crash(log), 75), expected);
    }

    #[test]
    fn places_of_the_source_are_folded_not_cut() {
        use crate::model::Frame;
        let place = "arch/x86/include/generated/asm/syscalls_64.h";
        let crash = Crash {
            call_trace: vec![Frame {
                function: "x64_sys_call".to_owned(),
                offset: Some(0xc8),
                source: Some(format!("{place}:18")),
                ..Frame::default()
            }],
            excerpt: lines("[    1.2]  x64_sys_call+0xc8/0xd6e"),
            ..Crash::default()
        };
        assert_eq!(
            trim(&crash, 60),
            [
                " x64_sys_call+0xc8".to_owned(),
                format!("     ({place}:18)")
            ]
        );
    }

    #[test]
    fn lines_are_ascii_and_short() {
        let trimmed = trim(&crash(vec!["é".repeat(90)]), 20);
        assert_eq!(trimmed, [format!("{}...", "?".repeat(17))]);
    }
}
