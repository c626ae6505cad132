//! Which of a kernel's exported functions the skip rules skip: all of 6.1's,
//! rule by rule, to be looked at. `MODRACE_UPDATE=1 cargo test --test scan_skip`
//! rewrites the list; read the difference before you commit it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use modrace::crash::skip_rule;

/// The names in `Module.symvers` of Debian's 6.1.0-56-cloud-amd64.
fn exported() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/skip/exported-6.1.txt.xz");
    let mut text = String::new();
    liblzma::read::XzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_rule_skips_what_the_list_says() {
    let names = exported();
    assert!(names.len() > 10_000);
    let mut rules: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in &names {
        if let Some(rule) = skip_rule(name) {
            rules.entry(rule).or_default().push(name);
        }
    }
    let mut list = String::new();
    for (rule, names) in rules {
        writeln!(list, "{rule}\n    {}", names.join(" ")).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/skip/skipped-6.1.txt");
    if std::env::var_os("MODRACE_UPDATE").is_some() {
        std::fs::write(&path, &list).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == list, "--- known\n{known}--- found\n{list}");
}
