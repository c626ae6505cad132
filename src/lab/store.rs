//! The finished lab kernels in the cache: their manifests, looked up by name,
//! listed, removed. A kernel is there whole or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::build_spec::TextRecord;
use super::table::LabKernelRow;
use super::{LAB_KERNELS, LabError, link_tree, tree};
use crate::build::cache::{Cache, CacheLock};

const MANIFEST: &str = "kernel.json";
const KERNELS: &str = "lab/kernels";
pub(super) const LOGS: &str = "lab/logs";

/// What a finished kernel was built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// As in `lab:NAME`.
    pub name: String,
    /// Hash of everything that it was built from, shortened.
    pub key: String,
    /// Hash of build spec and way of building.
    pub recipe_sha256: String,
    /// Hash of the configuration's part of it.
    pub recipe_config_sha256: String,
    /// The tarball or folder.
    pub source: PathBuf,
    /// Hash of its content.
    pub source_sha256: String,
    /// Fragments laid over `tinyconfig`.
    pub fragments: Vec<TextRecord>,
    /// Patches applied.
    pub patches: Vec<TextRecord>,
    /// Files that the patches touch.
    pub touched: BTreeSet<PathBuf>,
    /// First line of the compiler's `--version`.
    pub compiler: String,
    /// `uname -r`.
    pub release: String,
    /// Hash of `.config`.
    pub config_sha256: String,
    /// Hash of the boot image.
    pub image_sha256: String,
    /// Whose objects were taken over, if any.
    pub seeded_from: Option<String>,
    /// Steps that make announced.
    pub steps: u32,
    /// Seconds that the build took.
    pub build_s: f64,
    /// When it was finished, seconds since 1970.
    pub finished_unix_s: u64,
}

impl Manifest {
    /// One line that says what the kernel is.
    pub fn provenance(&self) -> String {
        let names = |texts: &[TextRecord]| {
            let names: Vec<_> = texts.iter().map(|text| text.name.as_str()).collect();
            names.join(" + ")
        };
        let source = self.source.file_name().unwrap_or_default();
        let patches = if self.patches.is_empty() {
            "no patch".to_owned()
        } else {
            names(&self.patches)
        };
        format!(
            "{} (sha256 {}), tinyconfig + {}, {patches}, {}, lab key {}",
            source.to_string_lossy(),
            &self.source_sha256[..12.min(self.source_sha256.len())],
            names(&self.fragments),
            self.compiler,
            self.key
        )
    }
}

/// A finished kernel.
#[derive(Clone, Debug)]
pub struct LabKernel {
    /// Its folder in the cache.
    pub path: PathBuf,
    /// What it was built from.
    pub manifest: Manifest,
}

impl LabKernel {
    /// The boot image.
    pub fn image(&self) -> PathBuf {
        self.kdir().join("arch/x86/boot/bzImage")
    }

    /// The build tree, to build modules against.
    pub fn kdir(&self) -> PathBuf {
        self.path.join("linux/build")
    }

    /// Bytes on disk. The source's files, shared by all kernels, count in.
    pub fn disk_bytes(&self) -> u64 {
        tree::disk_bytes(&self.kdir())
    }

    /// Whether it is what this modrace would build under that name.
    pub fn state(&self) -> KernelState {
        let outdated = LabKernelRow::find(&self.manifest.name)
            .is_some_and(|row| row.build_spec().sha256() != self.manifest.recipe_sha256);
        if outdated {
            KernelState::Outdated
        } else {
            KernelState::Built
        }
    }
}

/// How a lab kernel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelState {
    /// Ready.
    Built,
    /// Built by another modrace, from another build spec; not used.
    Outdated,
    /// Not there.
    Absent,
}

impl KernelState {
    /// The word for lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Outdated => "outdated",
            Self::Absent => "not built",
        }
    }
}

/// The lab kernels of a cache.
#[derive(Debug)]
pub struct Store<'a> {
    cache: &'a Cache,
}

impl<'a> Store<'a> {
    /// Those of this cache.
    pub fn new(cache: &'a Cache) -> Self {
        Self { cache }
    }

    /// Every finished kernel, by name, the newest of a name first. A folder
    /// without a readable manifest or without an image is no kernel.
    pub fn kernels(&self) -> Vec<LabKernel> {
        let folders = fs::read_dir(self.cache.root().join(KERNELS));
        let mut found: Vec<LabKernel> = folders
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| open(&entry.path()))
            .collect();
        found.sort_by(|a, b| {
            let rank = |kernel: &LabKernel| {
                LAB_KERNELS
                    .iter()
                    .position(|row| row.name == kernel.manifest.name)
                    .unwrap_or(LAB_KERNELS.len())
            };
            (rank(a), &a.manifest.name)
                .cmp(&(rank(b), &b.manifest.name))
                .then(b.manifest.finished_unix_s.cmp(&a.manifest.finished_unix_s))
                .then(a.manifest.key.cmp(&b.manifest.key))
        });
        found
    }

    /// The kernel of a name: the one built last, if this modrace would build
    /// it the same way.
    pub fn find(&self, name: &str) -> Option<LabKernel> {
        self.kernels()
            .into_iter()
            .find(|kernel| kernel.manifest.name == name && kernel.state() == KernelState::Built)
    }

    /// The kernel of a name and key.
    pub(super) fn by_key(&self, name: &str, key: &str) -> Option<LabKernel> {
        open(&self.home(name, key)).filter(|kernel| kernel.manifest.key == key)
    }

    /// Where the kernel of a name and key is, or will be.
    pub(super) fn home(&self, name: &str, key: &str) -> PathBuf {
        self.cache
            .root()
            .join(KERNELS)
            .join(format!("{name}-{key}"))
    }

    /// What make said while that kernel was built.
    pub(super) fn log(&self, name: &str, key: &str) -> PathBuf {
        let logs = self.cache.root().join(LOGS);
        logs.join(format!("{name}-{key}.log"))
    }

    /// Removes every kernel of a name, and sources that none needs any more.
    /// Returns what was removed.
    pub fn remove(&self, name: &str, cancel: &AtomicBool) -> Result<Vec<PathBuf>, LabError> {
        let mut removed = Vec::new();
        for kernel in self.kernels() {
            if kernel.manifest.name != name {
                continue;
            }
            let source = kernel.manifest.source_sha256[..16].to_owned();
            // Nobody may be starting from its objects just now.
            let _lock = self.lock(&source, cancel, &mut || {})?;
            // The manifest goes first: a kernel half removed is none.
            let manifest = kernel.path.join(MANIFEST);
            fs::remove_file(&manifest).map_err(LabError::io("remove", &manifest))?;
            link_tree::remove(&kernel.path)?;
            // A log that someone removed is not missed.
            let _gone = fs::remove_file(self.log(name, &kernel.manifest.key));
            removed.push(kernel.path);
            let needed = self
                .kernels()
                .iter()
                .any(|other| other.manifest.source_sha256.starts_with(&source));
            if !needed {
                link_tree::remove(&self.cache.root().join("lab/source").join(&source))?;
            }
        }
        Ok(removed)
    }

    /// Keeps others from building from that source.
    pub(super) fn lock(
        &self,
        source_key: &str,
        cancel: &AtomicBool,
        waiting: &mut dyn FnMut(),
    ) -> Result<CacheLock, LabError> {
        let name = format!("lab-{source_key}");
        Ok(self.cache.lock(&name, cancel, waiting)?)
    }
}

/// Writes the manifest into a kernel that is about to be published.
pub(super) fn write_manifest(root: &Path, manifest: &Manifest) -> Result<(), LabError> {
    let path = root.join(MANIFEST);
    let text = serde_json::to_string_pretty(manifest).unwrap_or_default();
    fs::write(&path, text + "\n").map_err(LabError::io("write", &path))
}

fn open(path: &Path) -> Option<LabKernel> {
    let text = fs::read(path.join(MANIFEST)).ok()?;
    let manifest: Manifest = serde_json::from_slice(&text).ok()?;
    let kernel = LabKernel {
        path: path.to_owned(),
        manifest,
    };
    let whole = kernel.manifest.source_sha256.len() == 64 && kernel.image().is_file();
    whole.then_some(kernel)
}
