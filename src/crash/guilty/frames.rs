//! Which frames of a report a selector looks at, and in which order. Whether
//! one of them is skipped is not decided here.

use crate::crash::stack_line::{ProgramCounter, StackLine};
use crate::crash::title::plain;
use crate::model::Frame;

/// The lines of one report, and whether frames that the kernel is not sure of
/// count: on a stack without sure frames there is nothing else.
#[derive(Clone, Copy)]
pub(super) struct Frames<'a> {
    pub(super) lines: &'a [StackLine],
    pub(super) unsure: bool,
}

impl<'a> Frames<'a> {
    /// The same of a part of the lines.
    pub(super) fn of(self, lines: &'a [StackLine]) -> Self {
        Self { lines, ..self }
    }

    /// The lines behind the first that the condition holds for.
    pub(super) fn behind(self, condition: impl Fn(&StackLine) -> bool) -> Option<Self> {
        let at = self.lines.iter().position(condition)?;
        Some(self.of(&self.lines[at + 1..]))
    }

    /// The lines from the first on that the condition holds for.
    pub(super) fn from(self, condition: impl Fn(&StackLine) -> bool) -> Option<Self> {
        let at = self.lines.iter().position(condition)?;
        Some(self.of(&self.lines[at..]))
    }

    /// A frame's name, if a title may name it.
    fn name(self, frame: &Frame) -> Option<String> {
        ((frame.reliable || self.unsure) && !frame.inlined)
            .then(|| plain(&frame.function).to_owned())
    }

    /// The names of all frames.
    pub(super) fn names(self) -> impl Iterator<Item = String> + use<'a> {
        self.lines.iter().flat_map(move |line| {
            // Where an interrupt's stack ends, the frame is certain.
            let certain = line.text.contains("<EOI>") || line.text.contains("<<EOE>>");
            line.frames.iter().filter_map(move |frame| {
                if certain && !frame.inlined {
                    return Some(plain(&frame.function).to_owned());
                }
                self.name(frame)
            })
        })
    }

    /// The frames up to the next heading.
    pub(super) fn until_heading(self) -> Vec<String> {
        let end = self
            .lines
            .iter()
            .position(|line| line.heading)
            .unwrap_or(self.lines.len());
        self.of(&self.lines[..end]).names().collect()
    }

    /// The frames below the next heading of a call trace, those on its own
    /// line included. 32-bit arm prints none.
    pub(super) fn below_heading(self) -> Vec<String> {
        let heading = self
            .lines
            .iter()
            .position(|line| line.heading && call_trace(&line.text));
        let Some(at) = heading else {
            return self
                .lines
                .iter()
                .enumerate()
                .filter(|(_, line)| line.frames.len() > 1)
                .flat_map(|(at, _)| self.of(&self.lines[at..=at]).names())
                .collect();
        };
        let mut names: Vec<String> = self.of(&self.lines[at..=at]).names().collect();
        names.extend(self.of(&self.lines[at + 1..]).until_heading());
        names
    }

    /// The same for reports that may list frames without a heading.
    pub(super) fn below_heading_or_not(self) -> Vec<String> {
        let first_frame = self.lines.iter().position(|line| !line.frames.is_empty());
        let heading = self.lines.iter().position(|line| line.heading);
        match (first_frame, heading) {
            (Some(frame), Some(heading)) if frame < heading => self.until_heading(),
            (Some(_), None) => self.until_heading(),
            _ => self.below_heading(),
        }
    }

    /// The first program counter and where it stands.
    pub(super) fn pc(self) -> Option<(usize, &'a ProgramCounter)> {
        self.lines
            .iter()
            .enumerate()
            .find_map(|(at, line)| Some((at, line.pc.as_ref()?)))
    }

    /// The name of the function that the program counter is in.
    pub(super) fn pc_name(self) -> Option<String> {
        let (_, pc) = self.pc()?;
        self.name(pc.frame.as_ref()?)
    }

    /// The program counter, the caller in the link register where the function
    /// had no frame yet, then the call trace behind. If a cut took the program
    /// counter away, the trace alone.
    pub(super) fn pc_then_trace(self) -> Vec<String> {
        let Some((at, _)) = self.pc() else {
            return self.below_heading();
        };
        let mut names: Vec<_> = self.pc_name().into_iter().collect();
        names.extend(leaf_caller(self.lines).map(|(_, frame)| plain(&frame.function).to_owned()));
        names.extend(self.of(&self.lines[at + 1..]).below_heading());
        names
    }

    /// The lines from the program counter on that an exception interrupted:
    /// where a fault was taken while another was printed, the first one's.
    pub(super) fn interrupted(self) -> Option<Self> {
        let handler = |frame: &Frame| {
            frame.function.contains("page_fault") || frame.function.contains("mem_abort")
        };
        self.behind(|line| line.frames.iter().any(handler))?
            .from(|line| line.pc.is_some())
    }

    /// The program counter, then the frames right behind it: old kernels print
    /// a warning's registers in the middle of its call trace.
    pub(super) fn pc_and_behind(self) -> Vec<String> {
        let Some((at, _)) = self.pc() else {
            return Vec::new();
        };
        let mut names: Vec<_> = self.pc_name().into_iter().collect();
        names.extend(self.of(&self.lines[at + 1..]).until_heading());
        names
    }

    /// Where two locks were taken, then the frames behind.
    pub(super) fn two_lock_sites(self) -> Vec<String> {
        let mut names = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            if let Some(name) = &line.at {
                names.push(name.clone());
                if names.len() == 2 {
                    names.extend(self.of(&self.lines[at + 1..]).until_heading());
                    return names;
                }
            }
        }
        names
    }

    /// `at:` a line break, then the address where the lock was released.
    pub(super) fn release_site(self) -> Vec<String> {
        let released = self
            .lines
            .iter()
            .position(|line| !line.frames.is_empty() && line.text.contains('[') && !line.heading);
        let Some(at) = released else {
            return self.below_heading();
        };
        let mut names: Vec<_> = self.of(&self.lines[at..=at]).names().collect();
        names.extend(self.of(&self.lines[at + 1..]).below_heading());
        names
    }
}

fn call_trace(text: &str) -> bool {
    ["Call Trace", "Call trace", "Backtrace:", "Stack Trace:"]
        .iter()
        .any(|words| text.contains(words))
        || text.trim_start().starts_with("Trace:")
}

/// The caller that stands in the link register only: on architectures that
/// have one, a function that died before it made a frame is followed in the
/// trace by its caller's caller. In a function with a frame the register
/// points into the function itself (behind the last call), or at the frame
/// that the trace names next. With it comes its place among the frames.
pub(in crate::crash) fn leaf_caller(lines: &[StackLine]) -> Option<(usize, &Frame)> {
    let at = lines
        .iter()
        .position(|line| line.pc.as_ref().is_some_and(|pc| pc.frame.is_some()))?;
    let pc = lines[at].pc.as_ref()?.frame.as_ref()?;
    let end = lines[at..]
        .iter()
        .position(|line| line.heading)
        .map_or(lines.len(), |heading| at + heading);
    let link = lines[at..end].iter().find_map(|line| line.link.as_ref())?;
    let name = plain(&link.function);
    if name == plain(&pc.function) || link.offset == Some(0) {
        return None;
    }
    let trace = || lines[at..].iter().flat_map(|line| &line.frames);
    let behind = trace()
        .position(|frame| plain(&frame.function) == plain(&pc.function))
        .map_or(0, |own| own + 1);
    let next = trace().nth(behind);
    (next.map(|frame| plain(&frame.function)) != Some(name)).then_some((behind, link))
}
