//! Small looks at the machine that several findings need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::Object;
use object::read::elf::{FileHeader, ProgramHeader};

/// Where a program is, on PATH or where the system's own programs are.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The first line that a program prints about itself.
pub(super) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

/// Whether an executable needs no loader: it names no interpreter. Nothing if
/// it is no ELF file of this machine's kind.
pub(super) fn is_static(path: &Path) -> Option<bool> {
    let bytes = fs::read(path).ok()?;
    object::File::parse(&*bytes).ok().filter(Object::is_64)?;
    let header = object::elf::FileHeader64::<object::Endianness>::parse(&*bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, &*bytes).ok()?;
    Some(
        !segments
            .iter()
            .any(|segment| segment.p_type(endian) == object::elf::PT_INTERP),
    )
}

/// A file's text without its last newline.
pub(super) fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// MiB that new programs may use.
pub(super) fn free_memory_mib() -> Option<u64> {
    let meminfo = text("/proc/meminfo")?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib >> 10)
}

/// MiB free on the disk where a path is or will be.
pub(super) fn free_disk_mib(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let stat = nix::sys::statvfs::statvfs(existing).ok()?;
    Some((stat.blocks_available() * stat.fragment_size()) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_is_told_from_a_linked_one() {
        // Built static, as .cargo/config.toml says.
        let this = std::env::current_exe().unwrap();
        assert_eq!(is_static(&this), Some(true));
        let shell = fs::canonicalize("/bin/sh").unwrap();
        assert_eq!(is_static(&shell), Some(false));
        assert_eq!(is_static(Path::new("/etc/passwd")), None);
    }

    #[test]
    fn programs_are_found_and_name_themselves() {
        assert_eq!(program("no-such-program-here"), None);
        let make = program("make").unwrap();
        assert!(version(&make).unwrap().contains("Make"));
    }
}
