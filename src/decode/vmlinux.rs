//! A kernel's image with debug information: its functions, its lines, and which
//! build it is of.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol};
use thiserror::Error;

use super::functions::Functions;
use super::lines::Lines;
use super::symbols::Symbols;
use crate::build::config::hex;
use crate::model::Frame;

/// A vmlinux that can't be used.
#[derive(Debug, Error)]
pub enum VmlinuxError {
    /// The file can't be read.
    #[error("can't read {}", path.display())]
    #[expect(missing_docs, reason = "the file, and why")]
    Read { path: PathBuf, source: io::Error },
    /// It is no ELF file.
    #[error("{} is no ELF file", path.display())]
    #[expect(missing_docs, reason = "the file, and why")]
    Elf {
        path: PathBuf,
        source: object::Error,
    },
    /// It does not say where its functions stand.
    #[error("{} has no usable debug information: {reason}", path.display())]
    #[expect(missing_docs, reason = "the file, and why")]
    DebugInfo { path: PathBuf, reason: String },
}

/// An image.
#[derive(Debug)]
pub struct Vmlinux {
    pub(super) lines: Lines,
    pub(super) symbols: Symbols,
    functions: Functions,
    /// `uname -r`, from its banner.
    release: Option<String>,
    build_id: Option<String>,
}

/// What the banner in each image begins with (init/version.c).
const BANNER: &[u8] = b"Linux version ";
/// Sections of which debug information has at least one.
const DEBUG_LINES: [&str; 2] = [".debug_line", ".zdebug_line"];

impl Vmlinux {
    /// Reads an image.
    pub fn open(path: &Path) -> Result<Self, VmlinuxError> {
        let bytes = std::fs::read(path).map_err(|source| VmlinuxError::Read {
            path: path.to_owned(),
            source,
        })?;
        let bad = |source| VmlinuxError::Elf {
            path: path.to_owned(),
            source,
        };
        let without = |reason: String| VmlinuxError::DebugInfo {
            path: path.to_owned(),
            reason,
        };
        let elf = object::File::parse(&*bytes).map_err(bad)?;
        if !has_lines(&elf) {
            let reason = "it has no section .debug_line (build with CONFIG_DEBUG_INFO)";
            return Err(without(reason.to_owned()));
        }
        let build_id = elf.build_id().ok().flatten();
        Ok(Self {
            functions: Functions::of(&elf, |symbol| Some(symbol.address())),
            symbols: Symbols::of_elf(&bytes).map_err(bad)?,
            release: release(&bytes),
            build_id: build_id.map(hex),
            lines: Lines::new(path, &elf).map_err(without)?,
        })
    }

    /// Its build id (the note that the linker makes), in hexadecimal.
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    /// `uname -r` of the kernel that it is, from its banner.
    pub fn release(&self) -> Option<&str> {
        self.release.as_deref()
    }

    /// The address of a frame; none where functions of its name and size are
    /// several, or none is.
    pub(super) fn address(&self, frame: &Frame) -> Option<u64> {
        let fits = |range: &Range<u64>| frame.size.is_none_or(|size| self.is_of_size(range, size));
        Some(self.functions.only(&frame.function, fits)? + frame.offset?)
    }

    /// How large a function is here, where it is known and none of that name is
    /// of a size.
    pub(super) fn size_unless(&self, function: &str, size: u64) -> Option<u64> {
        let all = self.functions.named(function);
        let first = all.first()?.start;
        let any = all.iter().any(|range| self.is_of_size(range, size));
        (!any).then(|| self.symbols.extent_at(first).end - first)
    }

    /// Whether a log may say that size of a function: up to the next symbol, as
    /// the kernel counts (`kallsyms_lookup_size_offset()` in kernel/kallsyms.c), or
    /// its own.
    fn is_of_size(&self, range: &Range<u64>, size: u64) -> bool {
        let next = self.symbols.extent_at(range.start).end;
        [range.end, next].contains(&(range.start + size))
    }
}

fn has_lines(elf: &object::File<'_>) -> bool {
    DEBUG_LINES
        .iter()
        .any(|name| elf.section_by_name(name).is_some())
}

/// The release in an image's banner.
fn release(image: &[u8]) -> Option<String> {
    let mut banners = memchr::memmem::find_iter(image, BANNER);
    // The format string of /proc/version begins so too.
    banners.find_map(|at| {
        let rest = &image[at + BANNER.len()..];
        let end = rest.iter().position(|&byte| byte == b' ' || byte == 0)?;
        let word = std::str::from_utf8(&rest[..end]).ok()?;
        word.starts_with(|c: char| c.is_ascii_digit())
            .then(|| word.to_owned())
    })
}
