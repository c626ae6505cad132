//! Adds `file:line` to frames, from a vmlinux with debug information. A frame
//! names function and offset, so KASLR does not matter to it; the report's
//! `Kernel Offset:` does for bare addresses, which are not looked up.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol, SymbolKind};
use thiserror::Error;

use crate::model::{Crash, Frame};

/// A vmlinux that can't be used.
#[derive(Debug, Error)]
pub enum SymbolError {
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
    #[error("{} has no usable debug information", path.display())]
    #[expect(missing_docs, reason = "the file, and why")]
    Dwarf { path: PathBuf, reason: String },
}

/// Functions of a kernel image and their places in its source.
pub struct Symbols {
    /// Every function of a name, as address and size: static ones share names.
    functions: HashMap<String, Vec<(u64, u64)>>,
    lines: addr2line::Loader,
}

impl Symbols {
    /// Reads functions and places of a vmlinux.
    pub fn open(path: &Path) -> Result<Self, SymbolError> {
        let read = |source| SymbolError::Read {
            path: path.to_owned(),
            source,
        };
        let image = std::fs::read(path).map_err(read)?;
        let elf = object::File::parse(&*image).map_err(|source| SymbolError::Elf {
            path: path.to_owned(),
            source,
        })?;
        let mut functions: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
        for symbol in elf
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text)
        {
            if let Ok(name) = symbol.name() {
                functions
                    .entry(name.to_owned())
                    .or_default()
                    .push((symbol.address(), symbol.size()));
            }
        }
        let lines = addr2line::Loader::new(path).map_err(|error| SymbolError::Dwarf {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { functions, lines })
    }

    /// Adds places to the frames of a crash.
    pub fn add(&self, crash: &mut Crash) {
        for frame in &mut crash.call_trace {
            if frame.module.is_none() && frame.source.is_none() {
                frame.source = self.place(frame);
            }
        }
    }

    fn place(&self, frame: &Frame) -> Option<String> {
        let offset = frame.offset?;
        let candidates = self.functions.get(&frame.function)?;
        let (address, _) = candidates
            .iter()
            .find(|(_, size)| Some(*size) == frame.size)
            .or_else(|| candidates.first())?;
        // A frame holds the address to return to; the call stands before it.
        let call = address + offset.saturating_sub(1);
        let location = self.lines.find_location(call).ok()??;
        Some(format!("{}:{}", location.file?, location.line?))
    }
}
