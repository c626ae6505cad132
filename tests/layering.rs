//! The table of rooms in `src/lib.rs`, held to: a file imports only what its
//! room may, the table has no upward line, and `cli`'s files leave its `mod.rs`
//! alone.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room with what it may import besides itself, from the top floor down.
fn table() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(source_root().join("lib.rs")).expect("lib.rs");
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("//! room "))
        .skip(1)
        .take_while(|line| !line.starts_with("//! ```"));
    rows.map(|row| {
        let mut words = row.trim_start_matches("//!").split_whitespace();
        let room = words.next().expect("a room in each row").to_owned();
        (room, words.map(str::to_owned).collect())
    })
    .collect()
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

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

/// What is wrong with a source text that stands in `room`.
fn faults(room: &str, source: &str, table: &[(String, Vec<String>)]) -> Vec<String> {
    let Some((_, allowed)) = table.iter().find(|(name, _)| name == room) else {
        return vec![format!("{room} is not in the table of src/lib.rs")];
    };
    imports(source)
        .into_iter()
        .filter(|name| name != room && !allowed.contains(name))
        .map(|name| format!("imports crate::{name}"))
        .collect()
}

/// What a file of `cli`, `depth` folders below it, takes from `cli/mod.rs`, which
/// only dispatches: names reached by `super::` or `crate::cli::` that are no
/// module of `cli`.
fn taken_from_cli_mod(source: &str, depth: usize, modules: &[String]) -> Vec<String> {
    let up = "super::".repeat(depth + 1);
    let code = source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"));
    let mut taken = Vec::new();
    for line in code {
        for path in [up.as_str(), "crate::cli::"] {
            // Not the tail of a longer `super::super::`.
            let starts = line
                .match_indices(path)
                .filter(|(at, _)| !line[..*at].ends_with("super::"));
            for (at, _) in starts {
                let rest = &line[at + path.len()..];
                let names = rest.strip_prefix('{').map_or_else(
                    || vec![rest],
                    |list| list.split('}').next().unwrap_or("").split(',').collect(),
                );
                for name in names {
                    let name: String = name
                        .trim()
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    if !modules.contains(&name) {
                        taken.push(name);
                    }
                }
            }
        }
    }
    taken
}

#[test]
fn nobody_inside_cli_imports_its_mod_rs() {
    let cli = source_root().join("cli");
    let mut files = Vec::new();
    rust_files(&cli, &mut files);
    let stem = |path: &Path| {
        let stem = path.file_stem().expect("a name");
        stem.to_str().expect("UTF-8").to_owned()
    };
    let modules: Vec<String> = fs::read_dir(&cli)
        .expect("cli")
        .map(|entry| stem(&entry.expect("an entry").path()))
        .filter(|name| name != "mod")
        .collect();
    for file in files.iter().filter(|file| **file != cli.join("mod.rs")) {
        let inside = file.strip_prefix(&cli).expect("below cli");
        // `ui/mod.rs` stands where `ui.rs` would.
        let depth = inside.components().count() - 1 - usize::from(stem(file) == "mod");
        let source = fs::read_to_string(file).expect("a source file");
        // A test module stands one level deeper and names its own file.
        let source = source.split("#[cfg(test)]").next().expect("a first part");
        let taken = taken_from_cli_mod(source, depth, &modules);
        assert!(taken.is_empty(), "{}: takes {taken:?}", inside.display());
    }
    let taken = |source, depth| taken_from_cli_mod(source, depth, &modules);
    assert_eq!(taken("use super::{Cli, ui::Ui};", 0), ["Cli"]);
    assert_eq!(taken("use crate::cli::Cli;", 1), ["Cli"]);
    assert_eq!(taken("use super::super::Cli;", 1), ["Cli"]);
    assert_eq!(taken("use super::Ui;", 1), [""; 0]);
}

#[test]
fn every_import_is_in_the_table() {
    let src = source_root();
    let table = table();
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut checked = 0;
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).expect("below src");
        let mut parts = inside.components();
        let Some(room) = parts.next().and_then(|part| part.as_os_str().to_str()) else {
            continue;
        };
        if parts.next().is_none() {
            continue;
        }
        let source = fs::read_to_string(&file).expect("a source file");
        checked += imports(&source).len();
        for fault in faults(room, &source, &table) {
            wrong.push(format!("{}: {fault}", inside.display()));
        }
    }
    assert!(
        checked > 100,
        "{checked} imports were found: the test looks in the wrong place"
    );
    assert!(
        wrong.is_empty(),
        "not in the table of src/lib.rs:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_table_goes_one_way_and_has_nothing_unused() {
    let table = table();
    let src = source_root();
    for (floor, (room, allowed)) in table.iter().enumerate() {
        let mut files = Vec::new();
        rust_files(&src.join(room), &mut files);
        assert!(!files.is_empty(), "{room}: there is no such room");
        let used: Vec<String> = files
            .iter()
            .flat_map(|file| imports(&fs::read_to_string(file).expect("a source file")))
            .collect();
        for name in allowed {
            let below = table[floor..]
                .iter()
                .skip(1)
                .any(|(other, _)| other == name);
            assert!(below, "{room} may import {name}, which is not below it");
            assert!(used.contains(name), "{room} does not import {name}: cut it");
        }
    }
}

#[test]
fn an_import_against_the_table_is_found() {
    let table = table();
    for (room, source) in [
        ("stats", "use crate::model::Trial;"),
        ("vm", "use crate::trial::Event;"),
        ("trial", "fn f() { crate::cli::main(); }"),
    ] {
        assert_eq!(faults(room, source, &table).len(), 1, "{room}: {source}");
    }
    assert_eq!(faults("attic", "", &table).len(), 1);
}

#[test]
fn the_check_sees_an_import() {
    assert_eq!(imports("use crate::trial::watch;"), ["trial"]);
    assert_eq!(imports("use crate::{vm, model::Crash};"), ["vm", "model"]);
    assert_eq!(imports("// use crate::cli;"), Vec::<String>::new());
}

/// Who looks for a place in docs/architecture.md finds it.
#[test]
fn the_map_names_only_places_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("docs/architecture.md")).expect("the map");
    let places: Vec<&str> = map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with("src/") || word.starts_with("fixtures/"))
        .collect();
    assert!(places.len() >= 10, "{places:?}");
    for place in places {
        assert!(root.join(place).exists(), "there is no {place}");
    }
}
