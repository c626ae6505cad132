//! The modules of a race, for one kernel: built from the sources of its row, or
//! those that were named.

use std::sync::atomic::AtomicBool;

use super::events::Events;
use super::exit::Failure;
use super::kernel_arg::KernelUnderTest;
use super::module;
use super::request::Request;
use crate::build::cache::Cache;
use crate::build::config::KernelConfig;
use crate::build::kbuild::{self, Sources, Variant};
use crate::build::module_image::ModuleImage;
use crate::race::races::{MENDED, ModuleSources, RaceRow};

/// What goes into a guest.
pub(super) struct RaceModules {
    /// The module that is raced.
    pub(super) raced: ModuleImage,
    /// Those loaded before it, in this order.
    pub(super) before: Vec<ModuleImage>,
}

impl RaceModules {
    /// Those of a request. `mended`: of a driver's mistake, the module without it.
    pub(super) fn of(
        request: &Request,
        mended: bool,
        kernel: &KernelUnderTest,
        cache: &Cache,
        stop: &AtomicBool,
        events: Events<'_>,
    ) -> Result<Self, Failure> {
        let row = request.row()?;
        let missing = missing(row, kernel);
        if !missing.is_empty() {
            return Err(refused(row, kernel, &missing));
        }
        if !row.is_default() {
            return of_row(row, mended, kernel, cache, stop, events);
        }
        let raced = module::of_kernel(
            request.module.as_deref(),
            request.settings.oracle,
            kernel.kdir.as_deref(),
            &kernel.name,
            cache,
            stop,
            events,
        )?;
        let before = request.with.iter().map(|path| ModuleImage::open(path));
        Ok(Self {
            raced,
            before: before.collect::<Result<_, _>>()?,
        })
    }

    /// Names with contents of all.
    pub(super) fn all(&self) -> Vec<(String, Vec<u8>)> {
        let raced = (self.raced.name().to_owned(), self.raced.bytes().to_vec());
        std::iter::once(raced).chain(self.packed()).collect()
    }

    /// Names with contents of those loaded before.
    pub(super) fn packed(&self) -> Vec<(String, Vec<u8>)> {
        let before = self.before.iter();
        before
            .map(|module| (module.name().to_owned(), module.bytes().to_vec()))
            .collect()
    }
}

/// Options that a race needs and a kernel is built without, in words, as far as
/// its configuration is known.
pub(super) fn missing(row: &RaceRow, kernel: &KernelUnderTest) -> Vec<String> {
    let config = kernel.config.as_deref();
    config
        .and_then(|path| KernelConfig::open(path).ok())
        .map(|config| row.missing(|option| config.is_yes(option)))
        .unwrap_or_default()
}

fn refused(row: &RaceRow, kernel: &KernelUnderTest, missing: &[String]) -> Failure {
    Failure::unsupported(format!(
        "{}: --race {} needs {}, which this kernel is built without",
        kernel.name,
        row.name,
        missing.join(" and ")
    ))
    .hint(format!(
        "a kernel that has it: modrace lab build --race {}",
        row.name
    ))
}

fn of_row(
    row: &RaceRow,
    mended: bool,
    kernel: &KernelUnderTest,
    cache: &Cache,
    stop: &AtomicBool,
    events: Events<'_>,
) -> Result<RaceModules, Failure> {
    let Some(kdir) = kernel.kdir.as_deref() else {
        return Err(Failure::usage(format!(
            "{}: no build tree to build the modules of {} against",
            kernel.name, row.name
        ))
        .hint("name it as BZIMAGE,KDIR"));
    };
    let tell = |text: &str| events.note(text);
    let build = |option: Option<&str>, sources: &ModuleSources| -> Result<_, Failure> {
        let sources = Sources {
            name: sources.name,
            files: sources.files,
            modules: sources.modules,
        };
        let built = kbuild::build_modules(kdir, &sources, option, cache, stop, &tell)?;
        let images = built.iter().map(|path| ModuleImage::open(path));
        Ok(images.collect::<Result<Vec<_>, _>>()?)
    };
    let mut before = Vec::new();
    for sources in row.before {
        before.extend(build(None, sources)?);
    }
    let raced = if let Some(sources) = row.raced {
        before.extend(build(mended.then_some(MENDED), sources)?);
        before.pop()
    } else {
        let built = kbuild::build_variant(kdir, Variant::Dummy, cache, stop, &tell)?;
        Some(ModuleImage::open(&built)?)
    };
    let raced = raced.ok_or_else(|| Failure::broken(format!("{} has no module", row.name)))?;
    Ok(RaceModules { raced, before })
}
