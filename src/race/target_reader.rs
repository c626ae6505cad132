//! A reader: makes the kernel look at the module that is being torn down, and
//! notes the state that it sees. Free running here; `targeted_reader` aims. What a
//! target is, `targets` says.
//!
//! A head read of `/proc/modules` asks for less than one record. `seq_read()`
//! stops as soon as it can satisfy the call, so exactly one record is
//! formatted: the first, and new modules enter the list at its head. Every head
//! read is thus aimed at the module that the loader has just loaded, however
//! long the list is.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::uio::pread;

use super::auto::Shape;
use super::line_check::LineCheck;
use super::read_counter::ReadCounter;
use super::targets::{Access, Target};
use crate::procfs::modules::State;
use crate::recorder::{Slot, Stage, bump};

/// Reads without a sighting after which a reader doubts its open file.
const STALE_AFTER_READS: u32 = 256;
/// Cycles that the loaders must have made meanwhile for the check to be fair.
const STALE_AFTER_CYCLES: u64 = 16;
/// Most reads in a row that give nothing before a reader without a pause opens
/// its file anew. Opening costs about as much as such a read.
const MOST_EMPTY_READS: u32 = 4;

/// A target to be read, and what is looked for in it.
pub(super) struct TargetReader<'a> {
    /// None where every read opens anew.
    open: Option<Open>,
    read_counter: ReadCounter<'a>,
    page: Vec<u8>,
    /// Reads in a row without a sighting.
    unseen: u32,
    cycles_when_lost: u64,
    /// Reads in a row that gave nothing at all, of the file as it is open now.
    empty: u32,
    /// How many of them are borne where reads follow each other without a pause.
    patience: u32,
}

impl<'a> TargetReader<'a> {
    /// Opens it. Nobody checks its lines until [`TargetReader::count_in`].
    pub(super) fn open(
        target: &'static Target,
        names: &'a [String],
        slot: &'a Slot,
    ) -> io::Result<Self> {
        let open = match target.access {
            Access::Attributes => None,
            Access::TargetReader { head_len, prelude } => {
                let head_len = names.iter().map(|name| head_len(name)).min().unwrap_or(1);
                Some(Open {
                    path: target.name,
                    file: File::open(target.name)?,
                    head: vec![0; head_len],
                    prelude,
                    offset: None,
                })
            }
        };
        Ok(Self {
            open,
            read_counter: ReadCounter::new(
                target,
                names,
                LineCheck::new(Vec::new(), Arc::default()),
                slot,
            ),
            page: vec![0; 64 * 1024],
            unseen: 0,
            cycles_when_lost: 0,
            empty: 0,
            patience: 1,
        })
    }

    /// From now on counts there, and checks the lines of `m_show()`.
    pub(super) fn count_in(&mut self, slot: &'a Slot, check: LineCheck) {
        self.read_counter.count_in(slot, check);
    }

    /// Reads once and counts; the state in which our module was seen first.
    pub(super) fn read(&mut self, shape: Shape) -> io::Result<Option<State>> {
        self.read_counter.slot.enter(Stage::Reading);
        self.read_counter.begin();
        let gave = match (&mut self.open, shape) {
            (Some(open), Shape::Head) => {
                self.read_counter.before_read();
                let head = open.read_head(&mut self.page)?;
                self.read_counter.head(head);
                let gave = !head.is_empty();
                open.park(&mut self.page)?;
                gave
            }
            (Some(open), Shape::Whole) => {
                open.read_whole(&mut self.page, &mut self.read_counter)?
            }
            (None, _) => {
                read_attributes(&mut self.page, &mut self.read_counter)?;
                true
            }
        };
        if gave || self.empty == 0 {
            self.read_counter.could_see();
        }
        if gave {
            (self.empty, self.patience) = (0, 1);
        } else {
            self.empty += 1;
        }
        let seen = self.read_counter.end();
        self.read_counter.slot.enter(Stage::Idle);
        bump(&self.read_counter.slot.reads);
        Ok(seen)
    }

    /// Goes once through what a read does with `head`, as if it had been read.
    pub(super) fn rehearse(&mut self, head: &[u8]) {
        self.read_counter.begin();
        self.read_counter.before_read();
        self.read_counter.head(head);
        self.read_counter.end();
    }

    /// Opens the file anew where the last read of it gave nothing.
    ///
    /// Before 4.10 (e522751d605d) a `seq_file` that met an unformed module as
    /// the only one keeps giving nothing for ever; a new file does not. For a
    /// reader that has time until it reads again.
    pub(super) fn reopen_if_empty(&mut self) -> io::Result<()> {
        match self.empty {
            0 => Ok(()),
            _ => self.reopen(),
        }
    }

    /// The same for a reader without a pause: where nothing is loaded for a
    /// while, most reads give nothing and most openings would be in vain.
    ///
    /// A file that gives something, but for very long not what it should, is
    /// opened anew as well.
    pub(super) fn reopen_if_stale(&mut self, seen: bool, cycles: u64) -> io::Result<()> {
        if self.open.is_none() {
            return Ok(());
        }
        if self.empty >= self.patience {
            self.patience = (2 * self.patience).min(MOST_EMPTY_READS);
            return self.reopen();
        }
        if seen {
            self.unseen = 0;
            return Ok(());
        }
        if self.unseen == 0 {
            self.cycles_when_lost = cycles;
        }
        self.unseen += 1;
        if self.unseen >= STALE_AFTER_READS && cycles >= self.cycles_when_lost + STALE_AFTER_CYCLES
        {
            self.reopen()?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.again(&mut self.page)?;
        bump(&self.read_counter.slot.reopens);
        (self.unseen, self.empty) = (0, 0);
        Ok(())
    }
}

/// A `seq_file` that stays open.
struct Open {
    path: &'static str,
    file: File,
    head: Vec<u8>,
    prelude: fn(&[u8]) -> bool,
    /// Where head reads begin, once it is known.
    offset: Option<i64>,
}

impl Open {
    fn again(&mut self, page: &mut [u8]) -> io::Result<()> {
        self.file = File::open(self.path)?;
        self.park(page)
    }

    /// Takes the way to where head reads begin, so that the next one need not:
    /// a `seq_file` gets anywhere only by formatting all records before, which
    /// takes a while for `/proc/kallsyms`. In steps, and not by a seek: where
    /// the kernel is not preempted, one long call would hold up the grace
    /// period of every unload, and end when the module has just gone.
    fn park(&mut self, page: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while let Some(left @ 1..) = self.offset.map(|offset| offset - at) {
            let most = usize::try_from(left).map_or(page.len(), |left| left.min(page.len()));
            match retry(|| pread(self.file.as_fd(), &mut page[..most], at))? {
                0 => break,
                length => at += step(length)?,
            }
        }
        Ok(())
    }

    fn read_head(&mut self, page: &mut [u8]) -> io::Result<&[u8]> {
        let offset = match self.offset {
            Some(offset) => offset,
            None => *self
                .offset
                .insert(last_of_prelude(&self.file, self.prelude, page)?),
        };
        let length = retry(|| pread(self.file.as_fd(), &mut self.head, offset))?;
        Ok(&self.head[..length])
    }

    /// One pass over the whole file: whether it gave anything.
    fn read_whole(&self, page: &mut [u8], read_counter: &mut ReadCounter<'_>) -> io::Result<bool> {
        let mut offset = 0;
        loop {
            read_counter.before_read();
            let length = retry(|| pread(self.file.as_fd(), page, offset))?;
            if length == 0 {
                return Ok(offset > 0);
            }
            offset += step(length)?;
            // seq_file hands out whole records.
            read_counter.lines(&page[..length], true);
        }
    }
}

/// Where the last record of the prelude begins; 0 if there is none.
///
/// A head read begins there and not behind it: `/proc/kallsyms` notes where the
/// modules' symbols end as soon as it gets there, be it on the way, and would
/// show none of those that come later.
fn last_of_prelude(file: &File, prelude: fn(&[u8]) -> bool, page: &mut [u8]) -> io::Result<i64> {
    let (mut offset, mut last) = (0, 0);
    loop {
        let length = retry(|| pread(file.as_fd(), page, offset))?;
        if length == 0 {
            return Ok(last);
        }
        for record in page[..length].split_inclusive(|&byte| byte == b'\n') {
            if !prelude(record) {
                return Ok(last);
            }
            last = offset;
            offset += step(record.len())?;
        }
    }
}

/// Reads every file of every module's. One that has gone away shows nothing.
fn read_attributes(page: &mut [u8], read_counter: &mut ReadCounter<'_>) -> io::Result<()> {
    for (module, name) in read_counter.names.iter().enumerate() {
        for path in read_counter.target.files(name) {
            let length = match read_file(&path, page) {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            read_counter.record_of(module, &page[..length]);
        }
    }
    Ok(())
}

fn read_file(path: &Path, page: &mut [u8]) -> io::Result<usize> {
    let file = File::open(path)?;
    Ok(retry(|| pread(file.as_fd(), page, 0))?)
}

/// Before the file is opened it is ENOENT, afterwards ENODEV.
fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ENOENT, Errno::ENODEV].map(|errno| errno as i32);
    error
        .raw_os_error()
        .is_some_and(|errno| gone.contains(&errno))
}

/// Whether the target shows a module that is loaded.
pub fn shows(target: &'static Target, module: &str) -> io::Result<bool> {
    let (names, slot) = ([module.to_owned()], Slot::default());
    let seen = TargetReader::open(target, &names, &slot)?.read(Shape::Whole)?;
    Ok(seen.is_some())
}

/// Reads without a pause until told to stop.
pub(super) fn run(
    mut target_reader: TargetReader<'_>,
    shape: Shape,
    cycles: impl Fn() -> u64,
    stop: &AtomicBool,
) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let seen = target_reader.read(shape)?;
        target_reader.reopen_if_stale(seen.is_some(), cycles())?;
    }
    target_reader.read_counter.slot.enter(Stage::Ended);
    Ok(())
}

fn step(length: usize) -> io::Result<i64> {
    i64::try_from(length).map_err(io::Error::other)
}

fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests;
