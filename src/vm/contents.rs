//! What a guest's initramfs holds: modrace itself as init, the module, the
//! plan, and for `as-reported` the three programs of the bug report.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{LittleEndian, Object, ObjectSegment};
use thiserror::Error;

use super::protocol::{BEFORE_PATH, MODULE_PATH, PLAN_PATH, TrialPlan};
use crate::vm::initramfs::Initramfs;

/// Why there is no initramfs.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file that should go in could not be read.
    #[error("{}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive could not be written to memory.
    #[error("packing the initramfs")]
    Write(#[from] io::Error),
    /// A program that needs shared libraries has none in the guest.
    #[error("{} is linked dynamically, and a guest has no libraries", .0.display())]
    Dynamic(PathBuf),
    /// `as-reported` needs it.
    #[error("no busybox on this machine: the as-reported strategy runs its insmod, rmmod and cat")]
    NoBusybox,
}

/// Where a static busybox may be.
const BUSYBOX: [&str; 3] = [
    "/bin/busybox",
    "/usr/bin/busybox",
    "/usr/lib/initcpio/busybox",
];

/// The part of the initramfs that all trials share.
///
/// `init` is the modrace binary; `module` the bytes of the module file; `before`
/// those of modules that are loaded before it, by name and in this order.
pub fn base(
    init: &Path,
    module: &[u8],
    before: &[(String, Vec<u8>)],
    programs: bool,
) -> Result<Vec<u8>, PackError> {
    let mut archive = Initramfs::new();
    for folder in ["dev", "proc", "sys", "modrace", "bin", "sbin"] {
        archive.folder(folder)?;
    }
    // PID 1 is given its standard streams before anything is mounted.
    archive.device("dev/console", 5, 1)?;
    archive.device("dev/null", 1, 3)?;
    archive.file("init", 0o755, &static_program(init)?)?;
    archive.file(MODULE_PATH.trim_start_matches('/'), 0o644, module)?;
    if !before.is_empty() {
        archive.folder(BEFORE_PATH.trim_start_matches('/'))?;
    }
    for (index, (name, bytes)) in before.iter().enumerate() {
        // Numbered, so that the order of names is that of loading.
        let path = format!("{BEFORE_PATH}/{index:02}-{name}.ko");
        archive.file(path.trim_start_matches('/'), 0o644, bytes)?;
    }
    if programs {
        archive.file("bin/busybox", 0o755, &busybox()?)?;
        archive.link("sbin/insmod", "/bin/busybox")?;
        archive.link("sbin/rmmod", "/bin/busybox")?;
        archive.link("bin/cat", "/bin/busybox")?;
    }
    Ok(archive.finish()?)
}

/// The part that one trial has for itself; it follows the base.
pub fn plan(plan: &TrialPlan) -> Result<Vec<u8>, PackError> {
    let mut archive = Initramfs::new();
    let json = serde_json::to_vec(plan).map_err(io::Error::from)?;
    archive.file(PLAN_PATH.trim_start_matches('/'), 0o644, &json)?;
    Ok(archive.finish()?)
}

/// Files that a guest has besides; they follow the base.
pub fn files<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Vec<u8>, PackError> {
    let mut archive = Initramfs::new();
    for (path, content) in files {
        archive.file(path.trim_start_matches('/'), 0o644, content)?;
    }
    Ok(archive.finish()?)
}

/// The busybox that guests get.
pub fn busybox() -> Result<Vec<u8>, PackError> {
    let path = BUSYBOX.iter().map(Path::new).find(|path| path.exists());
    static_program(path.ok_or(PackError::NoBusybox)?)
}

/// A program that needs no libraries, as a guest has none.
pub fn static_program(path: &Path) -> Result<Vec<u8>, PackError> {
    let bytes = fs::read(path).map_err(|source| PackError::Read {
        path: path.to_owned(),
        source,
    })?;
    if is_static(&bytes) {
        Ok(without_sections(bytes))
    } else {
        Err(PackError::Dynamic(path.to_owned()))
    }
}

/// What the kernel loads of an ELF program: its segments. The sections behind
/// them are for linkers and debuggers, and most of a program that was built for
/// these; a guest would copy all of it at every boot.
fn without_sections(mut bytes: Vec<u8>) -> Vec<u8> {
    let Some(end) = end_of_segments(&bytes).filter(|&end| end < bytes.len()) else {
        return bytes;
    };
    let header = object::elf::FileHeader64::<LittleEndian>::parse(bytes.as_slice()).copied();
    let Ok(mut header) = header else {
        return bytes;
    };
    header.e_shoff.set(LittleEndian, 0);
    header.e_shnum.set(LittleEndian, 0);
    header.e_shstrndx.set(LittleEndian, object::elf::SHN_UNDEF);
    bytes.truncate(end);
    let header = object::bytes_of(&header);
    bytes[..header.len()].copy_from_slice(header);
    bytes
}

/// Where the last segment of a little-endian 64-bit program ends in its file.
fn end_of_segments(bytes: &[u8]) -> Option<usize> {
    let header = object::elf::FileHeader64::<LittleEndian>::parse(bytes).ok()?;
    let segments = header.program_headers(LittleEndian, bytes).ok()?;
    let ends = segments.iter().map(|segment| {
        let (offset, length) = segment.file_range(LittleEndian);
        offset.checked_add(length)
    });
    let last = ends.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
    let table = header.e_phoff.get(LittleEndian)
        + u64::from(header.e_phnum.get(LittleEndian)) * size_of_segment_header();
    usize::try_from(last.max(table)).ok()
}

fn size_of_segment_header() -> u64 {
    size_of::<object::elf::ProgramHeader64<LittleEndian>>() as u64
}

/// Whether an ELF program asks for no interpreter, that is, for no dynamic
/// linker (ELF gABI, program header `PT_INTERP`).
fn is_static(bytes: &[u8]) -> bool {
    let Ok(file) = object::File::parse(bytes) else {
        return false;
    };
    let interpreter = match &file {
        object::File::Elf64(elf) => elf
            .elf_program_headers()
            .iter()
            .any(|header| header.p_type.get(elf.endian()) == object::elf::PT_INTERP),
        _ => true,
    };
    !interpreter
        && file
            .segments()
            .next()
            .is_some_and(|segment| segment.size() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_is_told_from_a_linked_one() {
        // Built static, as .cargo/config.toml says.
        let this = std::env::current_exe().unwrap();
        assert!(static_program(&this).is_ok());
        let shell = fs::canonicalize("/bin/sh").unwrap();
        let linked = static_program(&shell);
        assert!(matches!(linked, Err(PackError::Dynamic(path)) if path == shell));
        assert!(static_program(Path::new("/etc/passwd")).is_err());
    }
}
