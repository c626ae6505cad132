//! An entry of the cache: modules that were built together, with their sums and
//! the log of their build. On the disk before anything is made of it, and looked
//! at before it is used.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::KbuildError;
use crate::build::cache::CacheError;
use crate::build::config::hex;
use crate::disk;

/// What an entry says of its modules, as sha256sum writes it.
const SUMS: &str = "SHA256SUMS";

/// What is wrong with an entry of the cache, as after a crash that came before it
/// was on the disk.
pub(super) fn damage(entry: &Path, modules: &[&str]) -> Option<String> {
    let Ok(sums) = fs::read_to_string(entry.join(SUMS)) else {
        return Some(format!("it has no {SUMS}"));
    };
    modules.iter().find_map(|module| {
        let name = format!("{module}.ko");
        let bytes = match fs::read(entry.join(&name)) {
            Ok(bytes) => bytes,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        let whole = sums.lines().any(|line| line == sum_of(&name, &bytes));
        (!whole).then(|| format!("{name} ({} bytes) is not what was built", bytes.len()))
    })
}

/// A file's line in [`SUMS`].
fn sum_of(name: &str, bytes: &[u8]) -> String {
    format!("{}  {name}", hex(&Sha256::digest(bytes)))
}

/// Moves the modules, their sums and their log into place, as one folder in one
/// step, on the disk: a crash of this machine may be what comes next.
pub(super) fn publish(built: &[PathBuf], work: &Path, home: &Path) -> Result<(), KbuildError> {
    let stage = work.join("finished");
    fs::create_dir(&stage).map_err(CacheError::io("create", &stage))?;
    let mut sums = String::new();
    for file in built {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(file).map_err(CacheError::io("read", file))?;
        sums += &sum_of(&name, &bytes);
        sums.push('\n');
    }
    let path = stage.join(SUMS);
    fs::write(&path, sums).map_err(CacheError::io("write", &path))?;
    for file in built.iter().chain([&work.join("build.log")]) {
        let to = stage.join(file.file_name().unwrap_or_default());
        fs::rename(file, &to).map_err(CacheError::io("move", file))?;
    }
    disk::sync_all_of(&stage).map_err(CacheError::io("sync", &stage))?;
    // What is there is damaged; make room.
    let _absent = fs::remove_dir_all(home);
    fs::rename(&stage, home).map_err(CacheError::io("publish", home))?;
    disk::sync_named(home).map_err(CacheError::io("sync", home))?;
    Ok(())
}
