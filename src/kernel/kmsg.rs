//! `/dev/kmsg` as a stream of records: only what is newer than the moment of
//! opening, with the sequence numbers checked, so that lost records are never
//! taken for silence. What a record means is not judged here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Whence, lseek};

/// The device.
pub const KMSG: &str = "/dev/kmsg";
/// The kernel's own limit on a record (`PRINTK_MESSAGE_MAX`) is below it.
const LONGEST_RECORD: usize = 16 * 1024;

/// What a read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record's first line, as it stands, without its line end.
    Record(Vec<u8>),
    /// So many records were overwritten before they could be read.
    Lost(u64),
}

/// A reader of the kernel's log.
#[derive(Debug)]
pub struct Kmsg {
    file: File,
    sequence: Sequence,
    buffer: Vec<u8>,
}

impl Kmsg {
    /// Opens the log behind its last record.
    pub fn open() -> io::Result<Self> {
        Self::open_at(Path::new(KMSG))
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        // The device takes SEEK_END for "after the last record".
        lseek(&file, 0, Whence::SeekEnd)?;
        Ok(Self {
            file,
            sequence: Sequence::default(),
            buffer: vec![0; LONGEST_RECORD],
        })
    }

    /// What has come since the last call. Never waits.
    pub fn read(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        loop {
            let length = match self.file.read(&mut self.buffer) {
                Ok(0) => return Ok(entries),
                Ok(length) => length,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return Ok(entries),
                    // Overwritten in the ring; the next read gives the oldest
                    // that is left, and its number says how many are gone.
                    Some(Errno::EPIPE) => {
                        self.sequence.overrun = true;
                        continue;
                    }
                    Some(Errno::EINTR) => continue,
                    _ => return Err(error),
                },
            };
            let record = self.buffer[..length].split(|&byte| byte == b'\n').next();
            let record = record.unwrap_or_default().to_vec();
            entries.extend(self.sequence.follow(&record).map(Entry::Lost));
            entries.push(Entry::Record(record));
        }
    }
}

/// The whole log of this boot, as far as the kernel still has it.
pub fn everything() -> io::Result<Vec<u8>> {
    let mut kmsg = Kmsg {
        file: File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(KMSG)?,
        sequence: Sequence::default(),
        buffer: vec![0; LONGEST_RECORD],
    };
    let mut bytes = Vec::new();
    for entry in kmsg.read()? {
        if let Entry::Record(record) = entry {
            bytes.extend_from_slice(&record);
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}

impl AsFd for Kmsg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The numbers of the records seen.
#[derive(Debug, Default)]
struct Sequence {
    next: Option<u64>,
    overrun: bool,
}

impl Sequence {
    /// Follows a record's number; says how many are missing before it.
    fn follow(&mut self, record: &[u8]) -> Option<u64> {
        let overrun = std::mem::take(&mut self.overrun);
        let number = number(record);
        let lost = match (self.next, number) {
            (Some(next), Some(number)) => number.saturating_sub(next),
            // The first record, and an overrun before it: at least one.
            _ => u64::from(overrun),
        };
        self.next = number.map(|number| number + 1).or(self.next);
        (lost > 0).then_some(lost)
    }
}

/// The second field: `prio,seq,usec,flags;text`.
fn number(record: &[u8]) -> Option<u64> {
    let field = record.split(|&byte| byte == b',').nth(1)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_lost_records() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.follow(b"6,100,5,-;a"), None);
        assert_eq!(sequence.follow(b"6,101,5,-;b"), None);
        assert_eq!(sequence.follow(b"6,105,5,-;c"), Some(3));
        sequence.overrun = true;
        assert_eq!(sequence.follow(b"6,110,5,-;d"), Some(4));
    }

    #[test]
    fn an_overrun_before_the_first_record_is_told() {
        let mut sequence = Sequence {
            overrun: true,
            ..Sequence::default()
        };
        assert_eq!(sequence.follow(b"6,7,5,-;a"), Some(1));
        assert_eq!(sequence.follow(b"6,8,5,-;b"), None);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error() {
        assert!(Kmsg::open_at(Path::new("/nonexistent/kmsg")).is_err());
    }
}
