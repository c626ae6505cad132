//! The files in `examples/`: what they call exists, and they say what the
//! program itself would.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

fn modrace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_modrace"))
}

/// The words of each call of modrace in a CI file, without the program.
fn calls(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim().trim_start_matches("- ");
            line.strip_prefix("\"$modrace\" ")
                .or_else(|| line.strip_prefix("$modrace "))
        })
        .map(|call| call.split(' ').map(|word| word.replace('"', "")).collect())
        .collect()
}

#[test]
fn ci_files_call_modrace_with_options_that_it_has() {
    for name in ["github-actions.yml", "gitlab-ci.yml"] {
        let text = fs::read_to_string(example(name)).unwrap();
        let calls = calls(&text);
        assert_eq!(calls.len(), 2, "{name}: lab build, vm");
        for mut call in calls {
            // All is parsed before the kernel is looked for; there is none.
            for word in &mut call {
                if word == "$KERNEL" || word == "fixed" {
                    "lab:no-such-kernel".clone_into(word);
                }
            }
            let output = modrace().args(&call).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(told.contains("no-such-kernel"), "{name}: {call:?}: {told}");
            assert!(!told.contains("Usage:"), "{name}: {call:?}: {told}");
        }
    }
}

#[test]
fn the_unit_is_the_one_that_the_program_prints() {
    let shipped = fs::read_to_string(example("modrace-resume.service")).unwrap();
    let output = modrace()
        .args(["recover", "--print-unit"])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let program = env!("CARGO_BIN_EXE_modrace");
    assert_eq!(printed.replace(program, "/usr/local/bin/modrace"), shipped);
}

#[test]
fn recover_without_a_journal_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = modrace()
        .args(["recover", "--journal"])
        .arg(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if nix::unistd::geteuid().is_root() {
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains("nothing to recover"), "{told}");
    } else {
        assert_eq!(output.status.code(), Some(4), "{told}");
        assert!(told.contains("sudo"), "{told}");
    }
}
