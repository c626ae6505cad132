//! The cache on disk: where it is, how a finished thing enters it, and how two
//! processes keep out of each other's way. Things enter by a rename, whole or
//! not at all. It knows nothing of what is kept.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::geteuid;

/// How often a wait for a lock looks whether it was told to stop.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Where a system service's cache is, by the Filesystem Hierarchy Standard.
const OF_MACHINE: &str = "/var/cache/modrace";

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No variable says where it should be.
    #[error("no place for the cache: MODRACE_CACHE, XDG_CACHE_HOME and HOME are all unset")]
    NoPlace,
    /// A path in the environment that depends on the working directory.
    #[error("{variable}={} is not an absolute path", path.display())]
    Relative {
        /// Which variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Told to stop while waiting for another process.
    #[error("interrupted while waiting for another modrace that uses {}", path.display())]
    Interrupted {
        /// The lock's file.
        path: PathBuf,
    },
}

impl CacheError {
    /// Wraps an I/O error with what was tried; for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// An exclusive lock on a part of the cache; dropping it lets go. Programs
/// started while it is held share it: when this process is killed, the lock
/// lasts until they have ended, too, so that nobody builds where they still
/// write.
#[derive(Debug)]
pub struct CacheLock {
    file: File,
}

impl Drop for CacheLock {
    fn drop(&mut self) {
        // Programs that share the lock would hold on to it. It goes with the
        // file in any case.
        let _ = self.file.unlock();
    }
}

impl Cache {
    /// The user's cache: `$MODRACE_CACHE`, else `$XDG_CACHE_HOME/modrace`,
    /// else `~/.cache/modrace`. Root without a home, as a service of systemd's,
    /// has `/var/cache/modrace`.
    pub fn from_env() -> Result<Self, CacheError> {
        let located = Self::locate(&|name| std::env::var_os(name).map(PathBuf::from));
        match located {
            Err(CacheError::NoPlace) if geteuid().is_root() => Ok(Self::at(OF_MACHINE)),
            located => located,
        }
    }

    fn locate(env: &dyn Fn(&'static str) -> Option<PathBuf>) -> Result<Self, CacheError> {
        for (variable, below) in [
            ("MODRACE_CACHE", ""),
            ("XDG_CACHE_HOME", "modrace"),
            ("HOME", ".cache/modrace"),
        ] {
            let Some(path) = env(variable).filter(|path| !path.as_os_str().is_empty()) else {
                continue;
            };
            if !path.is_absolute() {
                return Err(CacheError::Relative { variable, path });
            }
            return Ok(Self::at(path.join(below)));
        }
        Err(CacheError::NoPlace)
    }

    /// A cache in a folder of one's own, for tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        // `join("")` leaves a trailing slash, which would show in messages.
        Self {
            root: root.into().components().collect(),
        }
    }

    /// Its folder; it may not exist yet.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder of the cache, made when absent.
    pub fn dir(&self, relative: impl AsRef<Path>) -> Result<PathBuf, CacheError> {
        let path = self.root.join(relative);
        fs::create_dir_all(&path).map_err(CacheError::io("create", &path))?;
        Ok(path)
    }

    /// Takes the lock `name`, waiting for whoever holds it. `waiting` is called
    /// once when there is something to wait for.
    pub fn lock(
        &self,
        name: &str,
        cancel: &AtomicBool,
        waiting: &mut dyn FnMut(),
    ) -> Result<CacheLock, CacheError> {
        let path = self.dir("locks")?.join(format!("{name}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(CacheError::io("open", &path))?;
        let mut told = false;
        // Not a blocking wait: a signal handler that sets a flag restarts it.
        loop {
            match file.try_lock() {
                Ok(()) => {
                    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))
                        .map_err(|errno| CacheError::io("share", &path)(errno.into()))?;
                    return Ok(CacheLock { file });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => {
                    return Err(CacheError::io("lock", &path)(error));
                }
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(CacheError::Interrupted { path });
            }
            if !std::mem::replace(&mut told, true) {
                waiting();
            }
            std::thread::sleep(LOCK_POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(vars: &[(&str, &str)]) -> Result<PathBuf, CacheError> {
        let env = |name: &'static str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| PathBuf::from(value))
        };
        Cache::locate(&env).map(|cache| cache.root)
    }

    #[test]
    fn the_most_specific_variable_wins_and_an_empty_one_is_unset() {
        let all = [
            ("MODRACE_CACHE", "/a/"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(located(&all).unwrap(), Path::new("/a"));
        assert_eq!(located(&all[1..]).unwrap(), Path::new("/x/modrace"));
        assert_eq!(located(&all[2..]).unwrap(), Path::new("/h/.cache/modrace"));
        let empty = [("MODRACE_CACHE", ""), ("HOME", "/h")];
        assert_eq!(located(&empty).unwrap(), Path::new("/h/.cache/modrace"));
        assert!(matches!(located(&[]), Err(CacheError::NoPlace)));
    }

    #[test]
    fn a_relative_cache_is_refused() {
        let error = located(&[("MODRACE_CACHE", "here")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "MODRACE_CACHE=here is not an absolute path"
        );
    }

    #[test]
    fn a_held_lock_is_waited_for_and_the_wait_can_be_ended() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let cancel = AtomicBool::new(false);
        let held = cache.lock("x", &cancel, &mut || {}).unwrap();
        let mut told = 0;
        let ended = cache.lock("x", &cancel, &mut || {
            told += 1;
            cancel.store(true, Ordering::Relaxed);
        });
        // The flag is seen one poll later.
        assert!(matches!(ended, Err(CacheError::Interrupted { .. })));
        assert_eq!(told, 1);
        drop(held);
        cache.lock("x", &cancel, &mut || {}).unwrap();
    }

    /// As after `kill -9`: the lock's file is closed without being unlocked.
    #[test]
    fn a_lock_outlives_its_holder_while_a_started_program_runs() {
        use std::os::fd::AsRawFd;
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let cancel = AtomicBool::new(false);
        let lock = cache.lock("x", &cancel, &mut || {}).unwrap();
        let mut program = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let fd = lock.file.as_raw_fd();
        std::mem::forget(lock);
        nix::unistd::close(fd).unwrap();
        let mut waited = false;
        cache
            .lock("x", &cancel, &mut || {
                waited = true;
                program.kill().unwrap();
                program.wait().unwrap();
            })
            .unwrap();
        assert!(waited, "the lock was free while the program ran");
    }
}
