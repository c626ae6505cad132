//! The journal: what a run on a bare machine has done so far, on disk. One
//! record per line, each with its own checksum, appended and synced; whatever
//! the power does, the records before the cut are whole and are read back.
//! Owns the format and the file. What the records mean is read in `recovery`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::Crc;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Counters, Report, Trial, Tunable};
use crate::vm::protocol::{Finished, Racing};

/// Where journals are, unless the user says otherwise: `recover` has to find
/// them without being told.
pub const JOURNAL_FOLDER: &str = "/var/lib/modrace";
/// How journals' names end.
const EXTENSION: &str = "journal";
/// The format, first thing in the first record.
pub const FORMAT: &str = "modrace/journal/1";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A run begins. Always the first record.
    Begin(Box<Begin>),
    /// A trial begins.
    Trial(TrialStart),
    /// The race is on.
    Racing(RacingMark),
    /// The machine is alive, and has got so far.
    Beat(Beat),
    /// The first line of a crash.
    Sign(SignRecord),
    /// The racer's own last word.
    #[serde(rename = "word")]
    Result(Box<Finished>),
    /// A trial has its outcome.
    Outcome(Box<Trial>),
    /// The run is over and its report is written; nothing is left to recover.
    End {
        /// How.
        how: String,
    },
}

/// What the run is, for whoever has to finish it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// [`FORMAT`].
    pub format: String,
    /// The report before the first trial; settings and seed stand in it.
    pub report: Report,
    /// Where the report goes, absolute; none: it was to go to stdout.
    pub report_path: Option<PathBuf>,
    /// The module file that is raced, absolute.
    pub module: PathBuf,
    /// Modules that are loaded for the time of the run, in this order.
    pub dependencies: Vec<PathBuf>,
    /// Whether the remaining trials are to be made after a reboot.
    pub rearm: bool,
    /// Time between two heartbeats, seconds.
    pub heartbeat_s: f64,
    /// Settings of the kernel that the run may change, with the values that
    /// they had before it: whatever kills the run, they can be put back.
    #[serde(rename = "knobs")]
    pub tunables: Vec<Tunable>,
}

/// The start of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialStart {
    /// Its index.
    pub index: u32,
    /// Its seed.
    pub seed: u64,
    /// The boot that it is made in, `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Wall clock, ms since 1970.
    pub unix_ms: u64,
    /// The taint word.
    pub taint: u64,
    /// Logs of dead kernels that lay about before: not of this trial.
    pub old_logs: Vec<PathBuf>,
    /// pstore's backend, if the kernel has one.
    pub pstore: Option<String>,
    /// The racer's process group.
    pub racer: u32,
}

/// The start of a race.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RacingMark {
    /// What the racer said.
    pub racing: Racing,
    /// The kernel log's clock at that moment, seconds; none: its mark was not
    /// to be found.
    pub log_start_s: Option<f64>,
}

/// A heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Wall clock, ms since 1970.
    pub unix_ms: u64,
    /// Time raced, seconds.
    pub raced_s: f64,
    /// Load/unload cycles.
    pub cycles: u64,
    /// Reads.
    pub reads: u64,
    /// Seconds since a load/unload cycle last came back.
    pub idle_s: f64,
    /// The rest of the counts.
    pub counters: Counters,
}

/// The first line of a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignRecord {
    /// The record of `/dev/kmsg`.
    pub line: String,
    /// The log's clock, seconds.
    pub log_time_s: Option<f64>,
    /// The counts at that moment.
    pub beat: Beat,
}

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
    /// A new journal in `folder`, named after the moment.
    pub fn create(folder: &Path) -> Result<Self, JournalError> {
        fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
        let path = folder.join(format!("{}.{EXTENSION}", unix_ms()));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create the journal", &path))?;
        let journal = Self::locked(file, path)?;
        // The name itself has to survive.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync", folder))?;
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
pub fn unix_ms() -> u64 {
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
