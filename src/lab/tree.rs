//! Folders as wholes: linked, copied, hashed. Times of copies are those of the
//! originals, for make goes by them.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::LabError;
use crate::build::config::hex;

/// How a file gets from one tree into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    /// The same file under a second name. Never write to either.
    Link,
    /// A file of its own, with the original's times.
    Copy,
}

/// Repeats the tree `from` at `to`, which must not exist.
pub(super) fn transfer(
    from: &Path,
    to: &Path,
    how: Transfer,
    cancel: &AtomicBool,
) -> Result<(), LabError> {
    if cancel.load(Ordering::Relaxed) {
        return Err(LabError::Interrupted);
    }
    fs::create_dir(to).map_err(LabError::io("create", to))?;
    for entry in fs::read_dir(from).map_err(LabError::io("read", from))? {
        let entry = entry.map_err(LabError::io("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry
            .file_type()
            .map_err(LabError::io("look at", &source))?;
        if kind.is_dir() {
            transfer(&source, &target, how, cancel)?;
        } else {
            transfer_file(&source, &target, how).map_err(LabError::io("write", &target))?;
        }
    }
    Ok(())
}

/// One file or symbolic link.
pub(super) fn transfer_file(from: &Path, to: &Path, how: Transfer) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if how == Transfer::Link {
        return fs::hard_link(from, to);
    }
    fs::copy(from, to)?;
    let times = FileTimes::new().set_modified(meta.modified()?);
    File::options().write(true).open(to)?.set_times(times)
}

/// Replaces a file of a link tree by a copy of its own, dated now. The other
/// names of the file keep content and date.
pub(super) fn unlink_and_copy(file: &Path) -> io::Result<()> {
    let bytes = fs::read(file)?;
    let mode = fs::metadata(file)?.permissions();
    fs::remove_file(file)?;
    fs::write(file, bytes)?;
    fs::set_permissions(file, mode)
}

/// Hash of the listed files below `root`: names, modes and contents.
pub(super) fn hash(
    root: &Path,
    files: &[PathBuf],
    cancel: &AtomicBool,
) -> Result<String, LabError> {
    let mut hash = Sha256::new();
    for file in files {
        if cancel.load(Ordering::Relaxed) {
            return Err(LabError::Interrupted);
        }
        let path = root.join(file);
        let failed = |source| LabError::Source {
            path: path.clone(),
            source,
        };
        let meta = fs::symlink_metadata(&path).map_err(failed)?;
        let (kind, content) = if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(failed)?;
            ('l', target.into_os_string().into_encoded_bytes())
        } else {
            let executable = meta.permissions().mode() & 0o100 != 0;
            let kind = if executable { 'x' } else { 'f' };
            (kind, fs::read(&path).map_err(failed)?)
        };
        let name = file.as_os_str().as_encoded_bytes();
        hash.update(format!("{kind} {} {}\n", name.len(), content.len()));
        hash.update(name);
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes on disk below a folder, files with several names counted once.
pub(super) fn disk_bytes(root: &Path) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut folders = vec![root.to_owned()];
    let mut total = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            use std::os::unix::fs::MetadataExt;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) {
                total += meta.blocks() * 512;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_private_copy_leaves_the_original_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir_all(one.join("sub")).unwrap();
        fs::write(one.join("sub/file"), "as it was").unwrap();
        symlink("sub/file", one.join("link")).unwrap();
        let past = SystemTime::now() - Duration::from_secs(3600);
        let file = File::options()
            .write(true)
            .open(one.join("sub/file"))
            .unwrap();
        file.set_times(FileTimes::new().set_modified(past)).unwrap();
        let cancel = AtomicBool::new(false);
        transfer(&one, &two, Transfer::Link, &cancel).unwrap();
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let before = modified(&one.join("sub/file"));
        assert_eq!(modified(&two.join("sub/file")), before);

        unlink_and_copy(&two.join("sub/file")).unwrap();
        assert!(modified(&two.join("sub/file")) > before);
        fs::write(two.join("sub/file"), "changed").unwrap();
        assert_eq!(fs::read(one.join("sub/file")).unwrap(), b"as it was");
        assert_eq!(modified(&one.join("sub/file")), before);
        assert_eq!(
            fs::read_link(two.join("link")).unwrap(),
            Path::new("sub/file")
        );

        let three = dir.path().join("three");
        transfer(&one, &three, Transfer::Copy, &cancel).unwrap();
        assert_eq!(modified(&three.join("sub/file")), before);
    }

    #[test]
    fn the_hash_sees_content_name_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let files = [PathBuf::from("a")];
        let now = || hash(dir.path(), &files, &AtomicBool::new(false)).unwrap();
        fs::write(&path, "x").unwrap();
        let first = now();
        assert_eq!(first, now());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let second = now();
        assert_ne!(first, second);
        fs::write(&path, "y").unwrap();
        assert_ne!(second, now());
    }
}
