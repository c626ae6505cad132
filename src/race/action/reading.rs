//! Reader actions: what a reader does with one file, and the loop over its
//! files. A file that is not there now is what the race is about, not an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::sys::uio::pread;

use super::{Pause, ReaderAction};
use crate::recorder::{Slot, Stage, bump};

/// Bytes asked for by each read.
const PAGE: usize = 64 * 1024;
/// Bytes of a head.
const HEAD: usize = 4096;
/// Most that is read of one file in one turn, bytes: some never end.
const MOST: usize = 64 << 20;
/// Longest time that a file is held open between two reads, µs.
const HOLD_US: u64 = 5000;

/// Does it until told to stop.
pub(super) fn run(
    action: ReaderAction,
    files: &[PathBuf],
    text: &str,
    mut pause: Pause,
    slot: &Slot,
    stop: &AtomicBool,
) {
    let mut page = vec![0; PAGE];
    let mut hold = Pause::new(pause.longest_ns ^ files.len() as u64, HOLD_US);
    for file in files.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        slot.enter(Stage::Reading);
        let done = turn(action, file, text, &mut page, &mut hold, stop);
        slot.enter(Stage::Idle);
        bump(&slot.reads);
        let was_there = done.as_ref().err().is_none_or(|error| !is_absent(error));
        bump(if was_there { &slot.live } else { &slot.absent });
        pause.take();
    }
}

fn turn(
    action: ReaderAction,
    file: &Path,
    text: &str,
    page: &mut [u8],
    hold: &mut Pause,
    stop: &AtomicBool,
) -> io::Result<()> {
    match action {
        ReaderAction::Nothing => Ok(()),
        ReaderAction::Stat => fs::metadata(file).map(drop),
        ReaderAction::OpenClose => open(action, file).map(drop),
        ReaderAction::OpenRead => {
            let mut file = open(action, file)?;
            let mut left = MOST;
            while left > 0 && !stop.load(Ordering::Relaxed) {
                match file.read(page)? {
                    0 => break,
                    length => left = left.saturating_sub(length),
                }
            }
            Ok(())
        }
        ReaderAction::ReadHead => open(action, file)?.read(&mut page[..HEAD]).map(drop),
        ReaderAction::HoldRead => {
            let file = open(action, file)?;
            let first = pread(file.as_fd(), &mut page[..HEAD], 0);
            hold.take();
            let _ = pread(file.as_fd(), &mut page[..HEAD], 0);
            first.map(drop).map_err(io::Error::from)
        }
        ReaderAction::Write => open(action, file)?.write(text.as_bytes()).map(drop),
        ReaderAction::BindUnbind => {
            for name in ["unbind", "bind"] {
                open(action, &file.join(name))?.write_all(text.as_bytes())?;
            }
            Ok(())
        }
    }
}

/// Never waits for whoever is on the other side of a device or FIFO.
pub(super) fn open(action: ReaderAction, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.custom_flags(O_NONBLOCK);
    match action {
        ReaderAction::Write | ReaderAction::BindUnbind => options.write(true).open(path),
        ReaderAction::OpenClose => {
            let both = options.clone().read(true).write(true).open(path);
            match both {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    options.read(true).open(path)
                }
                other => other,
            }
        }
        _ => options.read(true).open(path),
    }
}

/// Why this action cannot be done to a file that is there; none if it can. A
/// device that finds no hardware, or is busy, was opened well enough.
pub fn refusal(action: ReaderAction, path: &Path, text: &str) -> Option<io::Error> {
    let refused = |done: io::Result<usize>| match done {
        Err(error) if is_a_refusal(&error, path) => Err(error),
        _ => Ok(()),
    };
    let done = match action {
        ReaderAction::Nothing => return None,
        ReaderAction::Stat => fs::metadata(path).map(drop),
        ReaderAction::BindUnbind => ["unbind", "bind"]
            .iter()
            .try_for_each(|name| open(action, &path.join(name)).map(drop)),
        ReaderAction::OpenClose => open(action, path).map(drop),
        // root may open what has no method to write.
        ReaderAction::Write => {
            open(action, path).and_then(|mut file| refused(file.write(text.as_bytes())))
        }
        ReaderAction::OpenRead | ReaderAction::ReadHead | ReaderAction::HoldRead => {
            open(action, path).and_then(|mut file| refused(file.read(&mut [0; 1])))
        }
    };
    let fine = [Errno::ENODEV, Errno::EBUSY, Errno::EAGAIN].map(|errno| errno as i32);
    done.err()
        .filter(|error| !error.raw_os_error().is_some_and(|raw| fine.contains(&raw)))
}

/// Whether reads or writes of this file can never do anything. In /proc, `EIO`
/// says that there is no method (`pde_read()`, `pde_write()` in
/// fs/proc/inode.c); elsewhere it may be a device's.
fn is_a_refusal(error: &io::Error, path: &Path) -> bool {
    let refusals = [
        Errno::EINVAL,
        Errno::EISDIR,
        Errno::EBADF,
        Errno::EOPNOTSUPP,
    ];
    error.raw_os_error().is_some_and(|raw| {
        refusals.map(|errno| errno as i32).contains(&raw)
            || (raw == Errno::EIO as i32 && path.starts_with("/proc"))
    })
}

/// Whether the file, or what stands behind it, was not there. A module's device
/// number without its module is ENXIO.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::ENOENT, Errno::ENXIO, Errno::ENOTDIR].map(|errno| errno as i32);
    error
        .raw_os_error()
        .is_some_and(|raw| absent.contains(&raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_written_and_looked_up_and_each_turn_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (file, gone) = (folder.path().join("file"), folder.path().join("gone"));
        fs::write(&file, "text").unwrap();
        let files = [file.clone(), gone.clone()];
        for action in [
            ReaderAction::OpenRead,
            ReaderAction::ReadHead,
            ReaderAction::Stat,
            ReaderAction::OpenClose,
            ReaderAction::HoldRead,
            ReaderAction::Write,
        ] {
            let (slot, stop) = (Slot::default(), AtomicBool::new(false));
            #[allow(clippy::disallowed_methods, reason = "no oops ends these threads")]
            std::thread::scope(|scope| {
                scope.spawn(|| run(action, &files, "1", Pause::new(1, 0), &slot, &stop));
                while slot.absent.load(Ordering::Relaxed) < 3 {
                    std::thread::yield_now();
                }
                stop.store(true, Ordering::Relaxed);
            });
            assert!(slot.live.load(Ordering::Relaxed) >= 3, "{action:?}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "1ext");
    }

    #[test]
    fn a_target_that_the_action_cannot_open_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = refusal(ReaderAction::OpenRead, folder.path(), "").unwrap();
        assert_eq!(error.raw_os_error(), Some(Errno::EISDIR as i32));
        assert!(refusal(ReaderAction::Stat, folder.path(), "").is_none());
        let error = refusal(ReaderAction::BindUnbind, folder.path(), "").unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(refusal(ReaderAction::Write, folder.path(), "1").is_some());
        // No method to write, whoever opens it.
        let no_method = Path::new("/proc/version");
        assert!(refusal(ReaderAction::Write, no_method, "1").is_some());
        assert!(refusal(ReaderAction::OpenRead, no_method, "1").is_none());
        let no_device = io::Error::from(Errno::EIO);
        assert!(is_a_refusal(&no_device, no_method));
        assert!(!is_a_refusal(&no_device, Path::new("/dev/sensor")));
    }
}
