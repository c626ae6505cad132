//! Where a kernel's functions are: in the files of its build tree, or as a
//! first boot of it shows in /proc/kallsyms.

use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use super::bench::ProveError;
use crate::decode::Lines;
use crate::decode::symbols::Symbols;
use crate::interleave::arch::Arch;
use crate::interleave::machine::{Layout, MachineError, switch_in};
use crate::interleave::sides::SidesRow;
use crate::session::lock_step::Guests;

/// A kernel whose addresses are known.
pub(super) struct Known {
    pub(super) layout: Layout,
    /// The file with its symbols.
    pub(super) vmlinux: Option<PathBuf>,
    /// File and line of addresses, as far as that tells them.
    pub(super) lines: Lines,
}

/// From vmlinux of a build tree; none where there is no such file, as in the
/// headers of an installed kernel.
pub(super) fn of_tree(
    arch: &Arch,
    row: &SidesRow,
    kdir: Option<&Path>,
) -> Result<Option<Known>, ProveError> {
    let Some(path) = kdir
        .map(|kdir| kdir.join("vmlinux"))
        .filter(|path| path.is_file())
    else {
        return Ok(None);
    };
    let bad = |why: String| ProveError::Symbols {
        path: path.clone(),
        why,
    };
    let bytes = fs::read(&path).map_err(|error| bad(error.to_string()))?;
    let symbols = Symbols::of_elf(&bytes).map_err(|error| bad(error.to_string()))?;
    if symbols.is_empty() {
        return Ok(None);
    }
    let range = symbols
        .function(arch.switch, None)
        .ok_or_else(|| MachineError::NoSymbol(arch.switch.to_owned()))?;
    let elf = object::File::parse(&*bytes).map_err(|error| bad(error.to_string()))?;
    let code = elf.sections().find_map(|section| {
        let data = section.data_range(range.start, range.end - range.start);
        data.ok().flatten()
    });
    let code = code.ok_or_else(|| bad(format!("no code of {}", arch.switch)))?;
    let switch = switch_in(arch, code, range.start)?;
    Ok(Some(Known {
        layout: Layout::find(arch, row, symbols, switch)?,
        lines: Lines::new(&path, &elf).unwrap_or_default(),
        vmlinux: Some(path),
    }))
}

/// From a boot that hands over /proc/kallsyms. Without KASLR the next boot has
/// the same addresses.
pub(super) fn of_first_boot(
    guests: &Guests<'_>,
    row: &SidesRow,
    parts: &[Vec<u8>],
) -> Result<Known, ProveError> {
    let arch = guests.arch;
    let machine = guests.boot(parts, None, None)?;
    let symbols = Symbols::of_text(&String::from_utf8_lossy(&machine.text()));
    let switch = machine.learn_switch(arch, &symbols)?;
    Ok(Known {
        layout: Layout::find(arch, row, symbols, switch)?,
        vmlinux: None,
        lines: Lines::default(),
    })
}
