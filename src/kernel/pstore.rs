//! What a dying kernel left behind: pstore records, a kdump's `vmcore-dmesg`,
//! another boot's log from journald. Finds and reads; judges nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::statfs::statfs;

/// Where pstore is mounted, and where systemd moves its records at boot.
pub const PSTORE: &str = "/sys/fs/pstore";
const ARCHIVE: &str = "/var/lib/systemd/pstore";
/// Where kdump leaves its folders.
const KDUMP: &str = "/var/crash";
/// `PSTOREFS_MAGIC`, include/uapi/linux/magic.h.
const PSTORE_MAGIC: i64 = 0x6165_676C;
/// How deep folders are looked into below those.
const DEPTH: u32 = 3;

/// A log that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// What it is and where it was, for people.
    pub source: String,
    /// Its text.
    pub bytes: Vec<u8>,
    /// The pstore records that it was read from; to be removed once kept.
    pub records: Vec<PathBuf>,
}

/// pstore, mounted for as long as this lives.
#[derive(Debug)]
pub struct Pstore {
    mounted_by_us: bool,
}

impl Pstore {
    /// Mounts pstore unless it is. A kernel without it is no error: there is
    /// then nothing to read.
    pub fn open() -> Self {
        let there = statfs(PSTORE).is_ok_and(|fs| fs.filesystem_type().0 == PSTORE_MAGIC);
        let mounted_by_us = !there
            && mount(
                Some("pstore"),
                PSTORE,
                Some("pstore"),
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
                None::<&str>,
            )
            .is_ok();
        Self { mounted_by_us }
    }

    /// The backend that would take a panic's log; none: nothing would.
    pub fn backend() -> Option<String> {
        let text = fs::read_to_string("/sys/module/pstore/parameters/backend").ok()?;
        let name = text.trim();
        (!name.is_empty() && name != "(null)").then(|| name.to_owned())
    }
}

impl Drop for Pstore {
    fn drop(&mut self) {
        if self.mounted_by_us {
            // A mount that is busy stays.
            let _ = umount(PSTORE);
        }
    }
}

/// Every file that a dead kernel could have left here so far. What is in this
/// list at a run's start is not of that run.
pub fn inventory() -> Vec<PathBuf> {
    let _mounted = Pstore::open();
    let mut files = Vec::new();
    for folder in [PSTORE, ARCHIVE, KDUMP] {
        walk(Path::new(folder), DEPTH, &mut files);
    }
    files.sort();
    files
}

/// The logs among the files that are not in `known`.
pub fn new_logs(known: &[PathBuf]) -> Vec<FoundLog> {
    let _mounted = Pstore::open();
    let mut files = inventory();
    files.retain(|file| !known.contains(file));
    let mut logs = dumps(&files);
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // systemd-pstore keeps a `dmesg.txt` of the pieces, beside the pieces.
        let is_kdump = file.starts_with(KDUMP)
            && (name.starts_with("vmcore-dmesg") || name.starts_with("dmesg."));
        if let Some(bytes) = is_kdump.then(|| fs::read(file).ok()).flatten() {
            logs.push(FoundLog {
                source: format!("kdump: {}", file.display()),
                bytes,
                records: Vec::new(),
            });
        }
    }
    logs
}

/// The kernel's log of another boot, if journald kept it. `boot_id` as in
/// `/proc/sys/kernel/random/boot_id`: the boot meant, however many came after.
pub fn journald(boot_id: &str) -> Option<FoundLog> {
    let output = Command::new("journalctl")
        .args(["-k", "-o", "short-monotonic", "--no-pager", "-b"])
        .arg(boot_id.replace('-', ""))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    (output.status.success() && !output.stdout.is_empty()).then(|| FoundLog {
        source: "journald: the boot of the run".to_owned(),
        bytes: output.stdout,
        records: Vec::new(),
    })
}

/// Removes pstore records whose text has been kept elsewhere: the backend has
/// little room, and the next crash needs it. What systemd has archived takes none
/// of it, and stays.
pub fn remove(records: &[PathBuf]) -> io::Result<()> {
    let _mounted = Pstore::open();
    let mut in_backend = records.iter().filter(|path| path.starts_with(PSTORE));
    in_backend.try_for_each(fs::remove_file)
}

fn walk(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => walk(&entry.path(), depth - 1, files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// The pieces of a dump by their number: the file, and its text.
type Parts = BTreeMap<u64, (PathBuf, Vec<u8>)>;

/// pstore's records joined to dumps. Each record is a piece of a dump, and
/// says in its first line which: `Panic#2 Part1`. Part 1 is the newest piece
/// (`pstore_dump()` in fs/pstore/platform.c).
fn dumps(files: &[PathBuf]) -> Vec<FoundLog> {
    let mut pieces: BTreeMap<(u64, String), Parts> = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("dmesg-") {
            continue;
        }
        let Ok(bytes) = fs::read(file) else { continue };
        if let Some((reason, count, part, text)) = piece(&bytes) {
            pieces
                .entry((count, reason))
                .or_default()
                .insert(part, (file.clone(), text.to_vec()));
        }
    }
    let join = |((count, reason), parts): (_, Parts)| {
        let mut log = FoundLog {
            source: format!("pstore: {reason}#{count}"),
            bytes: Vec::new(),
            records: Vec::new(),
        };
        for (path, text) in parts.into_values().rev() {
            log.bytes.extend_from_slice(&text);
            if !log.bytes.ends_with(b"\n") {
                log.bytes.push(b'\n');
            }
            log.records.push(path);
        }
        log
    };
    pieces.into_iter().map(join).collect()
}

/// Reason, dump's number, part's number, text.
fn piece(bytes: &[u8]) -> Option<(String, u64, u64, &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let (reason, rest) = head.split_once('#')?;
    let (count, part) = rest.split_once(" Part")?;
    let part = part.trim().parse().ok()?;
    Some((
        reason.to_owned(),
        count.parse().ok()?,
        part,
        &bytes[end + 1..],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_oldest_first_and_dumps_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("dmesg-erst-3", "Oops#1 Part1\n<4>[    2.0] newer\n"),
            ("dmesg-erst-4", "Oops#1 Part2\n<4>[    1.0] older"),
            ("dmesg-erst-5", "Panic#2 Part1\n<0>[    3.0] panic\n"),
            ("console-erst-6", "not ours\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut files = Vec::new();
        walk(folder.path(), 1, &mut files);
        let logs = dumps(&files);
        assert_eq!(logs.len(), 2);
        assert_eq!(logs[0].source, "pstore: Oops#1");
        assert_eq!(
            logs[0].bytes,
            b"<4>[    1.0] older\n<4>[    2.0] newer\n".to_vec()
        );
        assert_eq!(logs[0].records.len(), 2);
        assert_eq!(logs[1].source, "pstore: Panic#2");
    }

    #[test]
    fn what_is_no_piece_of_a_dump_is_passed_over() {
        assert_eq!(piece(b"no header here\n"), None);
        assert_eq!(piece(b"Panic#x Part1\n"), None);
        assert_eq!(piece(b""), None);
    }
}
