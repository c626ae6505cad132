//! The journal: what a run on a bare machine has done so far, on disk. One
//! record per line, each with its own checksum, appended and synced; whatever
//! the power does, the records before the cut are whole and are read back.
//! Owns the file. What the records hold is in `record`, what they mean is read
//! in `recovery`.

mod record;

pub use record::{Beat, Begin, FORMAT, RacingMark, Record, SignRecord, TrialStart};

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::Crc;
use thiserror::Error;

use crate::disk;

/// Where journals are, unless the user says otherwise: `recover` has to find
/// them without being told.
pub const JOURNAL_FOLDER: &str = "/var/lib/modrace";
/// How journals' names end.
const EXTENSION: &str = "journal";
/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A file or folder.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is less room than the run may need.
    #[error(
        "no room for the journal: it may take {} MiB in {}",
        bytes.div_ceil(1 << 20),
        folder.display()
    )]
    NoRoom {
        /// What it may take, bytes.
        bytes: u64,
        /// Where.
        folder: PathBuf,
    },
    /// Another process writes it.
    #[error("{} is in use: a run is under way", .0.display())]
    InUse(PathBuf),
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> JournalError + use<'a> {
    move |source| JournalError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A journal open for writing, locked against others.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    writes: Cost,
    /// What was appended last, on its way to the disk.
    syncing: Option<JoinHandle<io::Result<Duration>>>,
}

/// What syncing has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Records written.
    pub records: u32,
    /// Time that they took, in all.
    pub total: Duration,
    /// The longest of them.
    pub longest: Duration,
}

impl Cost {
    fn count(&mut self, took: Duration) {
        self.records += 1;
        self.total += took;
        self.longest = self.longest.max(took);
    }
}

/// A journal as it was found.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// Its whole records.
    pub records: Vec<Record>,
    /// Bytes behind the last whole record: what a power cut tore.
    pub torn_bytes: u64,
}

impl Journal {
    /// A new journal in `folder`, named after the moment, with room on the disk for
    /// so many bytes. Where there is none, no journal is left.
    pub fn create(folder: &Path, room: u64) -> Result<Self, JournalError> {
        let full = |source: &io::Error| {
            disk::is_full(source).then(|| JournalError::NoRoom {
                bytes: room,
                folder: folder.to_owned(),
            })
        };
        disk::make_folder(folder).map_err(|source| {
            full(&source).unwrap_or_else(|| failed("create the folder", folder)(source))
        })?;
        let path = folder.join(format!("{}.{EXTENSION}", unix_ms()));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| {
                full(&source).unwrap_or_else(|| failed("create the journal", &path)(source))
            })?;
        let journal = Self::locked(file, path)?;
        // The name itself has to survive.
        let kept = disk::keep_room(&journal.file, room).and_then(|()| disk::sync(folder));
        if let Err(source) = kept {
            let failure = full(&source).unwrap_or_else(|| failed("keep room in", folder)(source));
            // The folder goes only if nothing else is in it.
            let _ = journal.remove().map(|()| fs::remove_dir(folder));
            return Err(failure);
        }
        Ok(journal)
    }

    /// Opens a journal to go on with it. A torn tail is cut off first, so that
    /// what is appended can be read.
    pub fn resume(path: &Path) -> Result<(Self, Found), JournalError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(failed("open the journal", path))?;
        let mut journal = Self::locked(file, path.to_owned())?;
        let mut bytes = Vec::new();
        journal
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| journal.file.read_to_end(&mut bytes))
            .map_err(failed("read the journal", path))?;
        let (records, whole) = decode(&bytes);
        let torn_bytes = (bytes.len() - whole) as u64;
        if torn_bytes > 0 {
            journal
                .file
                .set_len(whole as u64)
                .and_then(|()| journal.file.sync_all())
                .map_err(failed("cut the torn end off", path))?;
        }
        let found = Found {
            path: path.to_owned(),
            records,
            torn_bytes,
        };
        Ok((journal, found))
    }

    fn locked(file: File, path: PathBuf) -> Result<Self, JournalError> {
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                path,
                writes: Cost::default(),
                syncing: None,
            }),
            Err(TryLockError::WouldBlock) => Err(JournalError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the records have cost so far.
    pub fn cost(&self) -> Cost {
        self.writes
    }

    /// Appends a record; returns when it is on the disk.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.settle()?;
        let start = Instant::now();
        self.file
            .write_all(&encode(record))
            .and_then(|()| self.file.sync_data())
            .map_err(failed("write to the journal", &self.path))?;
        self.writes.count(start.elapsed());
        Ok(())
    }

    /// Appends a record and returns while it is on its way to the disk: who
    /// watches a kernel has no time to wait. What was on its way before has
    /// arrived then, and a failure is told to the next who appends.
    pub fn append_behind(&mut self, record: &Record) -> Result<(), JournalError> {
        self.settle()?;
        let start = Instant::now();
        let mut write = || {
            self.file.write_all(&encode(record))?;
            let file = self.file.try_clone()?;
            let sync = move || file.sync_data().map(|()| start.elapsed());
            thread::Builder::new()
                .name("journal".to_owned())
                .spawn(sync)
        };
        self.syncing = Some(write().map_err(failed("write to the journal", &self.path))?);
        Ok(())
    }

    /// Appends what must not wait for anything: the first line of a crash. A sync
    /// that is under way may hang for ever in a dead kernel; it is left alone.
    /// Waits no longer than `patience`; true if the records are on the disk then.
    pub fn append_urgent(
        &mut self,
        records: &[Record],
        patience: Duration,
    ) -> Result<bool, JournalError> {
        let bytes: Vec<u8> = records.iter().flat_map(encode).collect();
        let written = self.file.try_clone().and_then(|mut file| {
            let (send, done) = mpsc::channel();
            let write = move || {
                let result = file.write_all(&bytes).and_then(|()| file.sync_data());
                // Whoever waited may have given up.
                let _ = send.send(result);
            };
            thread::Builder::new()
                .name("journal".to_owned())
                .spawn(write)?;
            match done.recv_timeout(patience) {
                Ok(result) => result.map(|()| true),
                Err(_) => Ok(false),
            }
        });
        // Nobody waits for it any more.
        self.syncing = None;
        written.map_err(failed("write to the journal", &self.path))
    }

    /// Whether the last record is still on its way to the disk.
    pub fn is_syncing(&self) -> bool {
        matches!(&self.syncing, Some(thread) if !thread.is_finished())
    }

    /// Waits until the last record is on the disk.
    #[expect(
        clippy::disallowed_methods,
        reason = "this thread races nothing, and a sync has no deadline either"
    )]
    fn settle(&mut self) -> Result<(), JournalError> {
        let Some(thread) = self.syncing.take() else {
            return Ok(());
        };
        let panicked = |_| Err(io::Error::other("the thread that syncs it panicked"));
        let took = thread
            .join()
            .unwrap_or_else(panicked)
            .map_err(failed("write to the journal", &self.path))?;
        self.writes.count(took);
        Ok(())
    }

    /// Removes the journal: its run is over and in its report.
    pub fn remove(self) -> Result<(), JournalError> {
        fs::remove_file(&self.path).map_err(failed("remove the journal", &self.path))
    }
}

/// The journals in a folder, oldest first. No folder: none.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read the folder", folder)(error)),
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == EXTENSION))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Wall clock, ms since 1970.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// `checksum json`, one line.
fn encode(record: &Record) -> Vec<u8> {
    // These types hold nothing that JSON cannot say.
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("{:08x} {json}\n", checksum(json.as_bytes())).into_bytes()
}

/// The whole records from the beginning, and how many bytes they take. The
/// first line that is torn or damaged ends them: what stands behind it has no
/// known place.
fn decode(bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut whole = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let Some(record) = decode_line(line) else {
            break;
        };
        records.push(record);
        whole += line.len();
    }
    (records, whole)
}

fn decode_line(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = (line.get(..8)?, line.get(9..)?);
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if line[8] != b' ' || sum != checksum(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// CRC-32.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests;
