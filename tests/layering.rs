//! The floors of `src/lib.rs`, held to: a file imports only from floors below
//! its own, and siblings leave each other alone.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module with what it may import besides itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("console", &[]),
    ("procfs", &[]),
    ("crash", &["model", "console", "procfs"]),
    ("stats", &["model"]),
    ("kernel", &["model", "console", "procfs", "crash", "stats"]),
    (
        "race",
        &["model", "console", "procfs", "crash", "stats", "kernel"],
    ),
    (
        "vm",
        &["model", "console", "procfs", "crash", "stats", "kernel"],
    ),
    (
        "lab",
        &["model", "console", "procfs", "crash", "stats", "kernel"],
    ),
    (
        "trial",
        &[
            "model", "console", "procfs", "crash", "stats", "kernel", "race", "vm", "lab",
        ],
    ),
    (
        "report",
        &[
            "model", "console", "procfs", "crash", "stats", "kernel", "race", "vm", "lab", "trial",
        ],
    ),
    (
        "cli",
        &[
            "model", "console", "procfs", "crash", "stats", "kernel", "race", "vm", "lab", "trial",
            "report",
        ],
    ),
];

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The modules of this crate that a source text names as `crate::NAME`.
fn imports(source: &str) -> Vec<String> {
    let code = source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"));
    let mut names = Vec::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let list = rest
                .strip_prefix('{')
                .and_then(|rest| rest.split('}').next());
            let parts = list.map_or_else(|| vec![rest], |list| list.split(',').collect());
            for part in parts {
                let name: String = part
                    .trim()
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                names.push(name);
            }
        }
    }
    names
}

#[test]
fn imports_go_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut checked = 0;
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).expect("below src");
        let Some(floor) = inside
            .components()
            .next()
            .and_then(|c| c.as_os_str().to_str())
        else {
            continue;
        };
        if floor == "main.rs" || floor == "lib.rs" {
            continue;
        }
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == floor)
            .unwrap_or_else(|| panic!("{}: on no floor; add it to MAY_IMPORT", inside.display()));
        for name in imports(&fs::read_to_string(&file).expect("a source file")) {
            checked += 1;
            if name != floor && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} imports crate::{name}", inside.display()));
            }
        }
    }
    assert!(
        checked > 0,
        "no import was found: the test looks in the wrong place"
    );
    assert!(
        wrong.is_empty(),
        "upward or sideways imports:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_check_sees_an_import() {
    assert_eq!(imports("use crate::trial::watch;"), ["trial"]);
    assert_eq!(imports("use crate::{vm, model::Crash};"), ["vm", "model"]);
    assert_eq!(imports("// use crate::cli;"), Vec::<String>::new());
}
