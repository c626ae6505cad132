//! Reader targets: the files in which readers look for the module, one row
//! each. A row says what is read, and what a record of it shows of the module;
//! `reader` reads it. To add a target, add a row.
//!
//! Only `/proc/modules` calls `m_show()` and with it `module_flags()`. The
//! others drive other walks of the kernel's over modules that come and go; what
//! a race of theirs shows is nothing of the first.

use std::fs;
use std::path::PathBuf;

use crate::model::DEFAULT_TARGET;
use crate::procfs::modules::{State, state_of, state_prefix_len};

/// Stands for the module's name in a target's.
const NAME: &str = "NAME";
/// At the end of a target: every file of that folder.
const EVERY_FILE: &str = "/*";
/// Bytes of a head read of `/proc/kallsyms`: two records of the usual length
/// and some, so that the first of a module is among them.
const SYMBOLS_HEAD: usize = 1024;

/// A row of the table.
#[derive(Debug)]
pub struct Target {
    /// Its path; `NAME` in it stands for the module's name.
    pub name: &'static str,
    /// What of the kernel it drives, in a line.
    pub help: &'static str,
    /// Whether its lines are those of `m_show()`, which can be checked, and
    /// show near misses.
    pub prints_m_show: bool,
    pub(super) access: Access,
    /// The state in which a record, or the beginning of one, shows the module.
    pub(super) sighting: fn(record: &[u8], module: &str) -> Option<State>,
}

/// How a target is read.
#[derive(Debug)]
pub(super) enum Access {
    /// A `seq_file` about all modules. It stays open.
    TargetReader {
        /// Bytes that a head read asks for, by the module's name.
        head_len: fn(&str) -> usize,
        /// Whether a record is one of those before the modules' own, which are
        /// always the same. A head read begins at the last of them.
        prelude: fn(&[u8]) -> bool,
    },
    /// Attributes of the module. They go away with it, so they are opened anew
    /// for each read, and there is no shorter read of them than all.
    Attributes,
}

/// Every target there is; the default comes first.
pub const TARGETS: &[Target] = &[
    Target {
        name: DEFAULT_TARGET,
        help: "m_show() and, for a tainted module, module_flags(): the race of the bug report",
        prints_m_show: true,
        access: Access::TargetReader {
            head_len: state_prefix_len,
            prelude: |_| false,
        },
        sighting: |line, module| state_of(line, module.as_bytes()),
    },
    Target {
        name: "/proc/kallsyms",
        help: "module_get_kallsym(): walks the list without module_mutex, skips the unformed",
        prints_m_show: false,
        access: Access::TargetReader {
            head_len: |_| SYMBOLS_HEAD,
            prelude: |line| owner(line).is_none(),
        },
        sighting: |line, module| (owner(line) == Some(module.as_bytes())).then_some(State::Live),
    },
    Target {
        name: "/sys/module/NAME/initstate",
        help: "show_initstate(): has a BUG() of its own for an unformed module",
        prints_m_show: false,
        access: Access::Attributes,
        sighting: |line, _| match line.trim_ascii_end() {
            b"live" => Some(State::Live),
            b"coming" => Some(State::Loading),
            b"going" => Some(State::Unloading),
            _ => None,
        },
    },
    Target {
        name: "/sys/module/NAME/refcnt",
        help: "module_refcount(), through show_refcnt(): -1 while the module goes (since 3.19)",
        prints_m_show: false,
        access: Access::Attributes,
        sighting: |line, _| match std::str::from_utf8(line.trim_ascii_end()).ok()?.parse() {
            // module_refcount() is the count without MODULE_REF_BASE, the
            // reference that every module has (kernel/module/main.c, since
            // 3.19). Only try_release_module_ref(), on the way to GOING, takes
            // that one away.
            Ok(-1) => Some(State::Unloading),
            // A module that is coming has users' references and looks the same.
            Ok(0..=i32::MAX) => Some(State::Live),
            _ => None,
        },
    },
    Target {
        name: "/sys/module/NAME/sections/*",
        help: "module_sect_read(), while the loader makes and removes the attributes",
        prints_m_show: false,
        access: Access::Attributes,
        sighting: |line, _| (!line.is_empty()).then_some(State::Live),
    },
];

/// The row of that name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|row| row.name == name)
}

impl Target {
    /// Its path for one module.
    pub fn path(&self, module: &str) -> String {
        self.name.replace(NAME, module)
    }

    /// Whether `auto` reads at unloads. Attributes are gone early in an unload,
    /// before most reads, and reading them all the time takes no lock that a
    /// loader needs: there readers run freely.
    pub(super) fn is_targeted(&self) -> bool {
        matches!(self.access, Access::TargetReader { .. })
    }

    /// The files that it is for one module, now; section names begin with a dot,
    /// so those are among them. As with a shell, a pattern that nothing matches
    /// stands for itself.
    pub(super) fn files(&self, module: &str) -> Vec<PathBuf> {
        let path = self.path(module);
        let found = match path.strip_suffix(EVERY_FILE) {
            Some(folder) => fs::read_dir(folder)
                .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
                .unwrap_or_default(),
            None => Vec::new(),
        };
        if found.is_empty() {
            vec![path.into()]
        } else {
            found
        }
    }
}

/// The module that a line of `/proc/kallsyms` belongs to; none for a symbol of
/// the kernel itself, and for a line that was cut.
fn owner(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii_end().strip_suffix(b"]")?;
    let at = line.iter().rposition(|&byte| byte == b'[')?;
    line[..at].ends_with(b"\t").then_some(&line[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(target: &str, record: &str) -> Option<State> {
        (named(target).unwrap().sighting)(record.as_bytes(), "dummy_module")
    }

    #[test]
    fn names_are_unique_and_the_default_comes_first() {
        let mut names: Vec<_> = TARGETS.iter().map(|row| row.name).collect();
        assert_eq!(names[0], DEFAULT_TARGET);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TARGETS.len());
        assert!(named("/proc/nonsense").is_none());
    }

    #[test]
    fn what_lives_in_a_modules_folder_is_an_attribute() {
        for row in TARGETS {
            let of_a_module = row.name.contains(NAME);
            let attribute = matches!(row.access, Access::Attributes);
            assert_eq!(of_a_module, attribute, "{}", row.name);
        }
    }

    #[test]
    fn a_line_of_proc_modules_shows_its_state() {
        let line = |state| format!("dummy_module 12661 0 - {state} 0xffffffffa03a5000 (OE-)\n");
        let target = "/proc/modules";
        assert_eq!(seen(target, &line("Live")), Some(State::Live));
        assert_eq!(seen(target, &line("Loading")), Some(State::Loading));
        assert_eq!(seen(target, &line("Unloading")), Some(State::Unloading));
        let other = line("Live").replace("dummy", "other");
        assert_eq!(seen(target, &other), None);
    }

    #[test]
    fn a_symbol_in_the_modules_brackets_shows_it_live() {
        let target = "/proc/kallsyms";
        for (line, expected) in [
            (
                "ffffffffa0000000 t dummy_init\t[dummy_module]\n",
                Some(State::Live),
            ),
            // A cut line that is whole up to the bracket is proof enough.
            (
                "ffffffffa0000000 t dummy_init\t[dummy_module]",
                Some(State::Live),
            ),
            ("ffffffffa0000000 t dummy_init\t[dummy_mod", None),
            ("ffffffffa0000000 t dummy_init\t[dummy_module2]\n", None),
            ("ffffffffa0000000 t dummy_init\t[my_dummy_module]\n", None),
            ("ffffffff81000000 T _stext\n", None),
            ("ffffffff81000000 T odd[dummy_module]\n", None),
            ("\n", None),
        ] {
            assert_eq!(seen(target, line), expected, "{line:?}");
        }
    }

    #[test]
    fn initstate_says_it_in_words() {
        let target = "/sys/module/NAME/initstate";
        assert_eq!(seen(target, "live\n"), Some(State::Live));
        assert_eq!(seen(target, "coming\n"), Some(State::Loading));
        assert_eq!(seen(target, "going\n"), Some(State::Unloading));
        assert_eq!(seen(target, "unknown\n"), None);
        assert_eq!(seen(target, ""), None);
    }

    #[test]
    fn a_refcount_of_minus_one_is_a_module_that_goes() {
        let target = "/sys/module/NAME/refcnt";
        assert_eq!(seen(target, "-1\n"), Some(State::Unloading));
        assert_eq!(seen(target, "0\n"), Some(State::Live));
        assert_eq!(seen(target, "2\n"), Some(State::Live));
        assert_eq!(seen(target, "-2\n"), None);
        assert_eq!(seen(target, ""), None);
    }

    #[test]
    fn a_section_that_could_be_read_shows_the_module_live() {
        let target = "/sys/module/NAME/sections/*";
        assert_eq!(seen(target, "0xffffffffa0000000\n"), Some(State::Live));
        assert_eq!(seen(target, ""), None);
    }

    #[test]
    fn a_target_without_its_module_is_its_path() {
        let initstate = named("/sys/module/NAME/initstate").unwrap();
        let file = PathBuf::from("/sys/module/none_such/initstate");
        assert_eq!(initstate.files("none_such"), [file]);
        let sections = named("/sys/module/NAME/sections/*").unwrap();
        let pattern = PathBuf::from("/sys/module/none_such/sections/*");
        assert_eq!(sections.files("none_such"), [pattern]);
    }

    #[test]
    fn the_files_of_a_folder_are_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".text"), "0x0\n").unwrap();
        fs::write(folder.path().join(".data"), "0x1\n").unwrap();
        let name = format!("{}/*", folder.path().display());
        let row = Target {
            name: name.leak(),
            ..target_like(&TARGETS[TARGETS.len() - 1])
        };
        let mut files = row.files("dummy_module");
        files.sort();
        let expected = [".data", ".text"].map(|name| folder.path().join(name));
        assert_eq!(files, expected);
    }

    fn target_like(row: &Target) -> Target {
        Target {
            name: row.name,
            help: row.help,
            prints_m_show: row.prints_m_show,
            access: Access::Attributes,
            sighting: row.sighting,
        }
    }
}
