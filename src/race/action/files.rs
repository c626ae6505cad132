//! The files that an action is done to: paths as typed, with `{module}` for the
//! module's name and the wildcards `*`, `?` and `**`, and what they match while
//! the module is loaded.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use globset::GlobBuilder;
use walkdir::WalkDir;

/// Stands for the module's name in a path.
pub const MODULE: &str = "{module}";
/// Most files that one pattern may match: a typing error, not a target.
const MOST: usize = 10_000;
/// Where modules make files.
const MADE_IN: &[&str] = &[
    "/proc",
    "/dev",
    "/sys/module",
    "/sys/class",
    "/sys/bus",
    "/sys/devices",
    "/sys/kernel",
    "/sys/fs",
    "/sys/firmware",
];

/// Whether a path can be a target at all: absolute, and a pattern that parses.
pub fn check(pattern: &str) -> Result<(), String> {
    if !pattern.starts_with('/') {
        return Err("a target is an absolute path".to_owned());
    }
    if let Some(at) = pattern.find('{')
        && !pattern[at..].starts_with(MODULE)
    {
        return Err(format!("{MODULE} is the only word in braces"));
    }
    parse(&pattern.replace(MODULE, "module"))
        .map(drop)
        .map_err(|error| error.to_string())
}

/// What a pattern matches now. A path without wildcards is itself, there or not.
pub fn expand(pattern: &str, module: &str) -> io::Result<Vec<PathBuf>> {
    let pattern = pattern.replace(MODULE, module);
    if !is_wild(&pattern) {
        return Ok(vec![pattern.into()]);
    }
    let matcher = parse(&pattern)?.compile_matcher();
    let fixed = Path::new(&pattern)
        .components()
        .take_while(|part| !is_wild(&part.as_os_str().to_string_lossy()));
    let from: PathBuf = fixed.collect();
    let recursive = pattern.contains("**");
    let below = Path::new(&pattern).components().count() - from.components().count();
    let walk = WalkDir::new(&from)
        // Links in sysfs lead back up: followed only where the depth is fixed.
        .follow_links(!recursive)
        .max_depth(if recursive { usize::MAX } else { below })
        .min_depth(1)
        .sort_by_file_name();
    let mut found = Vec::new();
    // What vanishes while it is walked over matches nothing.
    for entry in walk.into_iter().flatten() {
        let is_leaf = !recursive || !entry.file_type().is_dir();
        if is_leaf && matcher.is_match(entry.path()) {
            found.push(entry.into_path());
        }
        if found.len() > MOST {
            return Err(io::Error::other(format!(
                "{pattern} matches more than {MOST} files"
            )));
        }
    }
    Ok(found)
}

/// What is there now in the folders where modules make files.
pub fn listing() -> BTreeSet<PathBuf> {
    let below = MADE_IN.iter().flat_map(|folder| {
        WalkDir::new(folder)
            .into_iter()
            // A process's own files come and go without any module.
            .filter_entry(|entry| !is_a_process(entry.path()))
            .flatten()
    });
    below.map(walkdir::DirEntry::into_path).collect()
}

/// Of two listings, the files and folders that only the second has.
pub fn appeared(before: &BTreeSet<PathBuf>, after: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    after.difference(before).cloned().collect()
}

fn is_a_process(path: &Path) -> bool {
    let Some(name) =
        path.strip_prefix("/proc")
            .ok()
            .and_then(|below| match below.components().next() {
                Some(Component::Normal(name)) => name.to_str(),
                _ => None,
            })
    else {
        return false;
    };
    matches!(name, "self" | "thread-self") || name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a path has wildcards in it.
pub fn is_wild(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

fn parse(pattern: &str) -> io::Result<globset::Glob> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| io::Error::other(error.kind().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn patterns_match_what_is_there_and_paths_stand_for_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("dummy/parameters")).unwrap();
        fs::create_dir_all(root.join("other")).unwrap();
        fs::write(root.join("other/refcnt"), "0").unwrap();
        fs::write(root.join("dummy/refcnt"), "0").unwrap();
        fs::write(root.join("dummy/parameters/ms"), "0").unwrap();
        symlink(root.join("other"), root.join("dummy/parameters/up")).unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let pattern = format!("{}/{pattern}", root.display());
            let found = expand(&pattern, "dummy").unwrap();
            let below = found.iter().map(|path| path.strip_prefix(root).unwrap());
            below.map(|path| path.display().to_string()).collect()
        };
        assert_eq!(
            found("{module}/**"),
            ["dummy/parameters/ms", "dummy/parameters/up", "dummy/refcnt"]
        );
        assert_eq!(found("{module}/*cnt"), ["dummy/refcnt"]);
        assert_eq!(found("*/parameters/?s"), ["dummy/parameters/ms"]);
        // Through a link, where the depth is fixed.
        assert_eq!(found("dummy/*/up/refcnt"), ["dummy/parameters/up/refcnt"]);
        assert_eq!(found("none/{module}"), ["none/dummy"]);
        assert!(found("none/*").is_empty());
    }

    #[test]
    fn what_cannot_be_a_target_is_refused() {
        assert!(check("/proc/{module}").is_ok());
        assert!(check("/sys/module/{module}/**").is_ok());
        assert!(check("proc/x").unwrap_err().contains("absolute"));
        assert!(check("/proc/{name}").unwrap_err().contains("{module}"));
        assert!(check("/proc/[a").is_err());
    }

    #[test]
    fn processes_are_no_modules_files() {
        assert!(is_a_process(Path::new("/proc/1/maps")));
        assert!(is_a_process(Path::new("/proc/self")));
        assert!(!is_a_process(Path::new("/proc/sys/kernel")));
        assert!(!is_a_process(Path::new("/proc")));
        assert!(!is_a_process(Path::new("/sys/1")));
    }
}
