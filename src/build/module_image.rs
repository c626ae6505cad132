//! A kernel module as a file: what it says about itself, and the same module
//! under another name. It loads nothing and never changes the file.

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::{Object, ObjectKind, ObjectSection};
use sha2::{Digest, Sha256};

use super::compression::{self, UnpackError};
use super::config::hex;

/// The kernel copies this section into `struct module` itself.
const THIS_MODULE: &str = ".gnu.linkonce.this_module";
const MODINFO: &str = ".modinfo";
const PARAMETERS: &str = "__param";
/// `scripts/sign-file` ends a signed module with this.
const SIGNED: &[u8] = b"~Module signature appended~\n";
/// The kernel's `MODULE_NAME_LEN` is 64 less a `long`, its NUL included.
pub const NAME_MAX: usize = 55;
/// Far above any module; a file that unpacks to more is no module.
const SIZE_MAX: u64 = 512 << 20;

/// Why a file cannot be used as a module.
#[derive(Debug, thiserror::Error)]
pub enum ModuleImageError {
    /// It could not be read.
    #[error("cannot read the module {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its compressed form is damaged.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It unpacks to more than any module.
    #[error("the module unpacks to more than {} MiB", SIZE_MAX >> 20)]
    TooLarge,
    /// It is not an ELF file, or a damaged one.
    #[error("not an ELF object")]
    Elf(#[from] object::Error),
    /// It is an ELF file of another kind.
    #[error("not a kernel module: {0}")]
    NotAModule(&'static str),
    /// The name field is not where a kernel module has it.
    #[error("cannot find the name field of `{0}` in {THIS_MODULE}")]
    NameField(String),
    /// A name that a kernel would refuse or misread.
    #[error(
        "`{0}` cannot be a module's name: 1 to {NAME_MAX} letters, digits, `_` or `-` are needed"
    )]
    BadName(String),
    /// The renamed image does not read back as intended.
    #[error("renaming `{from}` to `{to}` gave an image named `{got}`")]
    Check {
        /// The name before.
        from: String,
        /// The name asked for.
        to: String,
        /// The name read back.
        got: String,
    },
}

/// A module, unpacked and understood.
#[derive(Clone)]
pub struct ModuleImage {
    bytes: Vec<u8>,
    sha256: String,
    modinfo: Vec<(String, String)>,
    name: String,
    name_field: Range<usize>,
}

impl std::fmt::Debug for ModuleImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModuleImage")
            .field("name", &self.name)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

impl ModuleImage {
    /// Opens `.ko`, `.ko.xz`, `.ko.zst` or `.ko.gz`; the content decides which.
    pub fn open(path: &Path) -> Result<Self, ModuleImageError> {
        let bytes = fs::read(path).map_err(|source| ModuleImageError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes)
    }

    /// The same from bytes, packed or not.
    pub fn from_bytes(file: &[u8]) -> Result<Self, ModuleImageError> {
        let sha256 = hex(&Sha256::digest(file));
        let bytes = unpack(file)?;
        let elf = object::File::parse(&*bytes)?;
        if elf.kind() != ObjectKind::Relocatable {
            return Err(ModuleImageError::NotAModule("it is a linked ELF file"));
        }
        let modinfo = elf
            .section_by_name(MODINFO)
            .ok_or(ModuleImageError::NotAModule("no .modinfo section"))?;
        let modinfo = parse_modinfo(modinfo.data()?);
        let (name, name_field) = name_field(&elf, &modinfo)?;
        Ok(Self {
            bytes,
            sha256,
            modinfo,
            name,
            name_field,
        })
    }

    /// The name that it loads under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hash of its sources, where the build recorded one.
    pub fn srcversion(&self) -> Option<&str> {
        self.info("srcversion")
    }

    /// The kernel that it is built for, as the kernel compares it.
    pub fn vermagic(&self) -> Option<&str> {
        self.info("vermagic")
    }

    /// Whether it claims to be part of the kernel. Such a module taints
    /// nothing, and an untainted module can never meet the BUG.
    pub fn intree(&self) -> bool {
        // As the kernel: the tag's presence counts, not its value.
        self.info("intree").is_some()
    }

    /// Whether a signature is appended; a rename makes it invalid.
    pub fn signed(&self) -> bool {
        self.bytes.ends_with(SIGNED)
    }

    /// SHA-256 of the file as given, packed or not.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The unpacked image, as `finit_module` wants it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first value of a `.modinfo` tag.
    pub fn info(&self, tag: &str) -> Option<&str> {
        self.modinfo
            .iter()
            .find(|(key, _)| key == tag)
            .map(|(_, value)| value.as_str())
    }

    /// Every tag of `.modinfo` with its value.
    pub fn modinfo(&self) -> &[(String, String)] {
        &self.modinfo
    }

    /// The image of the same module under another name. The kernel takes the
    /// name from `struct module`. `.modinfo`, which only some messages use, gets
    /// as much of the new name as the old one's place has room for.
    pub fn renamed(&self, name: &str) -> Result<Vec<u8>, ModuleImageError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(allowed) {
            return Err(ModuleImageError::BadName(name.to_owned()));
        }
        if name == self.name {
            return Ok(self.bytes.clone());
        }
        let mut bytes = self.bytes.clone();
        put(&mut bytes[self.name_field.clone()], name.as_bytes());
        if let Some(place) = self.modinfo_name()? {
            let room = name.len().min(place.len());
            put(&mut bytes[place], &name.as_bytes()[..room]);
        }
        let back = Self::from_bytes(&bytes)?;
        if back.name != name || back.bytes.len() != self.bytes.len() {
            return Err(ModuleImageError::Check {
                from: self.name.clone(),
                to: name.to_owned(),
                got: back.name,
            });
        }
        Ok(bytes)
    }

    /// The same module without its parameters: the section that the kernel takes
    /// them from (`find_module_sections()`) has another name.
    pub fn without_parameters(&self) -> Result<Option<Vec<u8>>, ModuleImageError> {
        let object::File::Elf64(elf) = object::File::parse(&*self.bytes)? else {
            return Ok(None);
        };
        let endian = elf.endian();
        let Some(section) = elf.section_by_name(PARAMETERS) else {
            return Ok(None);
        };
        let names = usize::from(elf.elf_header().e_shstrndx.get(endian).0);
        let names = elf.section_by_index(object::SectionIndex(names))?;
        let header = section.elf_section_header();
        let at = file_offset(&names)? + header.sh_name.get(endian) as usize;
        let mut bytes = self.bytes.clone();
        bytes[at] = b'x';
        let back = object::File::parse(&*bytes)?;
        if back.section_by_name(PARAMETERS).is_some() {
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// The same module for a kernel before 4.16. Assemblers since 2018 write
    /// `R_X86_64_PLT32` for a call, which those kernels refuse ("Unknown rela
    /// relocation: 4"); in a kernel, which has no PLT, it means `R_X86_64_PC32`
    /// (commit b21ebf2fb4cd). A signature does not survive that.
    pub fn with_pc32(&self) -> Result<Vec<u8>, ModuleImageError> {
        let mut bytes = self.bytes.clone();
        let elf = object::File::parse(&*self.bytes)?;
        let object::File::Elf64(elf) = &elf else {
            return Ok(bytes);
        };
        if elf.elf_header().e_machine.get(elf.endian()) != object::elf::EM_X86_64 {
            return Ok(bytes);
        }
        for section in elf.sections() {
            if section.elf_section_header().sh_type.get(elf.endian()) != object::elf::SHT_RELA {
                continue;
            }
            let Some((start, length)) = section.file_range() else {
                continue;
            };
            let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(length)) else {
                continue;
            };
            // r_offset, r_info (its low half is the type), r_addend.
            for entry in bytes[start..start + length].chunks_exact_mut(24) {
                let kind = &mut entry[8..12];
                if kind == object::elf::R_X86_64_PLT32.0.to_le_bytes() {
                    kind.copy_from_slice(&object::elf::R_X86_64_PC32.0.to_le_bytes());
                }
            }
        }
        Ok(bytes)
    }

    /// Where the value of `name=` stands in the file.
    fn modinfo_name(&self) -> Result<Option<Range<usize>>, ModuleImageError> {
        let elf = object::File::parse(&*self.bytes)?;
        let Some(section) = elf.section_by_name(MODINFO) else {
            return Ok(None);
        };
        let start = file_offset(&section)?;
        let mut at = start;
        for entry in section.data()?.split(|byte| *byte == 0) {
            if let Some(value) = entry.strip_prefix(b"name=") {
                let from = at + b"name=".len();
                return Ok(Some(from..from + value.len()));
            }
            at += entry.len() + 1;
        }
        Ok(None)
    }
}

/// Writes a string into a field and clears the rest of it.
fn put(field: &mut [u8], text: &[u8]) {
    field.fill(0);
    field[..text.len()].copy_from_slice(text);
}

fn unpack(file: &[u8]) -> Result<Vec<u8>, ModuleImageError> {
    let (packing, inside) = compression::reader(file)?;
    let mut bytes = Vec::new();
    inside
        .take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| UnpackError {
            format: packing.as_str(),
            source,
        })?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(ModuleImageError::TooLarge);
    }
    Ok(bytes)
}

/// `tag=value` strings with NULs between them; the kernel skips runs of NULs.
fn parse_modinfo(section: &[u8]) -> Vec<(String, String)> {
    section
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let text = String::from_utf8_lossy(entry).into_owned();
            let (tag, value) = text.split_once('=')?;
            Some((tag.to_owned(), value.to_owned()))
        })
        .collect()
}

fn file_offset<'a>(section: &impl ObjectSection<'a>) -> Result<usize, ModuleImageError> {
    section
        .file_range()
        .and_then(|(offset, _)| usize::try_from(offset).ok())
        .ok_or(ModuleImageError::NotAModule(
            "a section that must have content has none",
        ))
}

/// The module's name, and where the field that holds it lies in the file.
///
/// `struct module` begins with its state and a list head, then the name, in
/// every kernel since 2.6; the section is zero but for the name and what the
/// linker relocates. So the name is the first thing in it, and everything that
/// does not look so is refused rather than guessed.
fn name_field(
    elf: &object::File<'_>,
    modinfo: &[(String, String)],
) -> Result<(String, Range<usize>), ModuleImageError> {
    let section = elf
        .section_by_name(THIS_MODULE)
        .ok_or(ModuleImageError::NotAModule("no struct module in it"))?;
    let data = section.data()?;
    let long = if elf.is_64() { 8 } else { 4 };
    let capacity = 64 - long;
    // state (an int, padded to a long) and list_head (two pointers)
    let at = 3 * long;
    let text = data
        .get(at..at + capacity)
        .ok_or(ModuleImageError::NotAModule(
            "its struct module is too short",
        ))?;
    let end = text.iter().position(|byte| *byte == 0);
    let name = String::from_utf8_lossy(&text[..end.unwrap_or(capacity)]).into_owned();
    let told = modinfo.iter().find(|(tag, _)| tag == "name");
    let relocated = section
        .relocations()
        .any(|(offset, _)| offset < (at + capacity) as u64);
    let clean = data[..at].iter().all(|byte| *byte == 0)
        && end.is_some_and(|end| end > 0 && text[end..].iter().all(|byte| *byte == 0))
        && name.chars().all(|c| c.is_ascii_graphic());
    // Modules say their name twice since 4.13. A renamed one may have had room
    // for the beginning only.
    let contradicted = told.is_some_and(|(_, told)| !name.starts_with(told.as_str()));
    if !clean || relocated || contradicted {
        return Err(ModuleImageError::NameField(name));
    }
    let start = file_offset(&section)? + at;
    Ok((name, start..start + capacity))
}
