//! A reader: makes the kernel look at the module that is being torn down, and
//! notes the state that it sees. Free running here; `striker` aims. What a
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

use super::arms::Shape;
use super::line_check::LineCheck;
use super::targets::{Access, Target};
use crate::model::{Slot, Stage, bump};
use crate::procfs::modules::State;

/// Reads without a sighting after which a reader doubts its open file.
const DOUBT_AFTER_READS: u32 = 256;
/// Cycles that the loaders must have made meanwhile for the doubt to be fair.
const DOUBT_AFTER_CYCLES: u64 = 16;

/// A target to be read, and what is looked for in it.
pub(super) struct Listing<'a> {
    /// None where every read opens anew.
    open: Option<Open>,
    tally: Tally<'a>,
    page: Vec<u8>,
    unseen: u32,
    cycles_when_lost: u64,
}

impl<'a> Listing<'a> {
    /// Opens it. Nobody checks its lines until [`Listing::count_in`].
    pub(super) fn open(
        target: &'static Target,
        names: &'a [String],
        slot: &'a Slot,
    ) -> io::Result<Self> {
        let open = match target.access {
            Access::Attributes => None,
            Access::Listing { head_len, prelude } => {
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
            tally: Tally::new(
                target,
                names,
                LineCheck::new(Vec::new(), Arc::default()),
                slot,
            ),
            page: vec![0; 64 * 1024],
            unseen: 0,
            cycles_when_lost: 0,
        })
    }

    /// From now on counts there, and checks the lines of `m_show()`.
    pub(super) fn count_in(&mut self, slot: &'a Slot, check: LineCheck) {
        self.tally.slot = slot;
        self.tally.check = check;
        self.tally.head = Head::default();
    }

    /// Reads once and counts; the state in which our module was seen first.
    pub(super) fn read(&mut self, shape: Shape) -> io::Result<Option<State>> {
        self.tally.slot.enter(Stage::Reading);
        self.tally.begin();
        match (&mut self.open, shape) {
            (Some(open), Shape::Head) => {
                self.tally.before_read();
                let head = open.read_head(&mut self.page)?;
                self.tally.head(head);
                open.park(&mut self.page)?;
            }
            (Some(open), Shape::Whole) => open.read_whole(&mut self.page, &mut self.tally)?,
            (None, _) => read_attributes(&mut self.page, &mut self.tally)?,
        }
        let seen = self.tally.end();
        self.tally.slot.enter(Stage::Idle);
        bump(&self.tally.slot.reads);
        Ok(seen)
    }

    /// Goes once through what a read does with `head`, as if it had been read.
    pub(super) fn rehearse(&mut self, head: &[u8]) {
        self.tally.begin();
        self.tally.before_read();
        self.tally.head(head);
        self.tally.end();
    }

    /// Opens the file anew where it no longer shows what it should.
    ///
    /// Before 4.x a `seq_file` that met an unformed module as the only one
    /// keeps returning nothing for ever; a new file does not.
    pub(super) fn doubt(&mut self, seen: bool, cycles: u64) -> io::Result<()> {
        let Some(open) = self.open.as_mut().filter(|_| !seen) else {
            self.unseen = 0;
            return Ok(());
        };
        if self.unseen == 0 {
            self.cycles_when_lost = cycles;
        }
        self.unseen += 1;
        if self.unseen >= DOUBT_AFTER_READS && cycles >= self.cycles_when_lost + DOUBT_AFTER_CYCLES
        {
            open.again(&mut self.page)?;
            bump(&self.tally.slot.reopens);
            self.unseen = 0;
        }
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

    /// One pass over the whole file.
    fn read_whole(&self, page: &mut [u8], tally: &mut Tally<'_>) -> io::Result<()> {
        let mut offset = 0;
        loop {
            tally.before_read();
            let length = retry(|| pread(self.file.as_fd(), page, offset))?;
            if length == 0 {
                return Ok(());
            }
            offset += step(length)?;
            // seq_file hands out whole records.
            tally.lines(&page[..length], true);
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
fn read_attributes(page: &mut [u8], tally: &mut Tally<'_>) -> io::Result<()> {
    for (module, name) in tally.names.iter().enumerate() {
        for path in tally.target.files(name) {
            let length = match read_file(&path, page) {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            tally.record_of(module, &page[..length]);
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
    let seen = Listing::open(target, &names, &slot)?.read(Shape::Whole)?;
    Ok(seen.is_some())
}

/// Reads without a pause until told to stop.
pub(super) fn run(
    mut listing: Listing<'_>,
    shape: Shape,
    cycles: impl Fn() -> u64,
    stop: &AtomicBool,
) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let seen = listing.read(shape)?;
        listing.doubt(seen.is_some(), cycles())?;
    }
    listing.tally.slot.enter(Stage::Ended);
    Ok(())
}

/// What one read after the other shows, counted.
pub(super) struct Tally<'a> {
    target: &'static Target,
    names: &'a [String],
    check: LineCheck,
    slot: &'a Slot,
    /// Of each module, what this read showed last.
    last: Vec<Option<State>>,
    first: Option<State>,
    head: Head,
}

/// The last head read, and when.
#[derive(Default)]
struct Head {
    moment: Option<u64>,
    text: Vec<u8>,
    /// Of each module, what it showed.
    showed: Vec<Option<State>>,
}

impl<'a> Tally<'a> {
    /// Nothing seen yet.
    pub(super) fn new(
        target: &'static Target,
        names: &'a [String],
        check: LineCheck,
        slot: &'a Slot,
    ) -> Self {
        Self {
            target,
            names,
            check,
            slot,
            last: vec![None; names.len()],
            first: None,
            head: Head::default(),
        }
    }

    /// A read begins.
    pub(super) fn begin(&mut self) {
        self.last.fill(None);
        self.first = None;
    }

    /// A system call for it begins.
    pub(super) fn before_read(&mut self) {
        self.check.before_read();
    }

    /// What a head read gave. What repeats the last, as most do in a strike, is
    /// not parsed again: the longer a reader is out of the kernel, the seldomer
    /// `m_show()` is at work when the state changes.
    fn head(&mut self, text: &[u8]) {
        let moment = self.check.moment();
        let head = &mut self.head;
        if moment.is_some() && head.moment == moment && head.text == text {
            self.last.clone_from(&head.showed);
            for &seen in self.last.iter().filter(|seen| seen.is_some()) {
                self.first = self.first.or(seen);
                count(self.slot, seen);
            }
            return;
        }
        // A line that cannot be is looked at each time.
        let in_order = !self.target.prints_m_show || self.check.head(text, self.slot);
        head.moment = moment.filter(|_| in_order);
        head.text.clear();
        head.text.extend_from_slice(text);
        self.records(text);
        self.head.showed.clone_from(&self.last);
    }

    /// Whole records, from one call or from several.
    pub(super) fn lines(&mut self, text: &[u8], one_call: bool) {
        if self.target.prints_m_show {
            self.check.lines(text, one_call, self.slot);
        }
        self.records(text);
    }

    /// What a read gave, of whatever modules.
    fn records(&mut self, text: &[u8]) {
        for record in text.split_inclusive(|&byte| byte == b'\n') {
            for module in 0..self.names.len() {
                if self.record_of(module, record) {
                    break;
                }
            }
        }
    }

    /// A record that can only be about one module; true if it is. A module that
    /// a read shows in many records of one state was seen once.
    fn record_of(&mut self, module: usize, record: &[u8]) -> bool {
        let seen = (self.target.sighting)(record, &self.names[module]);
        if seen.is_some() && seen != self.last[module] {
            self.last[module] = seen;
            self.first = self.first.or(seen);
            count(self.slot, seen);
        }
        seen.is_some()
    }

    /// The read is over: the state that it showed first.
    pub(super) fn end(&mut self) -> Option<State> {
        if self.first.is_none() {
            count(self.slot, None);
        }
        self.first
    }
}

/// Counts a sighting, or a read without one.
fn count(slot: &Slot, seen: Option<State>) {
    bump(match seen {
        Some(State::Live) => &slot.live,
        Some(State::Loading) => &slot.loading,
        Some(State::Unloading) => &slot.unloading,
        None => &slot.absent,
    });
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
