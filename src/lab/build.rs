//! Builds one lab kernel: source, link tree, patches, configuration, make, publish.
//! What it does on the way it tells as events; it prints nothing.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::build_spec::{BuildSpec, Fix, NamedText};
use super::configure::{self, kernel_make};
use super::link_tree::{self, LinkTree};
use super::store::{self, LabKernel, Manifest, Store};
use super::{LabError, Source, missing_needs, unformed_lock};
use crate::build::cache::Cache;
use crate::build::config::{KernelConfig, hex};
use crate::build::kbuild::{KbuildError, Kdir, build_dummy};
use crate::build::make::{self, MakeError};
use crate::build::programs;
use crate::build::toolchain::{self, Toolchain};

/// Steps that make announces for the lab configuration on 6.1, measured; only
/// a bar's length hangs on it. A kernel built before is a better guess.
const STEPS_ESTIMATE: u32 = 1600;

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waits for another process that builds from the same source.
    Wait,
    /// Unpacks or copies the source.
    Unpack,
    /// Links the source and applies the patches.
    Patch,
    /// Makes the configuration.
    Configure,
    /// Compiles.
    Compile,
    /// Builds a module against the finished kernel.
    Check,
}

/// What a build tells on its way.
#[derive(Clone, Copy, Debug)]
pub enum BuildEvent<'a> {
    /// A new stage.
    Stage(Stage),
    /// The source is being unpacked; bytes of the tarball.
    Unpacked {
        /// Read so far.
        bytes: u64,
        /// In all.
        total: u64,
    },
    /// Make announced a step.
    Step {
        /// Announced so far.
        done: u32,
        /// About how many there will be; nothing if nobody knows.
        expected: Option<u32>,
        /// Make's own words.
        line: &'a str,
    },
}

/// Whose objects a build may start from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BaseBuild {
    /// Any finished kernel of the same source, configuration and compiler.
    #[default]
    Any,
    /// Such a kernel of that name.
    From(String),
    /// None: every object is compiled anew.
    Nothing,
}

/// Builds lab kernels into a cache.
#[derive(Debug)]
pub struct Builder<'a> {
    /// Where they go.
    pub cache: &'a Cache,
    /// What they are built from.
    pub source: &'a Source,
    /// Jobs that make runs at a time; nothing: one per CPU.
    pub jobs: Option<NonZero<u32>>,
    /// Whose objects to start from.
    pub base: BaseBuild,
    /// Set from outside to stop.
    pub cancel: &'a AtomicBool,
}

/// Who watches a build.
type OnEvent<'e> = dyn FnMut(BuildEvent<'_>) + 'e;

/// One kernel on its way through the stages.
struct Run<'a, 'e> {
    builder: &'a Builder<'a>,
    build_spec: &'a BuildSpec,
    key: String,
    compiler: String,
    log: PathBuf,
    on_event: &'e mut OnEvent<'e>,
}

impl Builder<'_> {
    /// The kernel of a build spec: from the cache, or built into it. True with it
    /// if it was built now.
    pub fn build(
        &self,
        build_spec: &BuildSpec,
        on_event: &mut dyn FnMut(BuildEvent<'_>),
    ) -> Result<(LabKernel, bool), LabError> {
        let store = Store::new(self.cache);
        let missing = missing_needs();
        if !missing.is_empty() {
            return Err(LabError::Needs(missing));
        }
        let asked = build_spec.compiler.as_deref();
        if let Some(name) = asked.filter(|name| programs::find(name).is_none()) {
            return Err(LabError::NoCompiler(name.to_owned()));
        }
        let compiler = programs::version(asked.unwrap_or(toolchain::DEFAULT)).unwrap_or_default();
        let key = build_spec.key(self.source.sha256(), &compiler);
        if let Some(kernel) = store.by_key(&build_spec.name, &key) {
            return Ok((kernel, false));
        }
        let mut waiting = || on_event(BuildEvent::Stage(Stage::Wait));
        let _lock = store.lock(self.source.key(), self.cancel, &mut waiting)?;
        // Whoever held the lock may have built it.
        if let Some(kernel) = store.by_key(&build_spec.name, &key) {
            return Ok((kernel, false));
        }
        self.cache.dir(store::LOGS)?;
        let log = store.log(&build_spec.name, &key);
        fs::write(&log, "").map_err(LabError::io("write", &log))?;
        let mut run = Run {
            builder: self,
            build_spec,
            key,
            compiler,
            log,
            on_event,
        };
        match run.build(&store) {
            Ok(kernel) => Ok((kernel, true)),
            Err(error) => {
                if !error.names_log() {
                    let _gone = fs::remove_file(store.log(&build_spec.name, &run.key));
                }
                Err(error)
            }
        }
    }
}

impl Run<'_, '_> {
    fn build(&mut self, store: &Store<'_>) -> Result<LabKernel, LabError> {
        let started = Instant::now();
        let Builder {
            cache,
            source,
            cancel,
            ..
        } = *self.builder;
        let pristine = source.unpacked(cache, cancel, self.on_event)?;
        (self.on_event)(BuildEvent::Stage(Stage::Patch));
        let work = cache.dir("lab/work")?.join(source.key());
        let patches = self.patches(&pristine)?;
        let asked = self.build_spec.compiler.as_deref();
        let toolchain = Toolchain::new(toolchain::generation_of_source(&pristine), asked);
        let link_tree = LinkTree::create(&work, &pristine, &patches, cancel)?;
        let sibling = self.sibling(store);
        if let Some(sibling) = &sibling {
            link_tree.seed(&sibling.kdir(), &sibling.manifest.touched, cancel)?;
        } else {
            self.configure(&link_tree, &toolchain)?;
        }
        let config = KernelConfig::open(&link_tree.build().join(".config"))?;
        configure::verify(&config, &self.build_spec.fragments)?;
        let steps = self.compile(
            &link_tree,
            &toolchain,
            sibling.is_none().then(|| expected(store)),
        )?;
        toolchain
            .record(&link_tree.build())
            .map_err(LabError::io("write", &link_tree.build()))?;
        let image = link_tree.build().join("arch/x86/boot/bzImage");
        let image_sha256 = hash_product(&image).ok_or_else(|| self.incomplete("bzImage"))?;
        let kdir = Kdir::open(&link_tree.build()).map_err(|error| self.no_modules(error))?;
        let records = |texts: &[NamedText]| texts.iter().map(NamedText::record).collect();
        let manifest = Manifest {
            name: self.build_spec.name.clone(),
            key: self.key.clone(),
            recipe_sha256: self.build_spec.sha256(),
            recipe_config_sha256: self.build_spec.config_sha256(),
            source: source.path().to_owned(),
            source_sha256: source.sha256().to_owned(),
            fragments: records(&self.build_spec.fragments),
            patches: records(&patches),
            touched: link_tree.touched().clone(),
            compiler: self.compiler.clone(),
            release: kdir.release().to_owned(),
            config_sha256: config.sha256().to_owned(),
            image_sha256,
            seeded_from: sibling
                .map(|kernel| format!("{}-{}", kernel.manifest.name, kernel.manifest.key)),
            steps,
            build_s: started.elapsed().as_secs_f64(),
            finished_unix_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
        };
        self.publish(store, link_tree, &work, manifest)
    }

    /// What is done to the source, in this order.
    fn patches(&self, pristine: &Path) -> Result<Vec<NamedText>, LabError> {
        let mut patches = self.build_spec.patches.clone();
        match self.build_spec.fix {
            Fix::AsItIs => {}
            Fix::Required => drop(self.without_fix(pristine)?),
            Fix::TakenOut => patches.insert(0, self.without_fix(pristine)?),
        }
        Ok(patches)
    }

    fn without_fix(&self, pristine: &Path) -> Result<NamedText, LabError> {
        unformed_lock::patch(pristine).map_err(|source| LabError::FixNotThere {
            name: self.build_spec.name.clone(),
            source: Box::new(source),
        })
    }

    /// A finished kernel whose objects fit: same source, configuration and
    /// compiler. Only the patches may differ.
    fn sibling(&self, store: &Store<'_>) -> Option<LabKernel> {
        let config = self.build_spec.config_sha256();
        store.kernels().into_iter().find(|kernel| {
            let other = &kernel.manifest;
            let wanted = match &self.builder.base {
                BaseBuild::Any => true,
                BaseBuild::From(name) => *name == other.name,
                BaseBuild::Nothing => false,
            };
            wanted
                && other.source_sha256 == self.builder.source.sha256()
                && other.recipe_config_sha256 == config
                && other.compiler == self.compiler
        })
    }

    fn configure(&mut self, link_tree: &LinkTree, toolchain: &Toolchain) -> Result<(), LabError> {
        (self.on_event)(BuildEvent::Stage(Stage::Configure));
        let fragments = &self.build_spec.fragments;
        for command in configure::commands(
            &link_tree.source(),
            &link_tree.build(),
            fragments,
            toolchain,
        )? {
            self.run("the configuration", command, &mut |_, _| {})?;
        }
        Ok(())
    }

    /// Runs make; returns the steps that it announced.
    fn compile(
        &mut self,
        link_tree: &LinkTree,
        toolchain: &Toolchain,
        expected: Option<u32>,
    ) -> Result<u32, LabError> {
        (self.on_event)(BuildEvent::Stage(Stage::Compile));
        let mut command = kernel_make(&link_tree.source(), &link_tree.build(), toolchain);
        let jobs = self.builder.jobs.map_or_else(
            || std::thread::available_parallelism().map_or(1, NonZero::get),
            |jobs| jobs.get() as usize,
        );
        command
            .arg(format!("-j{jobs}"))
            .args(["bzImage", "modules"]);
        let mut done = 0;
        self.run("make", command, &mut |line, on_event| {
            if is_step(line) {
                done += 1;
                on_event(BuildEvent::Step {
                    done,
                    expected,
                    line: line.trim_start(),
                });
            }
        })?;
        Ok(done)
    }

    fn run(
        &mut self,
        step: &'static str,
        command: Command,
        on_line: &mut dyn FnMut(&str, &mut OnEvent<'_>),
    ) -> Result<(), LabError> {
        let on_event = &mut *self.on_event;
        let mut each = |line: &str| on_line(line, on_event);
        make::run(command, Some(&self.log), self.builder.cancel, &mut each).map_err(|error| {
            match error {
                MakeError::Interrupted => LabError::Interrupted,
                source => LabError::Make {
                    name: self.build_spec.name.clone(),
                    step,
                    log: self.log.clone(),
                    source,
                },
            }
        })
    }

    /// Moves the kernel into place and builds a module against it there: the
    /// move must not have broken it. If it did, it goes away again.
    fn publish(
        &mut self,
        store: &Store<'_>,
        link_tree: LinkTree,
        work: &Path,
        manifest: Manifest,
    ) -> Result<LabKernel, LabError> {
        self.builder.cache.dir("lab/kernels")?;
        let home = store.home(&manifest.name, &manifest.key);
        relocate(&link_tree.build(), work, &home)?;
        link_tree.publish(&home)?;
        (self.on_event)(BuildEvent::Stage(Stage::Check));
        let kernel = LabKernel {
            path: home.clone(),
            manifest,
        };
        let checked = build_dummy(&kernel.kdir(), self.builder.cache, self.builder.cancel)
            .map_err(|error| self.no_modules(error))
            // Only the manifest makes the folder a kernel.
            .and_then(|_| store::write_manifest(&home, &kernel.manifest));
        if let Err(error) = checked {
            link_tree::remove(&home)?;
            return Err(error);
        }
        Ok(kernel)
    }

    fn incomplete(&self, what: &'static str) -> LabError {
        LabError::Incomplete {
            name: self.build_spec.name.clone(),
            what,
            log: self.log.clone(),
        }
    }

    fn no_modules(&self, error: KbuildError) -> LabError {
        match error {
            KbuildError::Interrupted => LabError::Interrupted,
            source => LabError::NoModules {
                name: self.build_spec.name.clone(),
                source: Box::new(source),
            },
        }
    }
}

/// About how many steps a build from nothing takes.
fn expected(store: &Store<'_>) -> u32 {
    store
        .kernels()
        .iter()
        .find(|kernel| kernel.manifest.seeded_from.is_none())
        .map_or(STEPS_ESTIMATE, |kernel| kernel.manifest.steps)
}

/// `  CC      kernel/module/main.o`
fn is_step(line: &str) -> bool {
    line.strip_prefix("  ")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Old kernels write their folder's path into the build tree's Makefile; new
/// ones say `..` there. Both are right after this.
fn relocate(build: &Path, work: &Path, home: &Path) -> Result<(), LabError> {
    let makefile = build.join("Makefile");
    let text = fs::read_to_string(&makefile).map_err(LabError::io("read", &makefile))?;
    let (from, to) = (work.to_string_lossy(), home.to_string_lossy());
    if text.contains(&*from) {
        let text = text.replace(&*from, &to);
        fs::write(&makefile, text).map_err(LabError::io("write", &makefile))?;
    }
    Ok(())
}

fn hash_product(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| hex(&Sha256::digest(bytes)))
}
