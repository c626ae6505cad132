//! A kernel's image with debug information: its functions, its lines, and which
//! build it is of.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol, SymbolKind};
use thiserror::Error;

use super::lines::Lines;
use super::symbols::Symbols;
use crate::build::config::hex;

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
    /// Every function of a name: static ones share names. Its size as the
    /// symbol has it; the kernel's own is up to the next symbol.
    functions: HashMap<String, Vec<Range<u64>>>,
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
        let mut functions: HashMap<String, Vec<Range<u64>>> = HashMap::new();
        // Labels of assembler files, entry_SYSCALL_64_after_hwframe among them,
        // have no type.
        let code = |kind| {
            matches!(
                kind,
                SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown
            )
        };
        for symbol in elf
            .symbols()
            .filter(|symbol| symbol.is_definition() && code(symbol.kind()))
        {
            if let Ok(name) = symbol.name() {
                let at = symbol.address();
                functions
                    .entry(name.to_owned())
                    .or_default()
                    .push(at..at + symbol.size());
            }
        }
        let build_id = elf.build_id().ok().flatten();
        Ok(Self {
            functions,
            symbols: Symbols::of_elf(&bytes).map_err(bad)?,
            release: release(&bytes),
            build_id: build_id.map(hex),
            lines: Lines::open(path).map_err(without)?,
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

    /// The address of a function's offset; none where functions of that name and
    /// size are several, or none is.
    pub(super) fn address(&self, function: &str, offset: u64, size: Option<u64>) -> Option<u64> {
        match self.candidates(function, size).as_slice() {
            [one] => Some(one + offset),
            _ => None,
        }
    }

    /// How large a function is here, where it is known and none of that name is
    /// of a size.
    pub(super) fn size_unless(&self, function: &str, size: u64) -> Option<u64> {
        let first = self.functions.get(function)?.first()?.start;
        self.candidates(function, Some(size))
            .is_empty()
            .then(|| self.symbols.extent_at(first).end - first)
    }

    /// Where functions of that name begin, those of that size where it is said.
    fn candidates(&self, function: &str, size: Option<u64>) -> Vec<u64> {
        // Up to the next symbol, as the kernel counts
        // (kallsyms_lookup_size_offset() in kernel/kallsyms.c), or its own.
        let fits = |range: &&Range<u64>| {
            let next = self.symbols.extent_at(range.start).end;
            size.is_none_or(|size| [range.end, next].contains(&(range.start + size)))
        };
        let all = self.functions.get(function).map_or(&[][..], Vec::as_slice);
        let mut begins: Vec<u64> = all.iter().filter(fits).map(|range| range.start).collect();
        begins.sort_unstable();
        begins.dedup();
        begins
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
