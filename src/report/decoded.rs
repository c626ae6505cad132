//! A crash's trace as it reads with debug information: places of the source
//! behind each function, as `scripts/decode_stacktrace.sh` of the kernel's source
//! has them, and the code around the faulting instruction.

use std::sync::LazyLock;

use regex::Regex;

use crate::model::{CodeInstruction, Crash};

/// Only unwrapped because a test compiles it.
static FRAME_RE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"([\w.$]+)\+0x([0-9a-f]+)/0x([0-9a-f]+)").ok());

/// A frame with the places that are known of it.
pub(super) struct Decoded<'a> {
    function: &'a str,
    offset: Option<u64>,
    /// Of functions that were put into it first, innermost first.
    places: Vec<&'a str>,
}

/// The frames of which places are known: the instruction pointer's first.
pub(super) fn frames(crash: &Crash) -> Vec<Decoded<'_>> {
    let mut all = Vec::new();
    let faulting: Vec<&str> = crash
        .faulting_at
        .iter()
        .filter_map(|frame| frame.source.as_deref())
        .collect();
    if let (Some(frame), false) = (&crash.faulting_frame, faulting.is_empty()) {
        all.push(Decoded {
            function: &frame.function,
            offset: frame.offset,
            places: faulting,
        });
    }
    let mut inlined = Vec::new();
    for frame in &crash.call_trace {
        inlined.extend(frame.source.as_deref());
        if frame.inlined {
            continue;
        }
        let places = std::mem::take(&mut inlined);
        if !places.is_empty() {
            all.push(Decoded {
                function: &frame.function,
                offset: frame.offset,
                places,
            });
        }
    }
    all
}

/// `m_show+0x13b (kernel/module/procfs.c:94)`.
pub(super) fn told(frame: &Decoded<'_>) -> String {
    let offset = frame
        .offset
        .map_or_else(String::new, |offset| format!("+{offset:#x}"));
    format!("{}{offset} ({})", frame.function, frame.places.join(" "))
}

/// A line of the log with the places of the frame that it names, if they are
/// known.
pub(super) fn in_line(line: &str, frames: &[Decoded<'_>]) -> Option<String> {
    let found = FRAME_RE.as_ref()?.captures(line)?;
    let offset = u64::from_str_radix(&found[2], 16).ok();
    let known = frames
        .iter()
        .find(|frame| frame.function == &found[1] && frame.offset == offset)?;
    Some(line.replacen(&found[0], &told(known), 1))
}

/// The code around the faulting instruction, which is marked; and why no place
/// is told, if a vmlinux was of another build.
pub(super) fn behind_trace(crash: &Crash) -> Vec<String> {
    let mut lines: Vec<String> = code(&crash.instructions);
    if let Some(reason) = &crash.not_decoded {
        lines.push(format!("(no lines of the source: {reason})"));
    }
    lines
}

fn code(instructions: &[CodeInstruction]) -> Vec<String> {
    let widths = instructions.iter().map(|one| one.bytes.len());
    let width = widths.max().unwrap_or(0);
    instructions
        .iter()
        .map(|one| {
            let mark = if one.offset == 0 { "->" } else { "  " };
            format!("{mark} {:width$}  {}", one.bytes, one.text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Frame;

    fn frame(function: &str, offset: Option<u64>, source: &str) -> Frame {
        Frame {
            function: function.to_owned(),
            offset,
            source: Some(source.to_owned()),
            inlined: offset.is_none(),
            ..Frame::default()
        }
    }

    fn crash() -> Crash {
        Crash {
            faulting_frame: Some(Frame {
                inlined: false,
                ..frame("module_flags", Some(0xa), "")
            }),
            faulting_at: vec![frame("module_flags", None, "kernel/module/main.c:2998")],
            call_trace: vec![
                frame("pde_read", None, "fs/proc/inode.c:316"),
                frame("proc_reg_read", Some(0x33), "fs/proc/inode.c:326"),
            ],
            ..Crash::default()
        }
    }

    #[test]
    fn a_line_gets_the_places_of_its_frame_and_no_other() {
        assert!(FRAME_RE.is_some());
        let crash = crash();
        let frames = frames(&crash);
        let line = |text| in_line(text, &frames);
        assert_eq!(
            line("RIP: 0010:module_flags+0xa/0xb5").unwrap(),
            "RIP: 0010:module_flags+0xa (kernel/module/main.c:2998)"
        );
        assert_eq!(
            line(" ? proc_reg_read+0x33/0x77").unwrap(),
            " ? proc_reg_read+0x33 (fs/proc/inode.c:316 fs/proc/inode.c:326)"
        );
        for other in [
            " proc_reg_read+0x34/0x77",
            " vfs_read+0x33/0x77",
            "Call Trace:",
        ] {
            assert_eq!(line(other), None);
        }
    }

    #[test]
    fn the_faulting_instruction_is_marked() {
        let one = |offset, bytes: &str, text: &str| CodeInstruction {
            offset,
            bytes: bytes.to_owned(),
            text: text.to_owned(),
        };
        let crash = Crash {
            instructions: vec![one(-3, "83 fa 03", "cmp $3,%edx"), one(0, "0f 0b", "ud2")],
            not_decoded: Some("vmlinux is of 6.1.1, and the log of 6.1.2".to_owned()),
            ..Crash::default()
        };
        assert_eq!(
            behind_trace(&crash),
            [
                "   83 fa 03  cmp $3,%edx",
                "-> 0f 0b     ud2",
                "(no lines of the source: vmlinux is of 6.1.1, and the log of 6.1.2)"
            ]
        );
    }
}
