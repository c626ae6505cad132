//! Makefile, scripts and licences against the code that they serve.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_install_script_brings_everything_that_a_build_checks_for() {
    let script = text("scripts/install-deps");
    for need in modrace::lab::BUILD_NEEDS {
        let row = format!("{}|{}|", need.what, need.package);
        assert!(script.contains(&row), "scripts/install-deps lacks {row}");
    }
    assert!(script.contains(modrace::lab::DEBIAN_TARBALL));
}

#[test]
fn the_install_script_is_silent_when_nothing_is_missing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-deps");
    let output = Command::new(&script).arg("--test").output().unwrap();
    assert!(output.status.success());
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    let wrong = Command::new(&script).arg("--tset").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn ci_runs_what_a_person_runs() {
    let script = text(".ci/run");
    // On what a new machine has: no cache and no home of an earlier run.
    let command = "HOME=$fresh/home MODRACE_CACHE=$fresh/cache make test";
    assert!(script.lines().any(|line| line == command));
    assert!(script.contains("fresh=$(mktemp -d)"));
    assert!(text("Makefile").contains("\ntest: "));
}

#[test]
fn the_module_is_gpl_and_the_tool_is_not() {
    assert!(text("dummy-module/COPYING").contains("GNU GENERAL PUBLIC LICENSE"));
    for source in ["dummy-module/dummy_module.c", "dummy-module/Kbuild"] {
        let first = text(source).lines().next().unwrap().to_owned();
        assert!(
            first.contains("SPDX-License-Identifier: GPL-2.0"),
            "{source}"
        );
    }
    assert!(text("LICENSE-MIT").contains("Permission is hereby granted"));
    assert!(text("LICENSE-APACHE").contains("Version 2.0, January 2004"));
}
