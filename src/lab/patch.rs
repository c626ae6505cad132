//! Patches: which files they touch, and applying them strictly. Applied by
//! `patch` itself, without fuzz: a hunk that does not fit exactly is an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::build_spec::NamedText;
use super::{LabError, tree};
use crate::build::make::{self, MakeError};

/// Lines of a diff that name a file, and whether the name has a first
/// component (`a/`, `b/`, the tree's name) that does not count.
const HEADERS: &[(&str, bool)] = &[
    ("--- ", true),
    ("+++ ", true),
    ("rename from ", false),
    ("rename to ", false),
    ("copy from ", false),
    ("copy to ", false),
];

/// The files that a patch names, relative to the source.
pub(super) fn touched(patch: &NamedText) -> Result<BTreeSet<PathBuf>, LabError> {
    let bad = |why: String| LabError::BadPatch {
        patch: patch.name.clone(),
        why,
    };
    let text = String::from_utf8_lossy(&patch.bytes);
    let mut files = BTreeSet::new();
    // Hunks are skipped by their own line counts: a removed line that begins
    // with `-- ` looks like a header otherwise.
    let mut in_hunk = (0_u32, 0_u32);
    for line in text.lines() {
        if in_hunk.0 > 0 || in_hunk.1 > 0 {
            let (old, new) = match line.as_bytes().first() {
                Some(b'-') => (1, 0),
                Some(b'+') => (0, 1),
                Some(b'\\') => (0, 0),
                _ => (1, 1),
            };
            in_hunk = (in_hunk.0.saturating_sub(old), in_hunk.1.saturating_sub(new));
            continue;
        }
        if let Some(counts) = hunk_counts(line) {
            in_hunk = counts;
            continue;
        }
        let Some((name, strip)) = HEADERS
            .iter()
            .find_map(|(start, strip)| Some((line.strip_prefix(start)?, *strip)))
        else {
            continue;
        };
        let name = name.split('\t').next().unwrap_or(name).trim_end();
        if name == "/dev/null" {
            continue;
        }
        let mut parts = Path::new(name).components();
        if strip {
            parts.next();
        }
        let file = parts.as_path();
        let inside = file
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || file.as_os_str().is_empty() || name.starts_with('/') {
            return Err(bad(format!("`{name}` is not a file inside the source")));
        }
        files.insert(file.to_owned());
    }
    if files.is_empty() {
        return Err(bad("it names no file; a unified diff is needed".to_owned()));
    }
    Ok(files)
}

/// `@@ -1158,9 +1158,7 @@`: lines of the old and of the new file that follow.
fn hunk_counts(line: &str) -> Option<(u32, u32)> {
    let mut words = line.strip_prefix("@@ ")?.split(' ');
    let mut count = |sign: char| {
        let range = words.next()?.strip_prefix(sign)?;
        range
            .split_once(',')
            .map_or(Some(1), |(_, n)| n.parse().ok())
    };
    Some((count('-')?, count('+')?))
}

/// Applies a patch inside a link tree. The files that it touches become the tree's
/// own first, so that nothing is written through a hard link.
pub(super) fn apply(
    link_tree: &Path,
    patch: &NamedText,
    cancel: &AtomicBool,
) -> Result<(), LabError> {
    let touched = touched(patch)?;
    for file in &touched {
        let own = link_tree.join(file);
        if own.is_file() {
            tree::unlink_and_copy(&own).map_err(LabError::io("replace", &own))?;
        }
    }
    run(link_tree, patch, cancel).and_then(|said| check_said(patch, &touched, &said))
}

/// Runs `patch`; returns what it said.
fn run(link_tree: &Path, patch: &NamedText, cancel: &AtomicBool) -> Result<Vec<String>, LabError> {
    let input = tempfile::NamedTempFile::new()
        .map_err(LabError::io("create", Path::new("a temporary file")))?;
    fs::write(input.path(), &patch.bytes).map_err(LabError::io("write", input.path()))?;
    let mut command = make::tool("patch");
    command
        .current_dir(link_tree)
        .args([
            "-p1",
            "--fuzz=0",
            "--forward",
            "--batch",
            "--no-backup-if-mismatch",
        ])
        .arg("--reject-file=-")
        .arg("--input")
        .arg(input.path());
    let mut said = Vec::new();
    let done = make::run(command, None, cancel, &mut |line| {
        said.push(line.to_owned());
    });
    match done {
        Ok(()) => Ok(said),
        Err(MakeError::Interrupted) => Err(LabError::Interrupted),
        Err(error) if error.is_missing() => Err(LabError::Needs(
            super::tools::BUILD_NEEDS
                .iter()
                .filter(|need| need.what == "patch")
                .collect(),
        )),
        Err(_) => Err(LabError::PatchFailed {
            patch: patch.name.clone(),
            said,
        }),
    }
}

/// A file that was patched without being known as touched would be stale in a
/// build that starts from another kernel's objects. `patch` names each.
fn check_said(
    patch: &NamedText,
    touched: &BTreeSet<PathBuf>,
    said: &[String],
) -> Result<(), LabError> {
    for line in said {
        let Some(name) = line.strip_prefix("patching file ") else {
            continue;
        };
        let name = name.split(" (").next().unwrap_or(name).trim_matches('\'');
        if !touched.contains(Path::new(name)) {
            return Err(LabError::BadPatch {
                patch: patch.name.clone(),
                why: format!("it changed `{name}`, which its headers do not name"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str =
        "words\n--- a/kernel/x.c\t2026\n+++ b/kernel/x.c\n@@ -1,3 +1,2 @@\n one\n--- two\n three\n";

    fn link_tree() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (pristine, link_tree) = (dir.path().join("pristine"), dir.path().join("link_tree"));
        fs::create_dir_all(pristine.join("kernel")).unwrap();
        fs::write(pristine.join("kernel/x.c"), "one\n-- two\nthree\n").unwrap();
        let cancel = AtomicBool::new(false);
        tree::transfer(&pristine, &link_tree, tree::Transfer::Link, &cancel).unwrap();
        (dir, pristine, link_tree)
    }

    fn applied(link_tree: &Path, text: &str) -> Result<(), LabError> {
        apply(
            link_tree,
            &NamedText::new("my.patch", text),
            &AtomicBool::new(false),
        )
    }

    #[test]
    fn a_patch_changes_the_farm_and_not_the_source() {
        let (_dir, pristine, link_tree) = link_tree();
        applied(&link_tree, PATCH).unwrap();
        assert_eq!(
            fs::read(link_tree.join("kernel/x.c")).unwrap(),
            b"one\nthree\n"
        );
        assert_eq!(
            fs::read(pristine.join("kernel/x.c")).unwrap(),
            b"one\n-- two\nthree\n"
        );
        // Twice is once too often, and it says so.
        let again = applied(&link_tree, PATCH).unwrap_err();
        assert!(matches!(again, LabError::PatchFailed { .. }), "{again}");
        assert!(again.to_string().contains("kernel/x.c"), "{again}");
    }

    #[test]
    fn context_that_differs_is_not_guessed() {
        let (_dir, _pristine, link_tree) = link_tree();
        let error = applied(&link_tree, &PATCH.replace(" three", " four")).unwrap_err();
        assert!(error.to_string().contains("my.patch"), "{error}");
        assert_eq!(
            fs::read(link_tree.join("kernel/x.c")).unwrap(),
            b"one\n-- two\nthree\n"
        );
    }

    #[test]
    fn a_removed_line_is_not_taken_for_a_header() {
        let files = touched(&NamedText::new("p", PATCH)).unwrap();
        assert_eq!(
            files.into_iter().collect::<Vec<_>>(),
            [Path::new("kernel/x.c")]
        );
    }

    #[test]
    fn patches_of_nothing_and_of_elsewhere_are_refused() {
        for text in [
            "hello\n",
            "--- a/../etc/x\n+++ b/../etc/x\n",
            "--- /etc/x\n+++ /etc/x\n",
        ] {
            let refused = touched(&NamedText::new("p", text));
            assert!(matches!(refused, Err(LabError::BadPatch { .. })), "{text}");
        }
    }
}
