//! `modrace lab`: builds, finds and removes lab kernels in the user's cache.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::exit::Failure;
use super::stop;
use crate::build::cache::Cache;
use crate::lab::{
    BaseBuild, BuildEvent, BuildSpec, Builder, DEBIAN_TARBALL, Fix, LAB_KERNELS, LabKernel,
    LabKernelRow, NamedText, Source, Store, debug_info_fragment, with_debug_info,
};

/// Which kernels to build, and how.
#[derive(Clone, Debug)]
pub struct LabRequest {
    /// Names of modrace's own lab kernels; not used with `name`.
    pub kernels: Vec<String>,
    /// A name for a kernel of the user's own.
    pub name: Option<String>,
    /// Patches for it.
    pub patches: Vec<PathBuf>,
    /// Take the fix out of it.
    pub without_fix: bool,
    /// Fragments laid over its configuration.
    pub fragments: Vec<PathBuf>,
    /// A folder or a tarball.
    pub source: PathBuf,
    /// Build them with debug information.
    pub debug_info: bool,
    /// The compiler's name; None: gcc.
    pub compiler: Option<String>,
    /// Jobs that make runs at a time; none: one per CPU.
    pub jobs: Option<NonZero<u32>>,
    /// Compile every object anew.
    pub from_nothing: bool,
}

impl Default for LabRequest {
    fn default() -> Self {
        Self {
            kernels: Vec::new(),
            name: None,
            patches: Vec::new(),
            without_fix: false,
            fragments: Vec::new(),
            source: DEBIAN_TARBALL.into(),
            debug_info: false,
            compiler: None,
            jobs: None,
            from_nothing: false,
        }
    }
}

/// Something happened in a build.
#[derive(Debug)]
pub enum LabEvent<'a> {
    /// The build of the kernel of that name begins.
    Started(&'a str),
    /// It is under way.
    Build(BuildEvent<'a>),
    /// The kernel is there.
    Ready {
        /// The kernel.
        kernel: &'a LabKernel,
        /// Seconds that its build took; none: it was there already.
        took_s: Option<u64>,
    },
    /// No more of this kernel.
    Ended,
}

/// Builds the kernels asked for; those that are built already are left as they
/// are.
pub fn build(request: &LabRequest, hear: &mut dyn FnMut(LabEvent<'_>)) -> Result<(), Failure> {
    let cache = Cache::from_env()?;
    let specs = specs(request)?;
    let cancel = stop::on_signals()?;
    let source = Source::open(&request.source, &cancel)?;
    let builder = Builder {
        cache: &cache,
        source: &source,
        jobs: request.jobs,
        base: if request.from_nothing {
            BaseBuild::Nothing
        } else {
            BaseBuild::Any
        },
        cancel: &cancel,
    };
    for mut spec in specs {
        spec.compiler.clone_from(&request.compiler);
        let started = Instant::now();
        hear(LabEvent::Started(&spec.name));
        let built = builder.build(&spec, &mut |event| hear(LabEvent::Build(event)));
        hear(LabEvent::Ended);
        let (kernel, is_new) = built?;
        hear(LabEvent::Ready {
            kernel: &kernel,
            took_s: is_new.then(|| started.elapsed().as_secs()),
        });
    }
    Ok(())
}

/// The kernels in the user's cache.
pub fn kernels() -> Result<Vec<LabKernel>, Failure> {
    Ok(Store::new(&Cache::from_env()?).kernels())
}

/// Removes kernels, and sources that no kernel needs. `removed` hears of each
/// path.
pub fn remove(names: &[String], removed: &mut dyn FnMut(&Path)) -> Result<(), Failure> {
    let cache = Cache::from_env()?;
    let cancel = stop::on_signals()?;
    for name in names.iter().map(|name| without_prefix(name)) {
        let paths = Store::new(&cache).remove(name, &cancel)?;
        if paths.is_empty() {
            let error = format!("no lab kernel `{name}` is built");
            return Err(Failure::usage(error).hint("modrace lab list shows which are"));
        }
        for path in &paths {
            removed(path);
        }
    }
    Ok(())
}

/// A lab kernel's name, also as it is written everywhere else.
fn without_prefix(name: &str) -> &str {
    name.strip_prefix("lab:").unwrap_or(name)
}

fn specs(request: &LabRequest) -> Result<Vec<BuildSpec>, Failure> {
    if let Some(name) = &request.name {
        let (mut fragments, patches) = (texts(&request.fragments)?, texts(&request.patches)?);
        fragments.extend(request.debug_info.then(debug_info_fragment));
        let fix = if request.without_fix {
            Fix::TakenOut
        } else {
            Fix::AsItIs
        };
        return Ok(vec![BuildSpec::custom(name, fragments, fix, patches)?]);
    }
    let named = |name: &String| match without_prefix(name) {
        name if request.debug_info => row_spec(&with_debug_info(name)),
        name => row_spec(name),
    };
    request.kernels.iter().map(named).collect()
}

fn row_spec(name: &str) -> Result<BuildSpec, Failure> {
    let row = LabKernelRow::find(name).ok_or_else(|| {
        let known: Vec<_> = LAB_KERNELS.iter().map(|row| row.name).collect();
        Failure::usage(format!("`{name}` is not one of modrace's lab kernels")).hint(format!(
            "they are {}; to build your own tree: --name {name} --source DIR",
            known.join(", ")
        ))
    })?;
    Ok(row.build_spec())
}

fn texts(paths: &[PathBuf]) -> Result<Vec<NamedText>, Failure> {
    paths.iter().map(|path| text(path)).collect()
}

fn text(path: &Path) -> Result<NamedText, Failure> {
    let bytes = fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(NamedText::new(name.to_string_lossy(), bytes))
}
