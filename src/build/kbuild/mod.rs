//! Builds the modules that are raced for any kernel that has a build tree, and
//! keeps the result by what went into it. The sources are inside this program,
//! so that an installed modrace needs nothing but the kernel's own KDIR.

mod entry;
mod error;

pub use error::KbuildError;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::cache::{Cache, CacheError};
use super::config::{KernelConfig, hex};
use super::make::{self, MakeError};
use super::module_image::ModuleImage;
use super::programs;
use super::toolchain;

/// Time between two words on a build that goes on.
const WORD_EVERY: Duration = Duration::from_secs(10);
/// The name that the dummy module is built under.
pub const DUMMY_MODULE: &str = "dummy_module";
const DUMMY: Sources<'_> = Sources {
    name: "",
    files: &[
        ("Kbuild", include_str!("../../../dummy-module/Kbuild")),
        (
            "dummy_module.c",
            include_str!("../../../dummy-module/dummy_module.c"),
        ),
    ],
    modules: &[DUMMY_MODULE],
};

/// The sources of modules that are built together.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// How their folder in the cache differs from others'.
    pub name: &'a str,
    /// File names with contents, `Kbuild` among them.
    pub files: &'a [(&'a str, &'a str)],
    /// Names of the modules that they give, in the order of loading.
    pub modules: &'a [&'a str],
}

/// Options of the kernel that make modules of it fat: debug information, and
/// type information that each load parses and publishes (measured on 6.12: a
/// module of 310 kB instead of 9, 74 load/unload cycles a second instead of 269).
/// Switched off for the build of the module; the kernel's headers, and with them
/// the layout of `struct module`, do not change.
const FAT: &[&str] = &["CONFIG_DEBUG_INFO", "CONFIG_DEBUG_INFO_BTF_MODULES"];

/// Which of the two modules that the same source gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Out of tree and tainted: it can meet the BUG.
    Dummy,
    /// Marked as in-tree and so not tainted: it shows near misses, and a kernel
    /// under it proves nothing by not crashing. For that oracle only.
    Twin,
}

impl Variant {
    /// What make is told of it.
    fn option(self) -> Option<&'static str> {
        match self {
            Self::Dummy => None,
            Self::Twin => Some("MODRACE_TWIN"),
        }
    }
}

/// A build tree that modules can be built against.
#[derive(Clone, Debug)]
pub struct Kdir {
    path: PathBuf,
    release: String,
    config: KernelConfig,
}

impl Kdir {
    /// Looks whether a folder can serve.
    pub fn open(path: &Path) -> Result<Self, KbuildError> {
        let not_one = |missing| KbuildError::NotAKdir {
            kdir: path.to_owned(),
            missing,
        };
        // Kbuild changes folder, so a relative path would be another one there.
        let full = path.canonicalize().map_err(|_| not_one("such folder"))?;
        check_path(&full)?;
        for file in ["Makefile", ".config", "Module.symvers"] {
            if !full.join(file).is_file() {
                return Err(not_one(file));
            }
        }
        // The header decides what modules are built for; Debian's
        // include/config/kernel.release says something else.
        let header = "include/generated/utsrelease.h";
        let release = fs::read_to_string(full.join(header))
            .ok()
            .and_then(|text| Some(text.split('"').nth(1)?.to_owned()))
            .ok_or(not_one(header))?;
        let config = KernelConfig::open(&full.join(".config"))?;
        for (name, option) in [
            ("MODULES", "CONFIG_MODULES"),
            ("MODULE_UNLOAD", "CONFIG_MODULE_UNLOAD"),
        ] {
            if !config.is_yes(name) {
                return Err(KbuildError::Option { kdir: full, option });
            }
        }
        Ok(Self {
            path: full,
            release,
            config,
        })
    }

    /// Its folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `uname -r` of the kernel that it builds.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Its configuration.
    pub fn config(&self) -> &KernelConfig {
        &self.config
    }

    /// A make of this tree's own kind of compiler.
    fn make(&self) -> Command {
        let mut command = make::tool("make");
        command.arg("-C").arg(&self.path);
        if self.config.is_yes("CC_IS_CLANG") {
            command.arg("LLVM=1");
        } else {
            command.args(toolchain::variables_of(&self.path, &self.release));
        }
        command
    }

    /// What decides the built modules: their sources, the kernel, the compiler.
    fn key(&self, sources: &Sources<'_>) -> Result<String, KbuildError> {
        let mut hash = Sha256::new();
        for (name, text) in sources.files {
            hash.update(format!("{name} {}\n{text}", text.len()));
        }
        for option in FAT {
            hash.update(option);
        }
        hash.update(self.config.sha256());
        let symvers = self.path.join("Module.symvers");
        let symvers = fs::read(&symvers).map_err(CacheError::io("read", &symvers))?;
        hash.update(symvers);
        hash.update(format!("\n{}\n{}", self.release, self.path.display()));
        let compiler = if self.config.is_yes("CC_IS_CLANG") {
            "clang"
        } else {
            "gcc"
        };
        hash.update(programs::version(compiler).unwrap_or_default());
        Ok(hex(&hash.finalize())[..16].to_owned())
    }
}

/// The dummy module for a kernel: from the cache, or built into it. Returns
/// the `.ko`. Safe against other processes that build the same.
pub fn build_dummy(
    kdir: &Path,
    cache: &Cache,
    cancel: &AtomicBool,
) -> Result<PathBuf, KbuildError> {
    build_variant(kdir, Variant::Dummy, cache, cancel, &|_| {})
}

/// The same for either variant. `tell` hears what takes time and what was
/// damaged.
pub fn build_variant(
    kdir: &Path,
    variant: Variant,
    cache: &Cache,
    cancel: &AtomicBool,
    tell: &dyn Fn(&str),
) -> Result<PathBuf, KbuildError> {
    let built = build_modules(kdir, &DUMMY, variant.option(), cache, cancel, tell)?;
    let built = &built[0];
    check_taint(built, variant, kdir)?;
    Ok(built.clone())
}

/// The modules of some sources: from the cache, or built into it. `option` is
/// set to `y` for make, for sources that give more than one variant. Returns the
/// `.ko` files in the order of loading.
pub fn build_modules(
    kdir: &Path,
    sources: &Sources<'_>,
    option: Option<&str>,
    cache: &Cache,
    cancel: &AtomicBool,
    tell: &dyn Fn(&str),
) -> Result<Vec<PathBuf>, KbuildError> {
    let kdir = Kdir::open(kdir)?;
    let variants = [Some(sources.name), option];
    let variants = variants
        .into_iter()
        .flatten()
        .filter(|name| !name.is_empty());
    let entry = variants.fold(
        format!("{}-{}", kdir.release(), kdir.key(sources)?),
        |entry, name| {
            format!(
                "{entry}-{}",
                name.trim_start_matches("MODRACE_").to_lowercase()
            )
        },
    );
    let home = cache.dir("modules")?;
    check_path(&home)?;
    let finished = |folder: &Path| -> Vec<PathBuf> {
        let modules = sources.modules.iter();
        modules
            .map(|name| folder.join(format!("{name}.ko")))
            .collect()
    };
    let place = home.join(&entry);
    let cached = finished(&place);
    let _lock = cache.lock(&format!("module-{entry}"), cancel, &mut || {})?;
    // Looked for under the lock: whoever held it may have built it.
    if place.is_dir() {
        match entry::damage(&place, sources.modules) {
            None => {
                check_all(&cached, sources, &kdir)?;
                return Ok(cached);
            }
            Some(damage) => tell(&format!(
                "{}: {damage}; it is thrown away and built again",
                place.display()
            )),
        }
    }
    let what = sources.modules.join(", ");
    tell(&format!(
        "building {what} for {} (kept for later runs)",
        kdir.release()
    ));
    let work = tempfile::Builder::new()
        .prefix(".build-")
        .tempdir_in(&home)
        .map_err(CacheError::io("create a folder in", &home))?;
    compile(&kdir, sources, option, work.path(), cancel, tell)?;
    let built = finished(work.path());
    check_all(&built, sources, &kdir)?;
    entry::publish(&built, work.path(), &place)?;
    Ok(cached)
}

fn check_path(path: &Path) -> Result<(), KbuildError> {
    if path.to_string_lossy().contains([' ', '\t', ':']) {
        return Err(KbuildError::Path(path.to_owned()));
    }
    Ok(())
}

fn compile(
    kdir: &Kdir,
    sources: &Sources<'_>,
    option: Option<&str>,
    work: &Path,
    cancel: &AtomicBool,
    tell: &dyn Fn(&str),
) -> Result<(), KbuildError> {
    for (name, text) in sources.files {
        let path = work.join(name);
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    }
    let mut command = kdir.make();
    command
        .arg(format!("M={}", work.display()))
        .args(FAT.iter().map(|option| format!("{option}=")))
        .args(option.map(|option| format!("{option}=y")))
        .arg("modules");
    let mut told = Instant::now();
    let mut on_line = |line: &str| {
        if told.elapsed() >= WORD_EVERY {
            told = Instant::now();
            tell(&format!("still building: {}", line.trim()));
        }
    };
    make::run(command, Some(&work.join("build.log")), cancel, &mut on_line).map_err(|error| {
        match error {
            MakeError::Interrupted => KbuildError::Interrupted,
            MakeError::Start { program, source } if source.kind() == io::ErrorKind::NotFound => {
                KbuildError::NoTool { program }
            }
            source => KbuildError::Failed {
                kdir: kdir.path.clone(),
                source,
            },
        }
    })
}

/// A module that would not load must not enter the cache and must not leave it.
fn check_all(modules: &[PathBuf], sources: &Sources<'_>, kdir: &Kdir) -> Result<(), KbuildError> {
    for (module, name) in modules.iter().zip(sources.modules) {
        let image = open_image(module, &kdir.path)?;
        let built_for = image.vermagic().and_then(|magic| magic.split(' ').next());
        let what = if built_for != Some(kdir.release()) {
            format!(
                "built for {}, not for {}",
                built_for.unwrap_or("no kernel"),
                kdir.release()
            )
        } else if image.name() != *name {
            format!("named {}", image.name())
        } else {
            continue;
        };
        return Err(KbuildError::Wrong {
            kdir: kdir.path.clone(),
            what,
        });
    }
    Ok(())
}

/// The dummy module can meet the BUG only where it taints, and its twin must not.
fn check_taint(module: &Path, variant: Variant, kdir: &Path) -> Result<(), KbuildError> {
    let what = match (open_image(module, kdir)?.intree(), variant) {
        (true, Variant::Dummy) => "marked as in-tree, so that it taints nothing",
        (false, Variant::Twin) => "not marked as in-tree, so that it taints the kernel",
        _ => return Ok(()),
    };
    Err(KbuildError::Wrong {
        kdir: kdir.to_owned(),
        what: what.to_owned(),
    })
}

fn open_image(module: &Path, kdir: &Path) -> Result<ModuleImage, KbuildError> {
    ModuleImage::open(module).map_err(|source| KbuildError::Image {
        kdir: kdir.to_owned(),
        source,
    })
}
