//! Why a lab kernel could not be built, found or removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::build::cache::CacheError;
use crate::build::config::ConfigError;
use crate::build::kbuild::KbuildError;
use crate::build::make::MakeError;

use super::tools::Need;

/// Why the lab could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A name that cannot be a folder's and an argument's.
    #[error(
        "`{0}` cannot be a lab kernel's name: begin with a letter or digit, go on with those and `.`, `_`, `-`, 64 at most"
    )]
    BadName(String),
    /// A name that means something already.
    #[error("`{0}` is one of modrace's own lab kernels; choose another name")]
    TakenName(String),
    /// No source where it was looked for.
    #[error("no kernel source at {}", .0.display())]
    NoSource(PathBuf),
    /// Something else than a kernel source.
    #[error("{} is not a kernel source: {why}", path.display())]
    NotASource {
        /// The tarball or folder.
        path: PathBuf,
        /// What shows it.
        why: String,
    },
    /// The source cannot be read or unpacked.
    #[error("cannot read the kernel source {}", path.display())]
    Source {
        /// The tarball or folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// No such compiler.
    #[error("there is no compiler `{0}` on PATH")]
    NoCompiler(String),
    /// Programs and headers are missing.
    #[error("building a kernel needs what is not installed: {}", names(.0))]
    Needs(Vec<&'static Need>),
    /// A patch file that names no file, or one outside of the source.
    #[error("{patch} cannot be applied: {why}")]
    BadPatch {
        /// The patch.
        patch: String,
        /// What is wrong with it.
        why: String,
    },
    /// A patch that does not fit the source.
    #[error("{patch} does not fit this kernel source:\n    {}", said.join("\n    "))]
    PatchFailed {
        /// The patch.
        patch: String,
        /// What `patch` said.
        said: Vec<String>,
    },
    /// The fix under test is not in the source in the form that is known.
    #[error("{file}: {why}")]
    NoUnformedLock {
        /// The file, from the source's root.
        file: String,
        /// What stands there instead.
        why: String,
    },
    /// A kernel that is called fixed, from a source without the fix.
    #[error(
        "this source cannot give lab kernel `{name}`: the fix is not in it, or not in the form that modrace knows"
    )]
    FixNotThere {
        /// Which kernel.
        name: String,
        /// What trying to take it out said.
        source: Box<Self>,
    },
    /// Options that Kconfig did not accept.
    #[error("the kernel's configuration would not take {}", .0.join(", "))]
    OptionsLost(Vec<String>),
    /// A step of the build failed.
    #[error("{step} failed for lab kernel `{name}`; whole log: {}", log.display())]
    Make {
        /// Which kernel.
        name: String,
        /// Which step.
        step: &'static str,
        /// The log.
        log: PathBuf,
        /// What make said.
        source: MakeError,
    },
    /// The build ended well without what it should have made.
    #[error("the build of lab kernel `{name}` gave no {what}; whole log: {}", log.display())]
    Incomplete {
        /// Which kernel.
        name: String,
        /// Which file.
        what: &'static str,
        /// The log.
        log: PathBuf,
    },
    /// Modules cannot be built against the finished kernel.
    #[error("lab kernel `{name}` was built, but no module can be built for it")]
    NoModules {
        /// Which kernel.
        name: String,
        /// Why not.
        source: Box<KbuildError>,
    },
    /// Told to stop; nothing half-built is left.
    #[error("interrupted; nothing of the unfinished kernel is kept")]
    Interrupted,
    /// The configuration could not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(CacheError),
}

impl From<CacheError> for LabError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Interrupted { .. } => Self::Interrupted,
            other => Self::Cache(other),
        }
    }
}

impl LabError {
    /// Whether the message sends its reader to the build's log.
    pub(super) fn names_log(&self) -> bool {
        matches!(self, Self::Make { .. } | Self::Incomplete { .. })
    }

    /// Wraps an I/O error in the cache with what was tried; for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let wrap = CacheError::io(action, path);
        move |source| Self::Cache(wrap(source))
    }
}

fn names(needs: &[&Need]) -> String {
    let names: Vec<_> = needs.iter().map(|need| need.what).collect();
    names.join(", ")
}
