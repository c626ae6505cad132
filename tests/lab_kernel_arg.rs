//! The KERNEL argument against what is really there: Debian's stock kernel,
//! the lab's, and files that are no kernels.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "common/stock_kernel.rs"]
mod stock_kernel;

use std::fs;
use std::path::Path;

use modrace::build::cache::Cache;
use modrace::model::ExitCode;
use modrace::session::kernel_arg::resolve;

use stock_kernel::stock_release;

#[test]
fn a_stock_release_resolves_to_its_image_and_headers() {
    let release = stock_release();
    let cache = Cache::from_env().unwrap();
    let kernel = resolve(&release, &cache).map_err(|f| f.error).unwrap();
    assert_eq!(kernel.name, release);
    assert!(kernel.image.ends_with(format!("vmlinuz-{release}")));
    assert!(kernel.kdir.unwrap().join("Module.symvers").is_file());
    assert!(kernel.config.unwrap().is_file());
    // The same, spelled out.
    let pair = format!("{},/lib/modules/{release}/build", kernel.image.display());
    let spelled = resolve(&pair, &cache).map_err(|f| f.error).unwrap();
    assert_eq!(spelled.image, kernel.image);
}

#[test]
fn an_image_and_a_build_tree_of_different_kernels_are_refused() {
    let cache = Cache::from_env().unwrap();
    let release = stock_release();
    let fixed = resolve("lab:fixed", &cache).map_err(|f| f.error).unwrap();
    assert!(fixed.provenance.unwrap().contains("no patch"));
    let pair = format!("{},/lib/modules/{release}/build", fixed.image.display());
    let failure = resolve(&pair, &cache).unwrap_err();
    assert!(failure.code == ExitCode::Usage);
    let text = failure.error.to_string();
    assert!(text.contains(&release) && text.contains("6.1."), "{text}");
    // The tree by itself is a kernel and its KDIR.
    let tree = fixed.kdir.unwrap();
    let tree = resolve(tree.to_str().unwrap(), &cache).map_err(|f| f.error);
    assert_eq!(tree.unwrap().image, fixed.image);
    // An image by itself has no KDIR: good for a prebuilt module.
    let alone = resolve(fixed.image.to_str().unwrap(), &cache).map_err(|f| f.error);
    assert!(alone.unwrap().kdir.is_none());
}

#[test]
fn what_is_no_kernel_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\n".repeat(200)).unwrap();
    let this_test = std::env::current_exe().unwrap();
    let release = stock_release();
    let with_kdir = format!("{},/lib/modules/{release}/build", script.display());
    for (text, code, word) in [
        ("lab:vulnerable", ExitCode::Unsupported, "not built"),
        ("lab:nonsense", ExitCode::Usage, "no lab kernel"),
        ("5.4.3-nowhere", ExitCode::Usage, "5.4.3-nowhere"),
        ("/no/such/bzImage", ExitCode::Usage, "/no/such/bzImage"),
        (script.to_str().unwrap(), ExitCode::Usage, "HdrS"),
        (&with_kdir, ExitCode::Usage, "HdrS"),
        (this_test.to_str().unwrap(), ExitCode::Usage, "ELF"),
        (dir.path().to_str().unwrap(), ExitCode::Usage, "bzImage"),
    ] {
        let failure = resolve(text, &cache).unwrap_err();
        let told = failure.error.to_string();
        assert!(failure.code == code, "{text}: {told}");
        assert!(told.contains(word), "{text}: {told}");
        assert!(failure.hint.is_some(), "{text}: no way out");
    }
    assert!(!Path::new(cache.root()).exists(), "looking made a cache");
}
