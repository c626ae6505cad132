//! The module that a run on this machine races: the dummy module built for the
//! running kernel, a file, or an installed driver by its name.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::BareRequest;
use crate::build::cache::Cache;
use crate::build::kbuild::{self, KbuildError};
use crate::build::module_image::ModuleImage;
use crate::build::module_tree;
use crate::kernel::preflight;
use crate::model::ExitCode;
use crate::session::events::Events;
use crate::session::exit::Failure;
use crate::session::module;

/// A module to race.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) image: ModuleImage,
    pub(super) dependencies: Vec<PathBuf>,
}

/// The module that the user named, if any; looked at before anything is built.
pub(super) fn named(asked: &BareRequest, release: &str) -> Result<Option<Candidate>, Failure> {
    if let Some(name) = &asked.module_name {
        let found = module_tree::find(name, release)?;
        module_tree::not_loaded(name)?;
        return open(&found.path, found.dependencies).map(Some);
    }
    match &asked.request.module {
        Some(path) => open(path, Vec::new()).map(Some),
        None => Ok(None),
    }
}

/// The dummy module, built for the running kernel.
pub(super) fn dummy(
    asked: &BareRequest,
    release: &str,
    stop: &AtomicBool,
    events: Events<'_>,
) -> Result<Candidate, Failure> {
    let kdir = asked
        .kdir
        .clone()
        .unwrap_or_else(|| preflight::running_kdir(release));
    let variant = module::variant(asked.request.settings.oracle);
    let built = kbuild::build_variant(&kdir, variant, &Cache::from_env()?, stop, &|text| {
        events.note(text);
    })
    .map_err(|error| on_this_machine(error, release))?;
    open(&built, Vec::new())
}

/// The running kernel is what it is: its headers can be installed, but its
/// options cannot be changed.
fn on_this_machine(error: KbuildError, release: &str) -> Failure {
    let hint = match &error {
        KbuildError::NotAKdir { .. } => format!(
            "install the kernel's headers: apt-get install linux-headers-{release} (Debian, \
             Ubuntu) or dnf install kernel-devel-{release} (Fedora, RHEL); or name the build \
             tree with --kdir, or a module with --module"
        ),
        KbuildError::Option { .. } => "boot a kernel that has it, or use modrace vm".to_owned(),
        _ => return error.into(),
    };
    Failure::new(ExitCode::Unsupported, error).hint(hint)
}

fn open(path: &Path, dependencies: Vec<PathBuf>) -> Result<Candidate, Failure> {
    let path =
        std::path::absolute(path).map_err(|error| Failure::from(error).code(ExitCode::Usage))?;
    let image = ModuleImage::open(&path)?;
    module_tree::not_loaded(image.name())?;
    Ok(Candidate {
        path,
        image,
        dependencies,
    })
}
