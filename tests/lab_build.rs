//! Lab kernels built for real, from Debian's source, in the user's own cache:
//! what is built there already is used. A kernel that is not what its name says
//! would make every verdict wrong, so this is where it is looked at.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};

use modrace::build::boot_image::BootImage;
use modrace::build::cache::Cache;
use modrace::build::kbuild::build_dummy;
use modrace::lab::{
    BaseBuild, BuildEvent, BuildSpec, Builder, DEBIAN_TARBALL, Fix, LabKernel, LabKernelRow,
    Source, Store,
};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

static CANCEL: AtomicBool = AtomicBool::new(false);
/// Builds of one source wait for each other anyway; this keeps their times and
/// their siblings foreseeable.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn cache() -> Cache {
    Cache::from_env().unwrap()
}

/// Builds a `build_spec`; returns the kernel and the steps that make announced.
fn build(build_spec: &BuildSpec, base: BaseBuild) -> (LabKernel, Vec<String>) {
    build_from(Path::new(DEBIAN_TARBALL), build_spec, base)
}

/// The same from a tarball or a folder.
fn build_from(source: &Path, build_spec: &BuildSpec, base: BaseBuild) -> (LabKernel, Vec<String>) {
    let cache = cache();
    let source = Source::open(source, &CANCEL).unwrap();
    let builder = Builder {
        cache: &cache,
        source: &source,
        jobs: None,
        base,
        cancel: &CANCEL,
    };
    let mut steps = Vec::new();
    let (kernel, _new) = builder
        .build(build_spec, &mut |event| {
            if let BuildEvent::Step { line, .. } = event {
                steps.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        })
        .unwrap();
    (kernel, steps)
}

fn row(name: &str) -> (LabKernel, Vec<String>) {
    build(
        &LabKernelRow::find(name).unwrap().build_spec(),
        BaseBuild::Any,
    )
}

/// A kernel of the test's own, removed again.
struct Temporary(String);

impl Temporary {
    fn build_spec(&self, patched_like: &str) -> BuildSpec {
        let row = LabKernelRow::find(patched_like).unwrap().build_spec();
        BuildSpec::custom(&self.0, Vec::new(), row.fix, row.patches).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let cache = cache();
        let _gone = Store::new(&cache).remove(&self.0, &CANCEL);
    }
}

/// Every file below a folder, relative to it.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.is_file() {
                found.insert(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found
}

/// How often an object calls each function.
fn calls(object: &Path) -> BTreeMap<String, usize> {
    let bytes = fs::read(object).unwrap();
    let elf = object::File::parse(&*bytes).unwrap();
    let mut calls = BTreeMap::new();
    for section in elf
        .sections()
        .filter(|s| s.kind() == object::SectionKind::Text)
    {
        for (_, relocation) in section.relocations() {
            if let RelocationTarget::Symbol(index) = relocation.target() {
                let symbol = elf.symbol_by_index(index).unwrap();
                *calls.entry(symbol.name().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    calls
}

#[test]
fn the_vulnerable_kernel_differs_from_the_fixed_by_the_patch_alone() {
    let _alone = alone();
    let ((fixed, _), (vulnerable, _)) = (row("fixed"), row("vulnerable"));
    assert_eq!(fixed.manifest.release, vulnerable.manifest.release);
    assert_eq!(
        fs::read(fixed.kdir().join(".config")).unwrap(),
        fs::read(vulnerable.kdir().join(".config")).unwrap()
    );
    // The sources: the same files, but for the one that is patched.
    let (one, other) = (fixed.path.join("linux"), vulnerable.path.join("linux"));
    let patched = Path::new("kernel/module/main.c");
    let source_files = |root: &Path| -> BTreeSet<PathBuf> {
        let mut files = files(root);
        files.retain(|file| !file.starts_with("build"));
        files
    };
    let names = source_files(&one);
    assert_eq!(names, source_files(&other));
    assert!(names.len() > 50_000, "{} source files", names.len());
    for name in &names {
        let meta = |root: &Path| fs::symlink_metadata(root.join(name)).unwrap();
        let same = meta(&one).ino() == meta(&other).ino();
        let equal =
            same || fs::read(one.join(name)).unwrap() == fs::read(other.join(name)).unwrap();
        assert_eq!(equal, name != patched, "{}", name.display());
    }

    // The objects: the same, but for that file's and what is linked from it.
    let objects = |root: &Path| -> BTreeSet<PathBuf> {
        let mut objects = files(root);
        objects.retain(|file| file.extension().is_some_and(|e| e == "o"));
        objects
    };
    let (one, other) = (fixed.kdir(), vulnerable.kdir());
    let names = objects(&one);
    assert_eq!(names, objects(&other));
    let differing: BTreeSet<&Path> = names
        .iter()
        .filter(|name| fs::read(one.join(name)).unwrap() != fs::read(other.join(name)).unwrap())
        .map(PathBuf::as_path)
        .collect();
    let linked = [
        ".tmp_vmlinux.kallsyms1.o",
        ".tmp_vmlinux.kallsyms2.o",
        "arch/x86/boot/compressed/misc.o",
        "arch/x86/boot/compressed/piggy.o",
        "arch/x86/boot/header.o",
        "kernel/module/main.o",
        "vmlinux.o",
    ];
    let surprising: Vec<_> = differing
        .iter()
        .filter(|name| !linked.iter().any(|linked| Path::new(linked) == **name))
        .collect();
    assert!(surprising.is_empty(), "{surprising:?}");

    // What the fix is: one lock and one unlock more, and no other call.
    let main = Path::new("kernel/module/main.o");
    assert!(differing.contains(main));
    let (mut with, without) = (calls(&one.join(main)), calls(&other.join(main)));
    for function in ["mutex_lock", "mutex_unlock"] {
        *with.get_mut(function).unwrap() -= 1;
    }
    let count = |calls: &BTreeMap<String, usize>, name: &str| calls.get(name).copied();
    for function in ["mutex_lock", "mutex_unlock"] {
        assert_eq!(count(&with, function), count(&without, function));
    }
    let functions = |calls: &BTreeMap<String, usize>| -> BTreeSet<String> {
        calls
            .keys()
            .filter(|n| !n.starts_with('.'))
            .cloned()
            .collect()
    };
    assert_eq!(functions(&with), functions(&without));
}

/// Make goes by dates. The unpatched file is older than the object of its
/// patched form: taken over as it is, "fixed" would be the vulnerable kernel.
#[test]
fn a_kernel_that_starts_from_its_sibling_is_bit_for_bit_the_one_built_from_nothing() {
    let _alone = alone();
    let ((fixed, _), (vulnerable, _)) = (row("fixed"), row("vulnerable"));
    let (clean, other, clean_row) = if fixed.manifest.seeded_from.is_none() {
        (fixed, vulnerable, "fixed")
    } else {
        (vulnerable, fixed, "vulnerable")
    };
    let temporary = Temporary(format!("test-seeded-{}", std::process::id()));
    let base = BaseBuild::From(other.manifest.name.clone());
    let (seeded, steps) = build(&temporary.build_spec(clean_row), base);
    assert_eq!(
        clean.manifest.seeded_from, None,
        "no kernel built from nothing to compare with: modrace lab remove fixed vulnerable"
    );
    assert_ne!(seeded.manifest.seeded_from, None);
    assert_eq!(seeded.manifest.image_sha256, clean.manifest.image_sha256);
    assert_ne!(seeded.manifest.image_sha256, other.manifest.image_sha256);
    // Built anew: the patched file and what is linked from it. Not the rest.
    let compiled: Vec<&str> = steps
        .iter()
        .filter_map(|step| step.strip_prefix("CC "))
        .filter(|file| !file.starts_with("arch/x86/boot/"))
        .collect();
    assert_eq!(compiled, ["kernel/module/main.o"], "{steps:#?}");
}

#[test]
fn the_unpacked_source_stays_as_it_was() {
    let _alone = alone();
    let (vulnerable, _) = row("vulnerable");
    let key = &vulnerable.manifest.source_sha256[..16];
    let pristine = cache().root().join("lab/source").join(key);
    let text = fs::read_to_string(pristine.join("kernel/module/main.c")).unwrap();
    let fix = "mutex_lock(&module_mutex);\n\tmod->state = MODULE_STATE_UNFORMED;";
    assert!(text.contains(fix));
    let own = vulnerable.path.join("linux/kernel/module/main.c");
    assert!(!fs::read_to_string(own).unwrap().contains(fix));
    assert!(!pristine.join("build").exists());
}

#[test]
fn a_finished_kernel_boots_by_its_header_and_takes_modules_where_it_was_moved() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for name in ["fixed", "vulnerable"] {
        let (kernel, _) = row(name);
        let image = BootImage::open(&kernel.image()).unwrap();
        assert_eq!(image.release.as_deref(), Some(&*kernel.manifest.release));
        // A cache of its own: nothing is taken from an earlier build.
        build_dummy(&kernel.kdir(), &Cache::at(dir.path()), &CANCEL).unwrap();
        let log = files(dir.path());
        let log = log.iter().find(|file| file.ends_with("build.log")).unwrap();
        let log = fs::read_to_string(dir.path().join(log)).unwrap();
        // The kernel's own programs are used as they are, not built again.
        assert!(!log.contains("HOSTCC") && !log.contains("DESCEND"), "{log}");
        fs::remove_dir_all(dir.path()).unwrap();
    }
}

#[test]
fn two_builders_of_one_kernel_build_it_once() {
    let _alone = alone();
    row("fixed");
    let temporary = Temporary(format!("test-twice-{}", std::process::id()));
    let (done, results) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let (build_spec, done) = (temporary.build_spec("fixed"), done.clone());
        std::thread::spawn(move || {
            let sent = done.send(Box::new(build(&build_spec, BaseBuild::Any)));
            sent.expect("the test waits for both");
        });
    }
    drop(done);
    let results: Vec<_> = results.iter().collect();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].0.path, results[1].0.path);
    let builders = results.iter().filter(|result| !result.1.is_empty());
    assert_eq!(builders.count(), 1);
}

/// Options that 3.10 does not know.
const UNKNOWN_TO_OLD_TREES: &[&str] = &[
    "ADVISE_SYSCALLS",
    "MEMBARRIER",
    "MULTIUSER",
    "PVPANIC_MMIO",
    "PVPANIC_PCI",
    "RSEQ",
];

/// Debian's source as a tree that says it is 3.10.17: without `tinyconfig`, and
/// without the options that came later.
fn old_tree(folder: &Path) {
    let unpacked = Command::new("tar")
        .arg("--extract")
        .arg("--strip-components=1")
        .arg("--directory")
        .arg(folder)
        .arg("--file")
        .arg(DEBIAN_TARBALL)
        .status()
        .unwrap();
    assert!(unpacked.success());
    fs::remove_file(folder.join("kernel/configs/tiny.config")).unwrap();
    let makefile = folder.join("Makefile");
    let text = fs::read_to_string(&makefile).unwrap();
    let numbers = [("VERSION", "3"), ("PATCHLEVEL", "10"), ("SUBLEVEL", "17")];
    let line = |line: &str| {
        let number = numbers
            .iter()
            .find(|(name, _)| line.starts_with(&format!("{name} =")));
        number.map_or_else(
            || line.to_owned(),
            |(name, number)| format!("{name} = {number}"),
        )
    };
    let text: Vec<String> = text.lines().map(line).collect();
    fs::write(&makefile, text.join("\n") + "\n").unwrap();
    for file in ["init/Kconfig", "drivers/misc/pvpanic/Kconfig"] {
        let path = folder.join(file);
        let mut text = fs::read_to_string(&path).unwrap();
        for option in UNKNOWN_TO_OLD_TREES {
            text = text.replace(
                &format!("config {option}\n"),
                &format!("config GONE_{option}\n"),
            );
        }
        fs::write(&path, text).unwrap();
    }
}

#[test]
#[ignore = "compiles a whole kernel, which takes minutes"]
fn a_tree_of_before_tinyconfig_gives_a_kernel_that_modules_load_into() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    old_tree(folder.path());
    let temporary = Temporary("test-old-tree".to_owned());
    let spec = BuildSpec::custom(&temporary.0, Vec::new(), Fix::AsItIs, Vec::new()).unwrap();
    let (kernel, _) = build_from(folder.path(), &spec, BaseBuild::Nothing);
    assert!(kernel.manifest.release.starts_with("3.10.17"));
    let told = fs::read_to_string(kernel.kdir().join("modrace-make-variables")).unwrap();
    assert!(told.contains("CC=gcc -fno-pie"), "{told}");
    assert!(told.contains("HOSTCC=gcc -fcommon"), "{told}");
}
