//! A reader: makes the kernel run `m_show()` on the module that is being torn
//! down, and notes the state that it sees. Free running here; `striker` aims.
//!
//! A head read asks for less than one record. `seq_read()` stops as soon as it
//! can satisfy the call, so exactly one record is formatted: the first, and new
//! modules enter the list at its head. Every head read is thus aimed at the
//! module that the loader has just loaded, however long the list is.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::uio::pread;

use super::arms::Shape;
use super::line_check::LineCheck;
use crate::model::{Slot, Stage, bump};
use crate::procfs::modules::{State, state_of, state_prefix_len};

/// Reads without a sighting after which a reader doubts its open file.
const DOUBT_AFTER_READS: u32 = 256;
/// Cycles that the loaders must have made meanwhile for the doubt to be fair.
const DOUBT_AFTER_CYCLES: u64 = 16;

/// An open listing of modules, and what is looked for in it.
pub(super) struct Listing<'a> {
    path: &'static Path,
    file: File,
    names: &'a [String],
    check: LineCheck,
    slot: &'a Slot,
    head: Vec<u8>,
    page: Vec<u8>,
    unseen: u32,
    cycles_when_lost: u64,
}

impl<'a> Listing<'a> {
    /// Opens it.
    pub(super) fn open(
        path: &'static Path,
        names: &'a [String],
        check: LineCheck,
        slot: &'a Slot,
    ) -> std::io::Result<Self> {
        let head_len = names
            .iter()
            .map(|name| state_prefix_len(name))
            .min()
            .unwrap_or(1);
        Ok(Self {
            path,
            file: File::open(path)?,
            names,
            check,
            slot,
            head: vec![0; head_len],
            page: vec![0; 64 * 1024],
            unseen: 0,
            cycles_when_lost: 0,
        })
    }

    /// Reads once and counts; the state in which our module was seen.
    pub(super) fn read(&mut self, shape: Shape) -> Result<Option<State>, Errno> {
        self.slot.enter(Stage::Reading);
        let seen = match shape {
            Shape::Whole => self.read_whole()?,
            Shape::Head => {
                self.check.before_read();
                let length = retry(|| pread(self.file.as_fd(), &mut self.head, 0))?;
                self.check.head(&self.head[..length], self.slot);
                let seen = sighting(&self.head[..length], self.names);
                note(self.slot, seen);
                seen
            }
        };
        self.slot.enter(Stage::Idle);
        bump(&self.slot.reads);
        Ok(seen)
    }

    /// One pass over the whole file. Counts one sighting per record of ours;
    /// returns the first.
    fn read_whole(&mut self) -> Result<Option<State>, Errno> {
        let mut offset = 0;
        let mut first = None;
        loop {
            self.check.before_read();
            let length = retry(|| pread(self.file.as_fd(), &mut self.page, offset))?;
            if length == 0 {
                break;
            }
            self.check.lines(&self.page[..length], true, self.slot);
            offset += i64::try_from(length).map_err(|_| Errno::EOVERFLOW)?;
            // seq_file hands out whole records.
            for line in self.page[..length].split_inclusive(|&byte| byte == b'\n') {
                if let Some(state) = sighting(line, self.names) {
                    note(self.slot, Some(state));
                    first.get_or_insert(state);
                }
            }
        }
        if first.is_none() {
            note(self.slot, None);
        }
        Ok(first)
    }

    /// Opens the file anew where it no longer shows what it should.
    ///
    /// Before 4.x a `seq_file` that met an unformed module as the only one
    /// keeps returning nothing for ever; a new file does not.
    pub(super) fn doubt(&mut self, seen: bool, cycles: u64) -> std::io::Result<()> {
        if seen {
            self.unseen = 0;
            return Ok(());
        }
        if self.unseen == 0 {
            self.cycles_when_lost = cycles;
        }
        self.unseen += 1;
        if self.unseen >= DOUBT_AFTER_READS && cycles >= self.cycles_when_lost + DOUBT_AFTER_CYCLES
        {
            self.file = File::open(self.path)?;
            bump(&self.slot.reopens);
            self.unseen = 0;
        }
        Ok(())
    }
}

/// Reads without a pause until told to stop.
pub(super) fn run(
    mut listing: Listing<'_>,
    shape: Shape,
    cycles: impl Fn() -> u64,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let seen = listing.read(shape)?;
        listing.doubt(seen.is_some(), cycles())?;
    }
    listing.slot.enter(Stage::Ended);
    Ok(())
}

/// The state in which the first line of `text` shows one of `names`.
pub(super) fn sighting(text: &[u8], names: &[String]) -> Option<State> {
    names
        .iter()
        .find_map(|name| state_of(text, name.as_bytes()))
}

/// Counts a sighting; true if there was one.
pub(super) fn note(slot: &Slot, seen: Option<State>) -> bool {
    bump(match seen {
        Some(State::Live) => &slot.live,
        Some(State::Loading) => &slot.loading,
        Some(State::Unloading) => &slot.unloading,
        None => &slot.absent,
    });
    seen.is_some()
}

fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}
