//! Builds the QEMU plugin (`plugin/`) into the folder from which modrace embeds
//! it. With rustc itself, not cargo: modrace is linked statically, a plugin
//! cannot be, and cargo has one such flag per target. The plugin needs no crate
//! and no library, so this works offline and wherever modrace itself builds.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=plugin");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(plugin)");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let out = PathBuf::from(variable("OUT_DIR")).join("modrace_plugin.so");
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--crate-name", "modrace_plugin", "--crate-type", "cdylib"])
        .args(["--edition", "2024", "--target", &variable("TARGET")])
        .args(["--cfg", "plugin"])
        .args(["-C", "target-feature=-crt-static", "-C", "panic=abort"])
        // Without it the library wants what core was built to unwind with.
        .args(["-C", "lto=fat", "-C", "opt-level=3", "-C", "strip=symbols"])
        .arg("-o")
        .arg(&out)
        .arg("plugin/lib.rs");
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.arg("-C").arg(format!("linker={linker}"));
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("building the QEMU plugin: rustc ended with {status}"),
        Err(error) => panic!("building the QEMU plugin: {error}"),
    }
}
