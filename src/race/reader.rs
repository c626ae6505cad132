//! A reader: makes the kernel run `m_show()` on the module that is being torn
//! down, and notes the state that it sees.
//!
//! A head read asks for less than one record. `seq_read()` stops as soon as it
//! can satisfy the call, so exactly one record is formatted: the first, and new
//! modules enter the list at its head. Every head read is thus aimed at the
//! module that the loader has just loaded, however long the list is.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::uio::pread;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::line_check::{Examples, LineCheck, Watched};
use crate::kernel::clock::spin_ns;
use crate::model::{Slot, Stage, Strategy, bump};
use crate::procfs::modules::{State, state_of, state_prefix_len};

/// Reads without a sighting after which a reader doubts its open file.
const DOUBT_AFTER_READS: u32 = 256;
/// Cycles that the loaders must have made meanwhile for the doubt to be fair.
const DOUBT_AFTER_CYCLES: u64 = 16;
/// Longest pause before a head read under `auto`, ns. A reader that never
/// pauses can fall into step with the loader and starve it of the mutex.
const LONGEST_PAUSE_NS: u64 = 50_000;

/// What a reader needs to know.
#[derive(Debug)]
pub(super) struct ReaderPlan {
    /// The file that lists modules.
    pub(super) target: &'static Path,
    /// How to read it.
    pub(super) strategy: Strategy,
    /// Names of the modules that are raced.
    pub(super) names: Vec<String>,
    /// Seed of the pauses.
    pub(super) seed: u64,
    /// The same modules, for the check of their lines.
    pub(super) watched: Vec<Watched>,
    /// Where examples of bad lines go.
    pub(super) examples: Arc<Examples>,
}

impl ReaderPlan {
    pub(super) fn line_check(&self) -> LineCheck {
        LineCheck::new(self.watched.clone(), Arc::clone(&self.examples))
    }
}

/// Reads until told to stop.
pub(super) fn run(
    plan: &ReaderPlan,
    slot: &Slot,
    cycles: impl Fn() -> u64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let mut file = File::open(plan.target)?;
    let head_len = plan
        .names
        .iter()
        .map(|name| state_prefix_len(name))
        .min()
        .unwrap_or(1);
    let mut head = vec![0; head_len];
    let mut page = vec![0; 64 * 1024];
    let mut check = plan.line_check();
    let mut unseen = 0;
    let mut cycles_when_lost = 0;
    while !stop.load(Ordering::Relaxed) {
        if plan.strategy == Strategy::Auto {
            spin_ns(rng.random_range(0..LONGEST_PAUSE_NS));
        }
        slot.enter(Stage::Reading);
        let seen = match plan.strategy {
            Strategy::Full => read_whole(&file, &mut page, &plan.names, &mut check, slot)?,
            Strategy::Auto | Strategy::Head | Strategy::AsReported => {
                check.before_read();
                let length = retry(|| pread(file.as_fd(), &mut head, 0))?;
                check.head(&head[..length], slot);
                note(slot, sighting(&head[..length], &plan.names))
            }
        };
        slot.enter(Stage::Idle);
        bump(&slot.reads);
        if seen {
            unseen = 0;
        } else {
            if unseen == 0 {
                cycles_when_lost = cycles();
            }
            unseen += 1;
            // Before 4.x a seq_file that met an unformed module as the only
            // one keeps returning nothing for ever; a new file does not.
            if unseen >= DOUBT_AFTER_READS && cycles() >= cycles_when_lost + DOUBT_AFTER_CYCLES {
                file = File::open(plan.target)?;
                bump(&slot.reopens);
                unseen = 0;
            }
        }
    }
    slot.enter(Stage::Ended);
    Ok(())
}

/// One pass over the whole file. Counts one sighting per record of ours.
fn read_whole(
    file: &File,
    page: &mut [u8],
    names: &[String],
    check: &mut LineCheck,
    slot: &Slot,
) -> Result<bool, Errno> {
    let mut offset = 0;
    let mut seen = false;
    loop {
        check.before_read();
        let length = retry(|| pread(file.as_fd(), page, offset))?;
        if length == 0 {
            break;
        }
        check.lines(&page[..length], true, slot);
        offset += i64::try_from(length).map_err(|_| Errno::EOVERFLOW)?;
        // seq_file hands out whole records.
        for line in page[..length].split_inclusive(|&byte| byte == b'\n') {
            if let Some(state) = sighting(line, names) {
                note(slot, Some(state));
                seen = true;
            }
        }
    }
    if !seen {
        note(slot, None);
    }
    Ok(seen)
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
