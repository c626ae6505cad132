//! The modules of a race, for one kernel: built from the sources of its row, or
//! those that were named.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::args::RaceArgs;
use super::kernel_arg::{KernelUnderTest, kbuild_failure};
use super::{Failure, OrFail, driver, session};
use crate::build::cache::Cache;
use crate::build::config::KernelConfig;
use crate::build::kbuild::{self, Sources};
use crate::build::module_image::ModuleImage;
use crate::model::{ExitCode, Settings};
use crate::race::races::{MENDED, ModuleSources, RaceRow};

/// What goes into a guest.
pub(super) struct RaceModules {
    /// The module that is raced.
    pub(super) raced: ModuleImage,
    /// Those loaded before it, in this order.
    pub(super) before: Vec<ModuleImage>,
}

/// The modules of a run.
pub(super) fn of_run(
    race: &RaceArgs,
    mended: bool,
    settings: &Settings,
    kernel: &KernelUnderTest,
    cache: &Cache,
    stop: &AtomicBool,
) -> Result<RaceModules, Failure> {
    let row = race.race;
    supported(row, kernel)?;
    if row.is_default() {
        let raced = session::module(
            race.module.as_deref(),
            settings.oracle,
            kernel.kdir.as_deref(),
            &kernel.name,
            cache,
            stop,
        )?;
        let before = race.with.iter().map(|path| driver::open(path));
        return Ok(RaceModules {
            raced,
            before: before.collect::<Result<_, _>>()?,
        });
    }
    of_row(row, mended, kernel, cache, stop)
}

/// Refuses a kernel that lacks an option which the race needs.
fn supported(row: &RaceRow, kernel: &KernelUnderTest) -> Result<(), Failure> {
    let missing = missing(row, kernel);
    if missing.is_empty() {
        return Ok(());
    }
    let error = format!(
        "{}: --race {} needs {}, which this kernel is built without",
        kernel.name,
        row.name,
        missing.join(" and ")
    );
    let pair = row.pair.kernels().join(" and lab:");
    Err(Failure::message(ExitCode::Unsupported, error)
        .hint(format!("lab:{pair} have it: modrace lab build --race {}", row.name)))
}

/// What a race needs and a kernel's configuration does not have, where there is
/// one to look at.
pub(super) fn missing(row: &RaceRow, kernel: &KernelUnderTest) -> Vec<String> {
    let config = kernel.config.as_deref();
    config
        .and_then(|path| KernelConfig::open(path).ok())
        .map(|config| row.missing(|option| config.is_yes(option)))
        .unwrap_or_default()
}

fn of_row(
    row: &RaceRow,
    mended: bool,
    kernel: &KernelUnderTest,
    cache: &Cache,
    stop: &AtomicBool,
) -> Result<RaceModules, Failure> {
    let kdir = kernel.kdir.as_deref().ok_or_else(|| {
        let error = format!(
            "{}: no build tree to build the modules of {} against",
            kernel.name, row.name
        );
        Failure::message(ExitCode::Usage, error).hint("name it as BZIMAGE,KDIR")
    })?;
    let mut before = Vec::new();
    for sources in row.before {
        before.extend(build(kdir, sources, None, cache, stop)?);
    }
    let raced = match row.raced {
        Some(sources) => {
            before.extend(build(kdir, sources, mended.then_some(MENDED), cache, stop)?);
            before.pop()
        }
        None => {
            let dummy = kbuild::build_dummy(kdir, cache, stop).map_err(kbuild_failure)?;
            Some(ModuleImage::open(&dummy).or_fail(ExitCode::Broken)?)
        }
    };
    let nothing = || Failure::message(ExitCode::Broken, format!("{} has no module", row.name));
    Ok(RaceModules {
        raced: raced.ok_or_else(nothing)?,
        before,
    })
}

fn build(
    kdir: &Path,
    sources: &ModuleSources,
    option: Option<&str>,
    cache: &Cache,
    stop: &AtomicBool,
) -> Result<Vec<ModuleImage>, Failure> {
    let sources = Sources {
        name: sources.name,
        files: sources.files,
        modules: sources.modules,
    };
    let built = kbuild::build_modules(kdir, &sources, option, cache, stop).map_err(kbuild_failure)?;
    let images = built.iter().map(|path| ModuleImage::open(path));
    images.collect::<Result<_, _>>().or_fail(ExitCode::Broken)
}
