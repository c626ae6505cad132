//! Files that are there after a crash: written whole or not at all, on the disk
//! before anything depends on them, with room kept for what grows. It knows
//! nothing of what they hold.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate};
use nix::unistd::linkat;

/// Replaces a file: another is written and synced, takes its place in one step,
/// and the folder is synced. A crash at any moment leaves the old content or the
/// new, and nothing beside it where the filesystem has files without a name. Makes
/// the folder if need be.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    make_folder(folder)?;
    let write = |mut file: &File| {
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    let nameless = tempfile::tempfile_in(folder)?;
    write(&nameless)?;
    // A name is taken first, since a link replaces nothing.
    let name = tempfile::Builder::new()
        .prefix(".modrace-")
        .make_in(folder, |path| give_name(&nameless, path));
    if let Ok(named) = name {
        named.persist(path).map_err(|error| error.error)?;
    } else {
        let named = tempfile::Builder::new()
            .prefix(".modrace-")
            .tempfile_in(folder)?;
        write(named.as_file())?;
        named.persist(path).map_err(|error| error.error)?;
    }
    sync(folder)
}

/// Gives a file without a name one.
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let this = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = AtFlags::AT_SYMLINK_FOLLOW;
    linkat(AT_FDCWD, this.as_str(), AT_FDCWD, path, follow)?;
    Ok(())
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a folder and those above it, and syncs what names those that are new.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let new: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    fs::create_dir_all(path)?;
    new.into_iter()
        .try_for_each(|folder| sync(folder_of(folder)))
}

/// Syncs a file or a folder's names.
pub fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Syncs a folder with everything in it; not its own name.
pub fn sync_all_of(folder: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(folder).contents_first(true) {
        let entry = entry?;
        if !entry.file_type().is_symlink() {
            sync(entry.path())?;
        }
    }
    Ok(())
}

/// Syncs a file's or folder's name, and those of the folders that it is in.
pub fn sync_named(path: &Path) -> io::Result<()> {
    let folders = path.ancestors().skip(1);
    folders
        .filter(|folder| !folder.as_os_str().is_empty())
        .try_for_each(|folder| match sync(folder) {
            // Folders that may be passed but not read are nobody's new ones.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        })
}

/// Keeps room on the disk for what will be appended to a file, beyond its end:
/// its length stays as it is. A filesystem that cannot do so keeps none, which is
/// no error.
pub fn keep_room(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let end = file.metadata()?.len();
    let place = |bytes: u64| i64::try_from(bytes).map_err(|_| Errno::EFBIG);
    let kept = place(end).and_then(|end| {
        let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(file.as_fd(), flags, end, place(bytes)?)
    });
    match kept {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether an error says that a disk, or a user's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes everything that anybody has written on this machine to its disks. True
/// if that was done within `patience`: a disk that hangs, or a dead kernel, may
/// keep it from ever ending.
pub fn sync_machine(patience: Duration) -> bool {
    let (send, done) = mpsc::channel();
    let started = thread::Builder::new()
        .name("sync".to_owned())
        .spawn(move || {
            nix::unistd::sync();
            // Whoever waited may have given up.
            let _ = send.send(());
        });
    started.is_ok() && done.recv_timeout(patience).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_in_a_folder_that_was_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        // No temporary file is left.
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1);
    }

    #[test]
    fn room_is_kept_behind_the_end_and_can_be_more_than_there_is() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"begin").unwrap();
        keep_room(&file, 1 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5);
        let error = keep_room(&file, 1 << 60).unwrap_err();
        assert!(
            is_full(&error) || error.kind() == io::ErrorKind::FileTooLarge,
            "{error}"
        );
    }

    #[test]
    fn a_folder_is_synced_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        replace(&folder.path().join("a/b/file"), b"one", 0o600).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("link")).unwrap();
        sync_all_of(folder.path()).unwrap();
        assert!(sync_all_of(&folder.path().join("none")).is_err());
        assert!(sync_machine(Duration::from_secs(60)));
    }
}
