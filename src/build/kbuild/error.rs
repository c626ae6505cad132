//! Why a module could not be built.

use std::path::PathBuf;

use crate::build::cache::CacheError;
use crate::build::config::ConfigError;
use crate::build::make::MakeError;
use crate::build::module_image::ModuleImageError;

/// Why a module could not be built.
#[derive(Debug, thiserror::Error)]
pub enum KbuildError {
    /// The folder is no kernel build tree.
    #[error("{} is not a kernel build tree: it has no {missing}", kdir.display())]
    NotAKdir {
        /// The folder.
        kdir: PathBuf,
        /// The first file that it lacks.
        missing: &'static str,
    },
    /// Make cannot cope with the path.
    #[error("{} has a blank or a colon in its path, which make cannot take", .0.display())]
    Path(PathBuf),
    /// The kernel has no loadable modules.
    #[error("the kernel of {} is built without {option}", kdir.display())]
    Option {
        /// The folder.
        kdir: PathBuf,
        /// The option that is missing.
        option: &'static str,
    },
    /// The build needs a program that is not here.
    #[error("`{program}` is not installed, and the module's build needs it")]
    NoTool {
        /// The program.
        program: String,
    },
    /// The build failed.
    #[error("cannot build the module for {}", kdir.display())]
    Failed {
        /// The build tree.
        kdir: PathBuf,
        /// What make said.
        source: MakeError,
    },
    /// Told to stop.
    #[error("interrupted while building a module")]
    Interrupted,
    /// The build gave a module for another kernel.
    #[error("the module built for {} is {what}", kdir.display())]
    Wrong {
        /// The build tree.
        kdir: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The result is not a module.
    #[error("the build for {} gave no usable module", kdir.display())]
    Image {
        /// The build tree.
        kdir: PathBuf,
        /// Why not.
        source: ModuleImageError,
    },
    /// The configuration could not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl KbuildError {
    /// The program or header that the build missed, if it said so.
    pub fn missing(&self) -> Option<String> {
        match self {
            Self::NoTool { program } => Some(program.clone()),
            Self::Failed { source, .. } => source.missing(),
            _ => None,
        }
    }
}
