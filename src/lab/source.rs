//! A kernel's source: Debian's tarball, another tarball, or a folder; told
//! apart by a hash of the content; unpacked once into the cache and never
//! changed there.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::build::{BuildEvent, Stage};
use super::tree::{self, Transfer};
use super::{LabError, link_tree};
use crate::build::cache::Cache;
use crate::build::config::hex;
use crate::build::{compression, make};

/// Where the package `linux-source-6.1` puts its tarball.
pub const DEBIAN_TARBALL: &str = "/usr/src/linux-source-6.1.tar.xz";

/// A kernel's source, looked at but not unpacked.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    sha256: String,
    /// For a folder: its files, sorted.
    files: Option<Vec<PathBuf>>,
}

impl Source {
    /// Looks at a tarball or a folder, and hashes it.
    pub fn open(path: &Path, cancel: &AtomicBool) -> Result<Self, LabError> {
        let path = path
            .canonicalize()
            .map_err(|_| LabError::NoSource(path.to_owned()))?;
        if path.is_dir() {
            let files = folder_files(&path, cancel)?;
            let sha256 = tree::hash(&path, &files, cancel)?;
            return Ok(Self {
                path,
                sha256,
                files: Some(files),
            });
        }
        let sha256 = hash_file(&path, cancel)?;
        Ok(Self {
            path,
            sha256,
            files: None,
        })
    }

    /// The tarball or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hash of the content.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Short form of the hash, for names of folders and locks.
    pub(super) fn key(&self) -> &str {
        &self.sha256[..16]
    }

    /// Puts the source into the cache unless it is there. Returns the folder,
    /// which nobody may write to.
    pub(super) fn unpacked(
        &self,
        cache: &Cache,
        cancel: &AtomicBool,
        on_event: &mut dyn FnMut(BuildEvent<'_>),
    ) -> Result<PathBuf, LabError> {
        let home = cache.dir("lab/source")?;
        let finished = home.join(self.key());
        if finished.is_dir() {
            return Ok(finished);
        }
        // A name of its own, so that what a killed process left is found. The
        // caller holds the source's lock.
        let name = format!(".unpack-{}", self.key());
        link_tree::remove(&home.join(&name))?;
        let stage = tempfile::Builder::new()
            .prefix(&name)
            .rand_bytes(0)
            .tempdir_in(&home)
            .map_err(LabError::io("create a folder in", &home))?;
        on_event(BuildEvent::Stage(Stage::Unpack));
        let top = match &self.files {
            Some(files) => self.copy_folder(files, stage.path(), cancel)?,
            None => self.unpack(stage.path(), cancel, on_event)?,
        };
        for file in ["Makefile", "Kconfig", "scripts/kconfig/merge_config.sh"] {
            if !top.join(file).is_file() {
                return Err(LabError::NotASource {
                    path: self.path.clone(),
                    why: format!("it has no {file}"),
                });
            }
        }
        fs::rename(&top, &finished).map_err(LabError::io("publish", &finished))?;
        Ok(finished)
    }

    fn unpack(
        &self,
        stage: &Path,
        cancel: &AtomicBool,
        on_event: &mut dyn FnMut(BuildEvent<'_>),
    ) -> Result<PathBuf, LabError> {
        let failed = |source| LabError::Source {
            path: self.path.clone(),
            source,
        };
        let file = File::open(&self.path).map_err(failed)?;
        let total = file.metadata().map_err(failed)?.len();
        let position = file.try_clone().map_err(failed)?;
        let (_, inside) = compression::reader(BufReader::with_capacity(1 << 20, file))
            .map_err(|error| failed(io::Error::other(error)))?;
        let mut archive = tar::Archive::new(inside);
        for (count, entry) in archive.entries().map_err(failed)?.enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(LabError::Interrupted);
            }
            let mut entry = entry.map_err(failed)?;
            let inside = entry.unpack_in(stage).map_err(failed)?;
            if !inside {
                return Err(LabError::NotASource {
                    path: self.path.clone(),
                    why: format!("it holds {}", String::from_utf8_lossy(&entry.path_bytes())),
                });
            }
            if count % 256 == 0 {
                // Both handles share one position.
                let at = io::Seek::stream_position(&mut &position).unwrap_or(0);
                on_event(BuildEvent::Unpacked { bytes: at, total });
            }
        }
        single_folder(stage).ok_or_else(|| LabError::NotASource {
            path: self.path.clone(),
            why: "it does not hold one folder".to_owned(),
        })
    }

    fn copy_folder(
        &self,
        files: &[PathBuf],
        stage: &Path,
        cancel: &AtomicBool,
    ) -> Result<PathBuf, LabError> {
        let top = stage.join("linux");
        for file in files {
            if cancel.load(Ordering::Relaxed) {
                return Err(LabError::Interrupted);
            }
            let to = top.join(file);
            let parent = to.parent().unwrap_or(&top);
            fs::create_dir_all(parent).map_err(LabError::io("create", parent))?;
            tree::transfer_file(&self.path.join(file), &to, Transfer::Copy)
                .map_err(LabError::io("write", &to))?;
        }
        // Someone edited the folder meanwhile: the name would be a lie.
        if tree::hash(&top, files, cancel)? != self.sha256 {
            return Err(LabError::NotASource {
                path: self.path.clone(),
                why: "it changed while it was copied".to_owned(),
            });
        }
        Ok(top)
    }
}

fn hash_file(path: &Path, cancel: &AtomicBool) -> Result<String, LabError> {
    let failed = |source| LabError::Source {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(LabError::Interrupted);
        }
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn single_folder(stage: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(stage).ok()?.flatten();
    let only = entries.next()?.path();
    (only.is_dir() && entries.next().is_none()).then_some(only)
}

/// The files of a source folder. In a git tree they are what git knows and
/// would add; build products stay behind.
fn folder_files(root: &Path, cancel: &AtomicBool) -> Result<Vec<PathBuf>, LabError> {
    let not_one = |why: &str| LabError::NotASource {
        path: root.to_owned(),
        why: why.to_owned(),
    };
    if !root.join("scripts/kconfig").is_dir() {
        return Err(not_one("it has no scripts/kconfig"));
    }
    let mut files = if root.join(".git").exists() {
        git_files(root)?
    } else if root.join(".config").exists() || root.join("include/config").exists() {
        return Err(not_one(
            "a kernel was built inside; run `make mrproper` there or build with O=",
        ));
    } else {
        link_tree::all_files(root, cancel)?
    };
    files.sort();
    Ok(files)
}

fn git_files(root: &Path) -> Result<Vec<PathBuf>, LabError> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |source| LabError::Source {
        path: root.to_owned(),
        source,
    };
    let output = make::tool("git")
        .arg("-C")
        .arg(root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(io::Error::other(format!("git ls-files: {said}"))));
    }
    let mut files: Vec<PathBuf> = output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name)))
        // Deleted in the working tree, but not yet in the index.
        .filter(|file| root.join(file).symlink_metadata().is_ok())
        .collect();
    files.dedup();
    Ok(files)
}
