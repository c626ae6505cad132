//! Packing an initramfs: a cpio archive in memory ("newc", as
//! Documentation/driver-api/early-userspace/buffer-format.rst describes it).

use std::io::{self, Write};

use cpio::newc::{Builder, ModeFileType, trailer};

/// An archive under construction.
#[derive(Debug)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Default for Initramfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Initramfs {
    /// An empty archive.
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            entries: 0,
        }
    }

    /// Adds a folder. Its parent must have been added.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, ModeFileType::Directory, 0o755, (0, 0), &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, ModeFileType::Regular, mode, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(
            path,
            ModeFileType::Symlink,
            0o777,
            (0, 0),
            target.as_bytes(),
        )
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(path, ModeFileType::Char, 0o600, (major, minor), &[])
    }

    /// The finished archive. Another archive may follow it.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        let mut bytes = trailer(self.bytes)?;
        // The kernel looks for the next archive at a multiple of four.
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        Ok(bytes)
    }

    fn entry(
        &mut self,
        path: &str,
        kind: ModeFileType,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.entries += 1;
        let length = u32::try_from(content.len())
            .map_err(|_| io::Error::other(format!("{path}: too large for an initramfs")))?;
        let mut writer = Builder::new(path)
            .ino(self.entries)
            .mode(mode)
            .set_mode_file_type(kind)
            .rdev_major(major)
            .rdev_minor(minor)
            .write(std::mem::take(&mut self.bytes), length);
        writer.write_all(content)?;
        self.bytes = writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_reads_back() {
        let mut archive = Initramfs::new();
        archive.folder("dev").unwrap();
        archive.device("dev/console", 5, 1).unwrap();
        archive.file("init", 0o755, b"\x7fELF").unwrap();
        archive.link("bin/sh", "busybox").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);

        let mut seen = Vec::new();
        let mut reader = cpio::newc::Reader::new(bytes.as_slice()).unwrap();
        while !reader.entry().is_trailer() {
            let entry = reader.entry();
            seen.push((entry.name().to_owned(), entry.mode(), entry.file_size()));
            reader = cpio::newc::Reader::new(reader.finish().unwrap()).unwrap();
        }
        assert_eq!(
            seen,
            [
                ("dev".to_owned(), 0o040_755, 0),
                ("dev/console".to_owned(), 0o020_600, 0),
                ("init".to_owned(), 0o100_755, 4),
                ("bin/sh".to_owned(), 0o120_777, 7),
            ]
        );
    }
}
