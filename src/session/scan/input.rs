//! Which logs are to be read: files as they were named, the files of folders,
//! and the parts of pstore that make one log.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::source::Unreadable;
use crate::console::{PstorePart, is_pstore_name, pstore_part};

/// A log: a file, or parts of pstore from the oldest on.
#[derive(Debug)]
pub struct Log {
    /// How it is called in results.
    pub name: String,
    /// Its files, in the order of their text.
    pub files: Vec<PathBuf>,
    parts: bool,
}

impl Log {
    /// Whether its files are parts of pstore.
    pub fn is_pstore(&self) -> bool {
        self.parts
    }
}

/// The logs below what was named, and what can't be read.
pub fn logs(named: &[PathBuf]) -> (Vec<Log>, Vec<Unreadable>) {
    let mut files = Vec::new();
    let mut unreadable = Vec::new();
    for path in named {
        if path.is_dir() {
            below(path, &mut files, &mut unreadable);
        } else {
            files.push(path.clone());
        }
    }
    (joined(files), unreadable)
}

/// The regular files below a folder, by name.
fn below(folder: &Path, files: &mut Vec<PathBuf>, unreadable: &mut Vec<Unreadable>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            unreadable.push(Unreadable::new(folder, &error));
            return;
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // A link to a folder may lead back to it.
        let link = path.is_symlink();
        if path.is_dir() && !link {
            below(&path, files, unreadable);
        } else if path.is_file() {
            files.push(path);
        }
    }
}

/// Joins the parts of each dump of pstore. Parts are written from the end of
/// the log on, under rising names, so a number that is there already begins
/// another dump.
fn joined(files: Vec<PathBuf>) -> Vec<Log> {
    let mut logs: Vec<Log> = Vec::new();
    let mut dumps: Vec<(usize, Vec<(u32, PathBuf)>)> = Vec::new();
    let mut newest: HashMap<(PathBuf, String), usize> = HashMap::new();
    for path in files {
        let Some(part) = part_of(&path) else {
            logs.push(Log {
                name: path.to_string_lossy().into_owned(),
                files: vec![path],
                parts: false,
            });
            continue;
        };
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let key = (folder, part.dump);
        let dump = newest.get(&key).copied().filter(|&dump| {
            dumps[dump]
                .1
                .iter()
                .all(|(number, _)| *number != part.number)
        });
        if let Some(dump) = dump {
            dumps[dump].1.push((part.number, path));
        } else {
            newest.insert(key, dumps.len());
            dumps.push((logs.len(), vec![(part.number, path)]));
            // Its place in the order; named when all parts are known.
            logs.push(Log {
                name: String::new(),
                files: Vec::new(),
                parts: true,
            });
        }
    }
    for (log, mut parts) in dumps {
        parts.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let more = parts.len() - 1;
        let first = parts[0].1.to_string_lossy().into_owned();
        logs[log].name = match more {
            0 => first,
            1 => format!("{first} and 1 more part"),
            more => format!("{first} and {more} more parts"),
        };
        logs[log].files = parts.into_iter().map(|(_, path)| path).collect();
    }
    logs
}

/// Which part of a dump a file holds, if it is one of pstore's.
fn part_of(path: &Path) -> Option<PstorePart> {
    let name = path.file_name()?.to_str()?;
    if !is_pstore_name(name) {
        return None;
    }
    let mut head = Vec::new();
    File::open(path)
        .ok()?
        .take(128)
        .read_to_end(&mut head)
        .ok()?;
    let line = head.split(|&b| b == b'\n').next()?;
    pstore_part(&String::from_utf8_lossy(line))
}
