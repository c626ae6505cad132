//! A module's file with debug information. It is not linked yet: each of its
//! sections begins at 0 and refers to the others by relocations, which are
//! applied here, with the sections laid out one behind the other.

use std::collections::HashMap;
use std::sync::Arc;

use gimli::{Dwarf, EndianArcSlice, LittleEndian, SectionId};
use object::read::elf::ElfFile64;
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SectionIndex,
    SectionKind,
};

use super::functions::Functions;
use super::lines::{Place, places};
use crate::model::Frame;

type Reader = EndianArcSlice<LittleEndian>;

/// A module's functions and lines.
pub struct ModuleFile {
    name: String,
    context: addr2line::Context<Reader>,
    functions: Functions,
    /// The folder of its source, with the last slash.
    own: Option<String>,
}

impl ModuleFile {
    /// Reads a module; none where it has no debug information, or is of another
    /// architecture than x86-64 and arm64.
    pub fn parse(name: &str, bytes: &[u8]) -> Option<Self> {
        let elf = ElfFile64::<object::Endianness>::parse(bytes).ok()?;
        elf.section_by_name(".debug_line")?;
        let bases = bases(&elf);
        let load = |id: SectionId| -> Result<Reader, gimli::Error> {
            let section = relocated(&elf, id.name(), &bases).unwrap_or_default();
            Ok(EndianArcSlice::new(Arc::from(section), LittleEndian))
        };
        let dwarf = Dwarf::load(load).ok()?;
        let context = addr2line::Context::from_dwarf(dwarf).ok()?;
        let functions = Functions::of(&elf, |symbol| {
            let base = bases.get(&symbol.section_index()?)?;
            Some(base + symbol.address())
        });
        let mut module = Self {
            name: name.to_owned(),
            context,
            functions,
            own: None,
        };
        module.own = module.source_folder();
        Some(module)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of a frame, as this file is laid out; none where no function,
    /// or several, have its name.
    pub(super) fn address(&self, frame: &Frame) -> Option<u64> {
        Some(self.functions.only(&frame.function, |_| true)? + frame.offset?)
    }

    /// The functions that an address lies in, innermost first.
    pub(super) fn places(&self, address: u64) -> Vec<Place> {
        let frames = self.context.find_frames(address).skip_all_loads();
        frames.map_or_else(|_| Vec::new(), |frames| places(frames, self.own.as_deref()))
    }

    /// The folder in which most of its functions' source lies.
    fn source_folder(&self) -> Option<String> {
        let mut folders: HashMap<String, usize> = HashMap::new();
        for range in self.functions.all() {
            let source = self
                .places(range.start)
                .pop()
                .and_then(|place| place.source);
            if let Some((folder, _)) = source.as_deref().and_then(|file| file.rsplit_once('/')) {
                *folders.entry(format!("{folder}/")).or_default() += 1;
            }
        }
        let most = folders.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(folder, _)| folder)
    }
}

impl std::fmt::Debug for ModuleFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModuleFile({})", self.name)
    }
}

/// Where each section of code begins; of all others it is 0.
fn bases(elf: &ElfFile64<'_>) -> HashMap<SectionIndex, u64> {
    const ALIGNMENT: u64 = 4096;
    let mut next = ALIGNMENT;
    let code = elf
        .sections()
        .filter(|section| section.kind() == SectionKind::Text);
    code.map(|section| {
        let base = next;
        next += section.size().next_multiple_of(ALIGNMENT) + ALIGNMENT;
        (section.index(), base)
    })
    .collect()
}

/// A section's content with its relocations applied.
fn relocated(
    elf: &ElfFile64<'_>,
    name: &str,
    bases: &HashMap<SectionIndex, u64>,
) -> Option<Vec<u8>> {
    let section = elf.section_by_name(name)?;
    let mut bytes = section.uncompressed_data().ok()?.into_owned();
    for (offset, relocation) in section.relocations() {
        if relocation.kind() != RelocationKind::Absolute {
            continue;
        }
        let RelocationTarget::Symbol(index) = relocation.target() else {
            continue;
        };
        let Ok(symbol) = elf.symbol_by_index(index) else {
            continue;
        };
        let base = symbol.section_index().and_then(|index| bases.get(&index));
        let value = (base.copied().unwrap_or(0) + symbol.address())
            .wrapping_add_signed(relocation.addend());
        let size = usize::from(relocation.size() / 8);
        let at = usize::try_from(offset).ok()?;
        if let Some(place) = bytes.get_mut(at..at + size) {
            place.copy_from_slice(value.to_le_bytes().get(..size)?);
        }
    }
    Some(bytes)
}
