//! The header of an x86 boot image (bzImage): is it one, and which release.
//! See Documentation/arch/x86/boot.rst in the kernel. It loads nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The set-up header and the version string lie within the set-up sectors, at
/// most 65 of 512 bytes.
const SETUP_MAX: u64 = 65 * 512;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const KERNEL_VERSION: usize = 0x20e;

/// Why a file is no boot image.
#[derive(Debug, thiserror::Error)]
pub enum BootImageError {
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is not a kernel boot image: no `HdrS` at byte 0x202", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
    },
    /// It is an uncompressed kernel, which QEMU cannot boot by itself.
    #[error("{} is an ELF file, not a boot image", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
    },
}

/// What a boot image says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootImage {
    /// `uname -r` of the kernel inside, if the header says.
    pub release: Option<String>,
}

impl BootImage {
    /// Reads the header of a file.
    pub fn open(path: &Path) -> Result<Self, BootImageError> {
        let read = || {
            let mut head = Vec::new();
            File::open(path)?.take(SETUP_MAX).read_to_end(&mut head)?;
            Ok(head)
        };
        let head = read().map_err(|source| BootImageError::Read {
            path: path.to_owned(),
            source,
        })?;
        if head.starts_with(b"\x7fELF") {
            return Err(BootImageError::Elf {
                path: path.to_owned(),
            });
        }
        Self::parse(&head).ok_or_else(|| BootImageError::NotOne {
            path: path.to_owned(),
        })
    }

    /// Reads a header; `None` if it is none.
    fn parse(head: &[u8]) -> Option<Self> {
        let flag = head.get(BOOT_FLAG..BOOT_FLAG + 2)?;
        let magic = head.get(MAGIC..MAGIC + 4)?;
        (flag == [0x55, 0xaa] && magic == b"HdrS").then(|| Self {
            release: release(head),
        })
    }
}

fn release(head: &[u8]) -> Option<String> {
    let at = head.get(KERNEL_VERSION..KERNEL_VERSION + 2)?;
    let at = usize::from(u16::from_le_bytes([at[0], at[1]]));
    // The field counts from the end of the boot sector; 0 means no string.
    let text = head.get(at.checked_add(512).filter(|_| at != 0)?..)?;
    let text = &text[..text.iter().position(|byte| *byte == 0)?];
    let word = text.split(|byte| *byte == b' ').next()?;
    (!word.is_empty() && word.is_ascii()).then(|| String::from_utf8_lossy(word).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 0x400];
        head[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
        head[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        head[KERNEL_VERSION..KERNEL_VERSION + 2].copy_from_slice(&0x100_u16.to_le_bytes());
        head[0x300..0x300 + version.len()].copy_from_slice(version);
        head
    }

    #[test]
    fn the_release_is_the_first_word_of_the_version() {
        let image = BootImage::parse(&header(b"6.1.192 (user@host) #1 SMP")).unwrap();
        assert_eq!(image.release.as_deref(), Some("6.1.192"));
    }

    #[test]
    fn a_header_cut_short_or_without_magic_is_no_image() {
        let whole = header(b"6.1");
        assert_eq!(BootImage::parse(&whole[..0x204]), None);
        let mut other = whole.clone();
        other[MAGIC] = b'h';
        assert_eq!(BootImage::parse(&other), None);
        // A version string that runs off the end names no release.
        let cut = BootImage::parse(&whole[..0x302]).unwrap();
        assert_eq!(cut.release, None);
    }
}
