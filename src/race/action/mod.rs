//! What loaders and readers do in races other than the default one: a few
//! named actions, free running. Which race takes which is a row of `races`;
//! a driver's own run takes what was typed.

pub mod files;
mod loading;
mod reading;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::kernel::clock;
use crate::kernel::module::ModuleFile;
use crate::race::targets::Target;
use crate::recorder::{Slot, Stage};

pub(in crate::race) use loading::Rounds;
pub use reading::refusal;

/// What loaders do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderAction {
    /// Each loads and unloads a module of its own.
    Cycle,
    /// Two share one module: one unloads it while the other loads it.
    Duel,
}

impl LoaderAction {
    /// For the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cycle => "load, unload",
            Self::Duel => "unload while another loads the same name",
        }
    }
}

/// What readers do, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderAction {
    /// There are no readers: the module does it to itself.
    Nothing,
    /// Open a file, read all of it, close it.
    OpenRead,
    /// Open a file, read its beginning, close it.
    ReadHead,
    /// `stat(2)`.
    Stat,
    /// Open a file and close it.
    OpenClose,
    /// Open a file, read, wait, read again, close it.
    HoldRead,
    /// Open a file, write a text to it, close it.
    Write,
    /// Write a text to `unbind` and then to `bind` in a driver's folder.
    BindUnbind,
}

impl ReaderAction {
    /// Every action with its name on the command line and its help.
    pub const TABLE: &[(Self, &str, &str)] = &[
        (Self::OpenRead, "open-read", "open, read all, close"),
        (Self::ReadHead, "read-head", "open, read up to 4 KiB, close"),
        (Self::Stat, "stat", "look it up: stat(2)"),
        (
            Self::OpenClose,
            "open-close",
            "open for reading and writing, close",
        ),
        (
            Self::HoldRead,
            "hold-read",
            "open, read, wait up to 5 ms, read again, close",
        ),
        (Self::Write, "write", "open, write --text, close"),
        (
            Self::BindUnbind,
            "bind-unbind",
            "write --text, a device's name, to unbind and to bind in a driver's folder",
        ),
        (Self::Nothing, "nothing", "no readers: load and unload only"),
    ];

    /// The action of a name.
    pub fn named(name: &str) -> Option<Self> {
        let row = Self::TABLE.iter().find(|(_, known, _)| *known == name)?;
        Some(row.0)
    }

    /// Opens a file as it does. Never waits for whoever is on the other side of
    /// a device or FIFO.
    pub fn open(self, path: &Path) -> io::Result<File> {
        reading::open(self, path)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        let row = Self::TABLE.iter().find(|(action, ..)| *action == self);
        row.map_or("", |(_, name, _)| name)
    }
}

/// What the workers of one race do.
#[derive(Clone, Debug)]
pub struct Actions {
    /// Loaders.
    pub loader: LoaderAction,
    /// Readers.
    pub reader: ReaderAction,
    /// The readers' files, shared out among them.
    pub files: Vec<PathBuf>,
    /// What `write` and `bind-unbind` write.
    pub text: String,
    /// The module's parameters.
    pub parameters: CString,
    /// Longest random pause of a loader before each call, µs.
    pub loader_pause_us: u64,
    /// Longest random pause of a reader between two turns, µs.
    pub reader_pause_us: u64,
}

impl Actions {
    /// Those of readers of a target of the table.
    pub fn of_target(target: &Target, module: &str) -> Self {
        Self {
            loader: LoaderAction::Cycle,
            reader: ReaderAction::ReadHead,
            files: vec![target.path(module).into()],
            text: String::new(),
            parameters: CString::default(),
            loader_pause_us: 0,
            reader_pause_us: 0,
        }
    }

    /// The files of reader `reader` of `readers`; never none if there are any.
    fn share(&self, reader: usize, readers: usize) -> Vec<PathBuf> {
        let own = self.files.iter().skip(reader).step_by(readers.max(1));
        let own: Vec<PathBuf> = own.cloned().collect();
        match self.files.get(reader % self.files.len().max(1)) {
            Some(file) if own.is_empty() => vec![file.clone()],
            _ => own,
        }
    }

    /// A reader until told to stop.
    pub(in crate::race) fn read(
        &self,
        (reader, readers): (usize, usize),
        seed: u64,
        slot: &Slot,
        stop: &AtomicBool,
    ) {
        let files = self.share(reader, readers);
        let pause = Pause::new(seed, self.reader_pause_us);
        if self.reader != ReaderAction::Nothing && !files.is_empty() {
            reading::run(self.reader, &files, &self.text, pause, slot, stop);
        }
        slot.enter(Stage::Ended);
    }

    /// A loader until told to stop.
    pub(in crate::race) fn load(
        &self,
        loader: usize,
        module: &ModuleFile,
        rounds: &Rounds,
        seed: u64,
        slot: &Slot,
        stop: &AtomicBool,
    ) {
        let pause = Pause::new(seed, self.loader_pause_us);
        match self.loader {
            LoaderAction::Cycle => loading::cycle(module, self, pause, slot, stop),
            LoaderAction::Duel => {
                loading::duel(loader, module, self, rounds, pause, slot, stop);
            }
        }
        slot.enter(Stage::Ended);
    }
}

/// Random pauses, so that two workers do not fall into step. They are spun
/// where they are short: a sleep of microseconds takes a hundred.
struct Pause {
    rng: Xoshiro256PlusPlus,
    longest_ns: u64,
}

/// Pauses up to here are spun, ns.
const LONGEST_SPIN_NS: u64 = 300_000;

impl Pause {
    fn new(seed: u64, longest_us: u64) -> Self {
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            longest_ns: longest_us * 1000,
        }
    }

    /// A random time, ns.
    fn below(&mut self, longest_ns: u64) -> u64 {
        match longest_ns {
            0 => 0,
            _ => self.rng.random_range(0..longest_ns),
        }
    }

    fn take(&mut self) {
        let ns = self.below(self.longest_ns);
        if ns < LONGEST_SPIN_NS {
            clock::spin_ns(ns);
        } else {
            clock::sleep_until(clock::monotonic_ns() + ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(files: &[&str]) -> Actions {
        Actions {
            loader: LoaderAction::Cycle,
            reader: ReaderAction::Stat,
            files: files.iter().map(PathBuf::from).collect(),
            text: String::new(),
            parameters: CString::default(),
            loader_pause_us: 0,
            reader_pause_us: 0,
        }
    }

    #[test]
    fn every_file_has_a_reader_and_every_reader_a_file() {
        let of = |files: &[&str], readers| -> Vec<usize> {
            let actions = actions(files);
            (0..readers)
                .map(|reader| actions.share(reader, readers).len())
                .collect()
        };
        assert_eq!(of(&["/a", "/b", "/c"], 2), [2, 1]);
        assert_eq!(of(&["/a"], 3), [1, 1, 1]);
        assert_eq!(of(&[], 2), [0, 0]);
    }

    #[test]
    fn every_action_is_found_by_its_name() {
        for &(action, name, help) in ReaderAction::TABLE {
            assert_eq!(ReaderAction::named(name), Some(action));
            assert_eq!(action.as_str(), name);
            assert!(!help.is_empty());
        }
        assert_eq!(ReaderAction::named("dance"), None);
    }
}
