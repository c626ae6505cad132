//! The place where a kernel is built: a link tree of hard links to the unpacked
//! source, in which only patched files are copies of their own, with the
//! build folder inside it. Always at one path for one source: the build
//! writes that path into its records, and objects built elsewhere would all be
//! built again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::build_spec::NamedText;
use super::tree::{self, Transfer};
use super::{LabError, patch};

/// A link tree under construction. Dropped unfinished, it is removed.
pub(super) struct LinkTree {
    root: PathBuf,
    touched: BTreeSet<PathBuf>,
    finished: bool,
}

impl LinkTree {
    /// Links the source into `root/linux` and applies the patches. What an
    /// earlier process left there when it was killed is removed.
    pub(super) fn create(
        root: &Path,
        source: &Path,
        patches: &[NamedText],
        cancel: &AtomicBool,
    ) -> Result<Self, LabError> {
        remove(root)?;
        fs::create_dir_all(root).map_err(LabError::io("create", root))?;
        let mut link_tree = Self {
            root: root.to_owned(),
            touched: BTreeSet::new(),
            finished: false,
        };
        tree::transfer(source, &link_tree.source(), Transfer::Link, cancel)?;
        for text in patches {
            patch::apply(&link_tree.source(), text, cancel)?;
            link_tree.touched.extend(patch::touched(text)?);
        }
        Ok(link_tree)
    }

    /// The source as it is built.
    pub(super) fn source(&self) -> PathBuf {
        self.root.join("linux")
    }

    /// The build folder, a direct child of the source: from there the source
    /// is `..`, wherever the whole is moved.
    pub(super) fn build(&self) -> PathBuf {
        self.source().join("build")
    }

    /// The files that the patches touched.
    pub(super) fn touched(&self) -> &BTreeSet<PathBuf> {
        &self.touched
    }

    /// Starts from another kernel's build folder. Its objects stand for the
    /// source but for what its patches touched; those files, and this
    /// kernel's own, get today's date, so that make builds them again. (An
    /// untouched file is older than the other kernel's object of its patched
    /// form, and make would keep that object: the wrong kernel.)
    pub(super) fn seed(
        &self,
        build: &Path,
        touched: &BTreeSet<PathBuf>,
        cancel: &AtomicBool,
    ) -> Result<(), LabError> {
        tree::transfer(build, &self.build(), Transfer::Copy, cancel)?;
        for file in self.touched.union(touched) {
            let path = self.source().join(file);
            if path.is_file() {
                tree::unlink_and_copy(&path).map_err(LabError::io("replace", &path))?;
            }
        }
        Ok(())
    }

    /// Moves the finished kernel to its place, in one step.
    pub(super) fn publish(mut self, home: &Path) -> Result<(), LabError> {
        remove(home)?;
        fs::rename(&self.root, home).map_err(LabError::io("publish", home))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for LinkTree {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed by the next build.
            let _left = fs::remove_dir_all(&self.root);
        }
    }
}

/// Removes a folder if it is there.
pub(super) fn remove(path: &Path) -> Result<(), LabError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Every file and link below a folder, relative to it.
pub(super) fn all_files(root: &Path, cancel: &AtomicBool) -> Result<Vec<PathBuf>, LabError> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        if cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(LabError::Interrupted);
        }
        let path = root.join(&folder);
        for entry in fs::read_dir(&path).map_err(LabError::io("read", &path))? {
            let entry = entry.map_err(LabError::io("read", &path))?;
            let name = folder.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(name);
            } else {
                files.push(name);
            }
        }
    }
    Ok(files)
}
