//! A crash's trace told by debug information: file and line of each frame, with
//! the functions that the compiler put into it. Frames name function and offset,
//! so KASLR does not matter to them. A vmlinux of another build tells nothing:
//! wrong lines are worse than none.

use super::code_line::disassemble;
use super::lines::Place;
use super::module::ModuleFile;
use super::vmlinux::Vmlinux;
use crate::model::{Crash, Frame};

/// What a crash is told by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The kernel's image.
    pub vmlinux: Option<&'a Vmlinux>,
    /// Modules.
    pub modules: &'a [ModuleFile],
    /// The build id that the kernel says of itself, in hexadecimal, where it
    /// was asked.
    pub build_id: Option<&'a str>,
}

/// Adds to a crash what is known of its addresses, or why the vmlinux tells
/// nothing.
pub fn decode(crash: &mut Crash, mut sources: Sources<'_>) {
    let other = |vmlinux: &Vmlinux| is_of_another_build(vmlinux, crash, sources.build_id);
    if let Some(reason) = sources.vmlinux.and_then(other) {
        crash.not_decoded = Some(reason);
        sources.vmlinux = None;
    }
    let faulting = crash.faulting_frame.clone();
    let faulting = faulting.as_ref();
    crash.faulting_at = faulting.map_or_else(Vec::new, |frame| frames(sources.places(frame, 0)));
    let mut decoded = Vec::new();
    for mut frame in std::mem::take(&mut crash.call_trace) {
        if frame.source.is_none() && !frame.inlined {
            // A frame holds the address to return to, and the call stands before
            // it; where a trace begins with the faulting instruction, that one
            // is meant.
            let own = faulting
                .is_some_and(|at| (&at.function, at.offset) == (&frame.function, frame.offset));
            let mut places = frames(sources.places(&frame, u64::from(!own)));
            // The last is the function that the others were put into.
            frame.source = places.pop().and_then(|outer| outer.source);
            for place in &mut places {
                place.reliable = frame.reliable;
                place.module.clone_from(&frame.module);
            }
            decoded.append(&mut places);
        }
        decoded.push(frame);
    }
    crash.call_trace = decoded;
    let near = faulting.filter(|frame| frame.module.is_none());
    let near = sources
        .vmlinux
        .zip(near)
        .and_then(|(vmlinux, frame)| Some((vmlinux, vmlinux.address(frame)?)));
    let name = |distance: i64| {
        let (vmlinux, address) = near?;
        Some(vmlinux.symbols.show(address.wrapping_add_signed(distance)))
    };
    crash.instructions = disassemble(crash, &name);
}

impl Sources<'_> {
    /// The places in the source of a frame, `back` bytes before what it says.
    fn places(&self, frame: &Frame, back: u64) -> Vec<Place> {
        let found = match &frame.module {
            None => self.vmlinux.and_then(|vmlinux| {
                let address = vmlinux.address(frame)?;
                Some(vmlinux.lines.places(address.saturating_sub(back)))
            }),
            Some(name) => self.modules.iter().find_map(|module| {
                let named = (module.name() == name).then_some(module)?;
                let address = named.address(frame)?;
                Some(named.places(address.saturating_sub(back)))
            }),
        };
        found.unwrap_or_default()
    }
}

/// Places as frames: all but the last were put into the next one.
fn frames(places: Vec<Place>) -> Vec<Frame> {
    let last = places.len().saturating_sub(1);
    let frames = places.into_iter().enumerate().map(|(index, place)| Frame {
        function: place.function.unwrap_or_default(),
        source: place.source,
        inlined: index < last,
        reliable: true,
        ..Frame::default()
    });
    frames.collect()
}

/// Why an image is not the crash's kernel, if it is shown.
fn is_of_another_build(vmlinux: &Vmlinux, crash: &Crash, build_id: Option<&str>) -> Option<String> {
    if let (Some(ours), Some(theirs)) = (vmlinux.build_id(), build_id) {
        return (ours != theirs).then(|| {
            format!("vmlinux is of another build: its build id is {ours}, the kernel's {theirs}")
        });
    }
    if let (Some(ours), Some(theirs)) = (vmlinux.release(), &crash.kernel)
        && ours != theirs
    {
        return Some(format!("vmlinux is of {ours}, and the log of {theirs}"));
    }
    let trace = crash
        .call_trace
        .iter()
        .filter(|frame| frame.module.is_none());
    trace.filter(|frame| frame.reliable).find_map(|frame| {
        let size = frame.size?;
        let own = vmlinux.size_unless(&frame.function, size)?;
        Some(format!(
            "vmlinux is of another build: {} has {size:#x} bytes in the log and {own:#x} there",
            frame.function
        ))
    })
}
