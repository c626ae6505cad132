//! The dummy module built for real, renamed for real, packed by the real
//! packers. Wants the headers of an installed kernel (`scripts/install-deps`
//! brings them) and fails without.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "common/stock_kernel.rs"]
mod stock_kernel;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use modrace::build::cache::Cache;
use modrace::build::kbuild::{KbuildError, Kdir, Variant, build_dummy, build_variant};
use modrace::build::module_image::{ModuleImage, ModuleImageError};

/// The stock kernel's build tree.
fn stock_kdir() -> PathBuf {
    stock_kernel::stock_kdir(&stock_kernel::stock_release())
}

fn built(cache: &Cache) -> PathBuf {
    build_dummy(&stock_kdir(), cache, &AtomicBool::new(false)).unwrap()
}

/// What `modinfo`, the kernel's own tool, reads from a file.
fn modinfo(file: &Path, field: &str) -> String {
    let output = Command::new("/sbin/modinfo")
        .args(["-F", field])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What binutils read from a file.
fn readelf(file: &Path, what: &str) -> String {
    let output = Command::new("readelf")
        .args([what, "--wide"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn calls_are_rewritten_for_kernels_that_do_not_know_todays_relocation() {
    let dir = tempfile::tempdir().unwrap();
    let module = built(&Cache::at(dir.path()));
    let image = ModuleImage::open(&module).unwrap();
    let rewritten = dir.path().join("rewritten.ko");
    fs::write(&rewritten, image.with_pc32().unwrap()).unwrap();
    let count = |file: &Path, kind: &str| readelf(file, "--relocs").matches(kind).count();
    let plt = count(&module, "R_X86_64_PLT32");
    assert!(
        plt > 0,
        "this assembler writes none: the test shows nothing"
    );
    assert_eq!(count(&rewritten, "R_X86_64_PLT32"), 0);
    assert_eq!(
        count(&rewritten, "R_X86_64_PC32"),
        plt + count(&module, "R_X86_64_PC32")
    );
    // Nothing else changed.
    let again = ModuleImage::open(&rewritten).unwrap();
    assert_eq!(again.modinfo(), image.modinfo());
    assert_eq!(
        readelf(&module, "--symbols"),
        readelf(&rewritten, "--symbols")
    );
}

#[test]
fn the_module_is_built_for_a_stock_kernel_and_then_found() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let first = built(&cache);
    let image = ModuleImage::open(&first).unwrap();
    let kdir = Kdir::open(&stock_kdir()).unwrap();
    assert_eq!(image.name(), "dummy_module");
    assert!(!image.intree());
    assert!(image.vermagic().unwrap().starts_with(kdir.release()));
    assert_eq!(
        image.vermagic().unwrap().trim(),
        modinfo(&first, "vermagic")
    );
    let mut parameters: Vec<_> = image
        .modinfo()
        .iter()
        .filter(|(tag, _)| tag == "parmtype")
        .map(|(_, value)| value.as_str())
        .collect();
    parameters.sort_unstable();
    assert_eq!(parameters, ["hold_exit_ms:uint", "hold_init_ms:uint"]);

    // Lean, though the kernel is built with debug information.
    assert!(kdir.config().is_yes("DEBUG_INFO"));
    let sections = readelf(&first, "--sections");
    assert!(
        !sections.contains(".debug_info") && !sections.contains(".BTF"),
        "{sections}"
    );

    let before = fs::metadata(&first).unwrap().modified().unwrap();
    let again = built(&cache);
    assert_eq!(first, again);
    assert_eq!(before, fs::metadata(&again).unwrap().modified().unwrap());
    // Nothing of the build stays but the module, its sum and its log.
    let entry = first.parent().unwrap();
    let mut left: Vec<_> = fs::read_dir(entry)
        .unwrap()
        .chain(fs::read_dir(entry.parent().unwrap()).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let entry = entry.file_name().unwrap().to_str().unwrap();
    assert_eq!(left, [entry, "SHA256SUMS", "build.log", "dummy_module.ko"]);
}

#[test]
fn a_damaged_module_is_thrown_away_said_and_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let module = built(&cache);
    let whole = fs::read(&module).unwrap();
    // As after a crash: a name without content, and one torn in its middle.
    for left in [&whole[..0], &whole[..whole.len() / 2]] {
        fs::write(&module, left).unwrap();
        let told = RefCell::new(Vec::new());
        let again = build_variant(
            &stock_kdir(),
            Variant::Dummy,
            &cache,
            &AtomicBool::new(false),
            &|text| told.borrow_mut().push(text.to_owned()),
        );
        assert_eq!(again.unwrap(), module);
        assert_eq!(fs::read(&module).unwrap(), whole);
        let told = told.into_inner();
        assert!(told[0].contains("thrown away and built again"), "{told:?}");
        assert!(
            told[0].contains(&format!("({} bytes)", left.len())),
            "{told:?}"
        );
    }
}

#[test]
fn two_builders_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    let (done, results) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let cache = Cache::at(dir.path());
        let done = done.clone();
        std::thread::spawn(move || done.send(built(&cache)));
    }
    drop(done);
    let paths: Vec<_> = results.iter().collect();
    assert_eq!(paths.len(), 2);
    assert_eq!(paths[0], paths[1]);
}

#[test]
fn a_renamed_module_reads_back_under_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = built(&Cache::at(dir.path()));
    let image = ModuleImage::open(&path).unwrap();
    let longest = "n".repeat(55);
    for name in ["dummy_module0", "d", "dummy_module_149", &longest] {
        let bytes = image.renamed(name).unwrap();
        let back = ModuleImage::from_bytes(&bytes).unwrap();
        assert_eq!(back.name(), name);
        assert_eq!(back.srcversion(), image.srcversion());
        assert_eq!(back.vermagic(), image.vermagic());
        // Only the name differs: at most its field and its copy in .modinfo.
        let differing = bytes.iter().zip(image.bytes()).filter(|(a, b)| a != b);
        assert!(differing.count() <= 56 + "dummy_module".len());
        // Renaming back gives the very same module.
        assert_eq!(back.renamed("dummy_module").unwrap().len(), bytes.len());
        let file = dir.path().join(format!("{name}.ko"));
        fs::write(&file, &bytes).unwrap();
        let told = modinfo(&file, "name");
        assert!(name.starts_with(&told), "modinfo says {told} for {name}");
    }
    for name in ["", "a b", "a/b", &"n".repeat(56)] {
        let refused = image.renamed(name).unwrap_err();
        assert!(matches!(refused, ModuleImageError::BadName(_)), "{refused}");
    }
}

#[test]
fn packed_modules_open_like_plain_ones() {
    let dir = tempfile::tempdir().unwrap();
    let plain = built(&Cache::at(dir.path()));
    let image = ModuleImage::open(&plain).unwrap();
    for (packer, extension) in [("xz", "xz"), ("zstd", "zst"), ("gzip", "gz")] {
        let copy = dir.path().join("copy.ko");
        fs::copy(&plain, &copy).unwrap();
        let status = Command::new(packer).arg("-q").arg(&copy).status().unwrap();
        assert!(status.success(), "{packer}");
        let packed = dir.path().join(format!("copy.ko.{extension}"));
        let opened = ModuleImage::open(&packed).unwrap();
        assert_eq!(opened.bytes(), image.bytes(), "{packer}");
        assert_ne!(opened.sha256(), image.sha256());
        // Half a file is an error, never half a module.
        let half = fs::read(&packed).unwrap();
        let torn = ModuleImage::from_bytes(&half[..half.len() / 2]).unwrap_err();
        assert!(matches!(torn, ModuleImageError::Unpack(_)), "{torn}");
        let _gone = fs::remove_file(&copy);
    }
}

#[test]
fn files_that_are_no_modules_say_why() {
    let this_test = fs::read(std::env::current_exe().unwrap()).unwrap();
    let linked = ModuleImage::from_bytes(&this_test).unwrap_err();
    assert!(linked.to_string().contains("linked"), "{linked}");
    let text = ModuleImage::from_bytes(b"#!/bin/sh\n").unwrap_err();
    assert!(matches!(text, ModuleImageError::Elf(_)), "{text}");
    let absent = ModuleImage::open(Path::new("/nonexistent.ko")).unwrap_err();
    assert!(absent.to_string().contains("/nonexistent.ko"), "{absent}");
}

#[test]
fn a_folder_that_is_no_kdir_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let build = |kdir: &Path| build_dummy(kdir, &cache, &AtomicBool::new(false)).unwrap_err();
    let kdir = dir.path().join("kdir");
    fs::create_dir_all(kdir.join("include/generated")).unwrap();
    assert!(build(&kdir).to_string().ends_with("it has no Makefile"));
    fs::write(
        kdir.join("Makefile"),
        "modules:\n\t@echo no luck >&2; exit 3\n",
    )
    .unwrap();
    assert!(build(&kdir).to_string().ends_with("it has no .config"));
    fs::write(kdir.join(".config"), "CONFIG_MODULES=y\n").unwrap();
    fs::write(kdir.join("Module.symvers"), "").unwrap();
    let header = "#define UTS_RELEASE \"1.2.3\"\n";
    fs::write(kdir.join("include/generated/utsrelease.h"), header).unwrap();
    assert!(build(&kdir).to_string().contains("CONFIG_MODULE_UNLOAD"));
    fs::write(
        kdir.join(".config"),
        "CONFIG_MODULES=y\nCONFIG_MODULE_UNLOAD=y\n",
    )
    .unwrap();
    let failed = build(&kdir);
    let KbuildError::Failed { source, .. } = &failed else {
        panic!("{failed}")
    };
    assert!(source.to_string().contains("no luck"), "{source}");
    // A compiler that the kernel was built with, and that is not here.
    fs::write(kdir.join("Makefile"), "modules:\n\tgcc-99 -c x.c\n").unwrap();
    assert_eq!(build(&kdir).missing().as_deref(), Some("gcc-99"));
    // A failed build leaves nothing in the cache.
    let left = fs::read_dir(cache.root().join("modules")).unwrap().count();
    assert_eq!(left, 0);
}
