//! The module that a run on this machine races: the dummy module built for the
//! running kernel, a file, or an installed driver by its name.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::Args;
use crate::build::cache::Cache;
use crate::build::kbuild::{self, KbuildError, Variant};
use crate::build::module_image::ModuleImage;
use crate::build::module_tree::{self, TreeError};
use crate::cli::{Failure, OrFail};
use crate::kernel::preflight;
use crate::model::{ExitCode, Oracle};

/// A module to race.
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) image: ModuleImage,
    pub(super) dependencies: Vec<PathBuf>,
}

/// The module that the user named, if any; looked at before anything is built.
pub(super) fn named(args: &Args, release: &str) -> Result<Option<Candidate>, Failure> {
    if let Some(name) = &args.module_name {
        let found = module_tree::find(name, release).map_err(refused)?;
        module_tree::not_loaded(name).map_err(refused)?;
        return open(&found.path, found.dependencies).map(Some);
    }
    match &args.race.module {
        Some(path) => open(path, Vec::new()).map(Some),
        None => Ok(None),
    }
}

/// The dummy module, built for the running kernel.
pub(super) fn dummy(args: &Args, release: &str, stop: &AtomicBool) -> Result<Candidate, Failure> {
    let kdir = args
        .kdir
        .clone()
        .unwrap_or_else(|| preflight::running_kdir(release));
    let cache = Cache::from_env().or_fail(ExitCode::Broken)?;
    let variant = match args.race.oracle.into() {
        Oracle::Crash => Variant::Dummy,
        Oracle::NearMiss => Variant::Twin,
    };
    let built =
        kbuild::build_variant(&kdir, variant, &cache, stop).map_err(|error| {
            match &error {
        KbuildError::NotAKdir { .. } => Failure::new(ExitCode::Unsupported, error).hint(format!(
            "install the kernel's headers: apt-get install linux-headers-{release} (Debian, \
             Ubuntu) or dnf install kernel-devel-{release} (Fedora, RHEL); or name the build \
             tree with --kdir, or a module with --module"
        )),
        KbuildError::NoTool { program } => {
            let hint = format!("install {program}: apt-get install build-essential");
            Failure::new(ExitCode::Unsupported, error).hint(hint)
        }
        KbuildError::Option { .. } => Failure::new(ExitCode::Unsupported, error)
            .hint("boot a kernel that has it, or use modrace vm"),
        KbuildError::Interrupted => Failure::new(ExitCode::Interrupted, error),
        _ => Failure::new(ExitCode::Broken, error),
    }
        })?;
    open(&built, Vec::new())
}

fn open(path: &Path, dependencies: Vec<PathBuf>) -> Result<Candidate, Failure> {
    let path = std::path::absolute(path).or_fail(ExitCode::Usage)?;
    let image = ModuleImage::open(&path).or_fail(ExitCode::Usage)?;
    module_tree::not_loaded(image.name()).map_err(refused)?;
    Ok(Candidate {
        path,
        image,
        dependencies,
    })
}

fn refused(error: TreeError) -> Failure {
    let hint = match &error {
        TreeError::Read { .. } => "run depmod, or give the file with --module".to_owned(),
        TreeError::Unknown { .. } => {
            "`find /lib/modules/$(uname -r) -name '*.ko*'` lists what there is".to_owned()
        }
        TreeError::BuiltIn(_) => "race another driver, or the dummy module".to_owned(),
        TreeError::Loaded { name, .. } => format!(
            "unload it if nothing needs it (rmmod {name}); after a run that was killed: modrace \
             run --cleanup"
        ),
    };
    let code = match &error {
        TreeError::Unknown { .. } => ExitCode::Usage,
        _ => ExitCode::Unsupported,
    };
    Failure::new(code, error).hint(hint)
}
