//! The guest's memory as the host sees it while the guest runs: a file that
//! holds physical memory, and the kernel's page tables in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::arch::Arch;

const PAGE: u64 = 4096;
/// Of an entry of a page table on x86-64: present, and a large page (Intel SDM
/// volume 3, 4.5).
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Physical memory, read while it changes: a word of eight bytes is never torn
/// where it is aligned, anything longer may be.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    image_offset: u64,
    page_table: u64,
}

impl GuestMemory {
    /// The memory in `file` of a kernel whose top page table lies at the
    /// virtual address `page_table`.
    pub fn new(file: File, arch: &Arch, page_table: u64) -> Self {
        Self {
            file,
            image_offset: arch.image_offset,
            page_table,
        }
    }

    /// Bytes at a virtual address of the kernel.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = address.wrapping_add(done as u64);
            let room = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
            let length = room.min(bytes.len() - done);
            let physical = self.physical(at)?;
            self.file
                .read_exact_at(&mut bytes[done..done + length], physical)?;
            done += length;
        }
        Ok(())
    }

    /// Bytes from a virtual address of the kernel on, to the first page that is
    /// not mapped.
    pub fn as_far_as_mapped(&self, address: u64, bytes: u64) -> Vec<u8> {
        let mut all = Vec::new();
        let end = address.saturating_add(bytes);
        let mut at = address;
        while at < end {
            let length = (PAGE - at % PAGE).min(end - at);
            let mut page = vec![0; usize::try_from(length).unwrap_or(0)];
            if self.read(at, &mut page).is_err() {
                break;
            }
            all.append(&mut page);
            at += length;
        }
        all
    }

    /// The word at a virtual address of the kernel.
    pub fn word(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Four bytes at a virtual address of the kernel.
    pub fn half(&self, address: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Walks the page tables.
    fn physical(&self, address: u64) -> io::Result<u64> {
        let mut table = self.page_table.wrapping_sub(self.image_offset);
        for level in (0..4).rev() {
            let shift = 12 + 9 * level;
            let index = address >> shift & 0x1ff;
            let mut bytes = [0; 8];
            self.file.read_exact_at(&mut bytes, table + index * 8)?;
            let entry = u64::from_le_bytes(bytes);
            if entry & PRESENT == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{address:#x} is not mapped"),
                ));
            }
            if level == 0 || level < 3 && entry & LARGE != 0 {
                let inside = (1 << shift) - 1;
                return Ok(entry & ADDRESS & !inside | address & inside);
            }
            table = entry & ADDRESS;
        }
        Err(io::Error::other("a page table of no level"))
    }
}
