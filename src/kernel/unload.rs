//! Unloading a module that somebody may hold for a moment, as udev holds the
//! node of a new device: tried again for a while, and then told who holds it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;

use super::module::unload_by_name;
use crate::build::module_tree;

/// Longest wait for those who hold a module to let it go.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two tries.
const TURN: Duration = Duration::from_millis(10);
/// Holders that are named.
const MOST_NAMED: usize = 5;

/// Unloads a module; one that is in use, for as long as `patience`. One that is
/// not there is unloaded.
pub fn unload_patiently(name: &str, patience: Duration) -> Result<(), Errno> {
    let deadline = Instant::now() + patience;
    loop {
        match unload_by_name(name) {
            Err(Errno::EWOULDBLOCK) if Instant::now() < deadline => thread::sleep(TURN),
            done => return done,
        }
    }
}

/// Who uses a loaded module, in words, as the end of a sentence: modules that
/// need it, and processes that have a device node open that came after `since`.
/// Empty if nobody is known.
pub fn holders(name: &str, since: SystemTime) -> String {
    let mut told: Vec<String> = module_tree::holders(name)
        .into_iter()
        .map(|module| format!("the module {module}"))
        .collect();
    told.extend(users_of(&new_nodes(Path::new("/dev"), since)));
    match told.len() {
        0 => String::new(),
        _ => format!("; in use by {}", told.join(", ")),
    }
}

/// Device nodes below a folder that were made, or changed hands, since then.
fn new_nodes(folder: &Path, since: SystemTime) -> Vec<PathBuf> {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let is_new = |metadata: &Metadata| {
        metadata.rdev() != 0 && metadata.ctime() >= since.as_secs().cast_signed()
    };
    let entries = walkdir::WalkDir::new(folder).max_depth(3).into_iter();
    let new = entries
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|metadata| is_new(&metadata)));
    new.map(walkdir::DirEntry::into_path).collect()
}

/// The processes that have one of these files open.
fn users_of(nodes: &[PathBuf]) -> Vec<String> {
    let mut users = Vec::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.map(|entry| entry.path()) {
        let pid = process.file_name().unwrap_or_default().to_string_lossy();
        // `self` and the like are another name for one of them.
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let open = fs::read_dir(process.join("fd")).into_iter().flatten();
        let held = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .find(|file| nodes.contains(file));
        let Some(node) = held else { continue };
        let called = fs::read_to_string(process.join("comm")).unwrap_or_default();
        users.push(format!(
            "{} (process {pid}, {})",
            called.trim_end(),
            node.display()
        ));
        if users.len() == MOST_NAMED {
            break;
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_node_open_is_named() {
        // Any file will do: it is told by its path.
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        let users = users_of(std::slice::from_ref(&path));
        let us = format!("(process {}, {})", std::process::id(), path.display());
        assert_eq!(users.len(), 1, "{users:?}");
        assert!(users[0].ends_with(&us), "{users:?}");
        assert!(users_of(&[]).is_empty());
    }

    #[test]
    fn a_module_that_is_not_there_is_held_by_nobody() {
        assert_eq!(holders("modrace_nobody", SystemTime::now()), "");
    }
}
