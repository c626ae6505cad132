//! The page of the lock-step: by it the host tells the guest what to prepare,
//! which call each side makes and when it begins, and learns what came of it.
//! Layout and meaning only, as in `recorder`.

use std::fs::OpenOptions;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromBytes;

use crate::kernel::sys::MappedPage;
use crate::recorder;

/// Bytes of the shared page: a power of two, as a PCI BAR must be.
pub const LOCK_STEP_BYTES: usize = 16 << 20;
/// `modrace`, `l`, and the layout's version.
pub const LOCK_STEP_MAGIC: u64 = 0x6d6f_6472_6163_6c03;
/// Words of text that the guest can hand over.
const TEXT_WORDS: usize = (LOCK_STEP_BYTES - 4096) / 8;

/// Of what a round is to find prepared: the module is loaded.
pub const MODULE_LOADED: u64 = 1;
/// The reader has opened its file.
pub const FILE_OPEN: u64 = 2;

/// The page. Rounds are counted from 1; side 0 unloads, side 1 reads.
#[repr(C, align(4096))]
#[derive(Debug, FromBytes)]
pub struct LockStep {
    /// [`LOCK_STEP_MAGIC`] once the guest waits for the first round.
    pub magic: AtomicU64,
    /// Written by the host: the round to prepare.
    pub round: AtomicU64,
    /// Written by the host before `round`: which form of the module is loaded.
    pub form: AtomicU64,
    /// Written by the host before `round`: what it is to find prepared, bits
    /// such as [`MODULE_LOADED`].
    pub prepared: AtomicU64,
    /// Written by the host before `round`: the call of each side.
    pub calls: [AtomicU64; 2],
    /// Written by the host before `round`: which of the files is the reader's.
    pub file: AtomicU64,
    /// Written by the host before `round`: 1 where the file is closed and the
    /// module unloaded after it.
    pub tidies: AtomicU64,
    /// Written by the host: the round whose call the side may begin.
    pub begin: [AtomicU64; 2],
    /// Written by the host: the round in which the side's CPU is to be kept from
    /// it, by a task of the highest priority; 0: in none.
    pub keep: [AtomicU64; 2],
    /// Written by the guest: the round for which that task was woken.
    pub woken: [AtomicU64; 2],
    /// Written by the guest: the round in which it has the CPU.
    pub kept: [AtomicU64; 2],
    /// Written by the guest: the round for which the module is loaded.
    pub loaded: AtomicU64,
    /// Written by the guest: the round for which the side stands at its gate.
    pub ready: [AtomicU64; 2],
    /// Written by the guest: the round whose call has come back.
    pub ended: [AtomicU64; 2],
    /// Written by the guest: what the side's last call returned, negative for
    /// an error number.
    pub result: [AtomicU64; 2],
    /// Written by the guest: the round that is over, tidied up if it was to be.
    pub clean: AtomicU64,
    /// Written by the guest: error number of the last load; 0: it was loaded.
    pub load_error: AtomicU64,
    /// Written by the guest: address of the loaded module's `struct module`;
    /// 0 where sysfs does not tell.
    pub module: AtomicU64,
    /// Written by the guest: address of its code; 0 where sysfs does not tell.
    pub code: AtomicU64,
    /// Written by the guest: 1 where it cannot serve, for the reason in `text`.
    pub refused: AtomicU64,
    /// Written by the guest: bytes of `text`.
    pub text_bytes: AtomicU64,
    reserved: [AtomicU64; 483],
    /// Text that the guest hands over, packed in words of native byte order.
    text: [AtomicU64; TEXT_WORDS],
}

const _: () = assert!(size_of::<LockStep>() <= LOCK_STEP_BYTES);

impl LockStep {
    /// Hands over a text; what does not fit is left out.
    pub fn put_text(&self, text: &[u8]) {
        let text = &text[..text.len().min(TEXT_WORDS * 8)];
        for (word, bytes) in self.text.iter().zip(text.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
        }
        self.text_bytes.store(text.len() as u64, Ordering::Release);
    }

    /// The text that was handed over.
    pub fn text(&self) -> Vec<u8> {
        let length = usize::try_from(self.text_bytes.load(Ordering::Acquire)).unwrap_or(0);
        let length = length.min(TEXT_WORDS * 8);
        let mut text: Vec<u8> = self.text[..length.div_ceil(8)]
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        text.truncate(length);
        text
    }
}

/// The guest's view of the page, if there is one.
pub fn open_in_guest() -> io::Result<MappedPage<LockStep>> {
    let bar = recorder::bar_in_guest(LOCK_STEP_BYTES)?;
    let file = OpenOptions::new().read(true).write(true).open(bar)?;
    MappedPage::map(&file, LOCK_STEP_BYTES)
}
