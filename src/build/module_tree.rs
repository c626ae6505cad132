//! The installed modules of a kernel: where a module is and what it needs,
//! from `modules.dep` (modules.dep(5)), and who holds a loaded one. Loads
//! nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why an installed module cannot be raced.
#[derive(Debug, Error)]
pub enum TreeError {
    /// No table of modules.
    #[error("cannot read {}", path.display())]
    Read {
        /// The table.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No such module.
    #[error("no module `{name}` in {}", table.display())]
    Unknown {
        /// Its name.
        name: String,
        /// Where it was looked for.
        table: PathBuf,
    },
    /// It is part of the kernel itself.
    #[error("`{0}` is built into this kernel and cannot be unloaded")]
    BuiltIn(String),
    /// It is loaded.
    #[error("the module `{name}` is loaded already{}", held_by(holders))]
    Loaded {
        /// Its name.
        name: String,
        /// Modules that use it.
        holders: Vec<String>,
    },
}

fn held_by(holders: &[String]) -> String {
    if holders.is_empty() {
        String::new()
    } else {
        format!(", and in use by {}", holders.join(", "))
    }
}

/// An installed module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its file.
    pub path: PathBuf,
    /// What must be loaded before it, first things first.
    pub dependencies: Vec<PathBuf>,
}

/// Finds a module by name below `/lib/modules/RELEASE`.
pub fn find(name: &str, release: &str) -> Result<Installed, TreeError> {
    let root = Path::new("/lib/modules").join(release);
    let table = root.join("modules.dep");
    let text = fs::read_to_string(&table).map_err(|source| TreeError::Read {
        path: table.clone(),
        source,
    })?;
    let builtin = fs::read_to_string(root.join("modules.builtin")).unwrap_or_default();
    if builtin.lines().any(|line| same_name(line, name)) {
        return Err(TreeError::BuiltIn(name.to_owned()));
    }
    let (path, needs) = entry(&text, name).ok_or_else(|| TreeError::Unknown {
        name: name.to_owned(),
        table,
    })?;
    Ok(Installed {
        path: root.join(path),
        // The table has the nearest first.
        dependencies: needs.iter().rev().map(|need| root.join(need)).collect(),
    })
}

/// Refuses a module that is loaded: racing would take it from its users.
pub fn not_loaded(name: &str) -> Result<(), TreeError> {
    let name = name.replace('-', "_");
    let folder = Path::new("/sys/module").join(&name);
    // What is built in has a folder too, but no state.
    if !folder.join("initstate").exists() {
        return Ok(());
    }
    let holders = holders(&name);
    Err(TreeError::Loaded { name, holders })
}

/// The modules that use a loaded one, `/sys/module/NAME/holders`.
pub fn holders(name: &str) -> Vec<String> {
    let folder = Path::new("/sys/module").join(name).join("holders");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The name that the kernel gives to a module file.
pub fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}

/// A line `path: need need…` whose file is of that module.
fn entry<'a>(table: &'a str, name: &str) -> Option<(&'a str, Vec<&'a str>)> {
    table.lines().find_map(|line| {
        let (path, needs) = line.split_once(':')?;
        same_name(path, name).then(|| (path, needs.split_whitespace().collect()))
    })
}

/// `-` and `_` are the same in a module's name (modprobe(8)).
fn same_name(path: &str, name: &str) -> bool {
    name_of(Path::new(path)) == name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "kernel/drivers/a/qla-two.ko.xz: kernel/lib/near.ko kernel/lib/far.ko.xz\n\
                         kernel/lib/near.ko: kernel/lib/far.ko.xz\nkernel/lib/far.ko.xz:\n";

    #[test]
    fn a_module_is_found_whichever_way_its_name_is_spelt() {
        let (path, needs) = entry(TABLE, "qla_two").unwrap();
        assert_eq!(path, "kernel/drivers/a/qla-two.ko.xz");
        assert_eq!(needs, ["kernel/lib/near.ko", "kernel/lib/far.ko.xz"]);
        assert_eq!(entry(TABLE, "far").unwrap().1, Vec::<&str>::new());
        assert_eq!(entry(TABLE, "qla"), None);
    }

    #[test]
    fn a_file_of_a_module_tells_its_name() {
        let path = Path::new("/lib/modules/x/kernel/net/mac80211/snd-hda-codec.ko.xz");
        assert_eq!(name_of(path), "snd_hda_codec");
        assert_eq!(name_of(Path::new("rfkill.ko")), "rfkill");
    }

    #[test]
    fn a_kernel_without_a_table_is_an_error() {
        let error = find("x", "no-such-release").unwrap_err();
        assert!(matches!(error, TreeError::Read { .. }), "{error}");
    }
}
