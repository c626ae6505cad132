//! The module that a kernel is raced with: the one named, or the dummy module
//! built for the kernel.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::events::Events;
use super::exit::Failure;
use crate::build::cache::Cache;
use crate::build::kbuild::{self, Variant};
use crate::build::module_image::ModuleImage;
use crate::model::{ExitCode, Oracle};

/// The dummy module that an oracle needs.
pub(super) fn variant(oracle: Oracle) -> Variant {
    match oracle {
        Oracle::Crash => Variant::Dummy,
        Oracle::NearMiss => Variant::Twin,
    }
}

/// The module `named`, or the dummy module built against `kdir` for the kernel
/// called `kernel`.
pub(super) fn of_kernel(
    named: Option<&Path>,
    oracle: Oracle,
    kdir: Option<&Path>,
    kernel: &str,
    cache: &Cache,
    stop: &AtomicBool,
    events: Events<'_>,
) -> Result<ModuleImage, Failure> {
    if let Some(path) = named {
        return Ok(ModuleImage::open(path)?);
    }
    let Some(kdir) = kdir else {
        let error = format!("{kernel}: no build tree to build the dummy module against");
        return Err(
            Failure::usage(error).hint("name it as BZIMAGE,KDIR, or give a module with --module")
        );
    };
    let built = kbuild::build_variant(kdir, variant(oracle), cache, stop, &|text| {
        events.note(text);
    })?;
    // Not named by anybody: that it is no module is no wrong usage.
    ModuleImage::open(&built).map_err(|error| Failure::from(error).code(ExitCode::Broken))
}
