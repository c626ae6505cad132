//! The races that modrace knows, one row each: what is loaded, what loaders and
//! readers do, which crash is the race's own, what a kernel needs for it, and
//! the pair that shows it. To add a race, add a row, its module's source and,
//! for a kernel's race, the patch that takes its fix out
//! (docs/adding-a-race.md).

use super::action::{LoaderAction, ReaderAction};
use super::crash_rule::CrashRule;
use crate::model::{Crash, CrashClass, CrashKind as K, DEFAULT_RACE, DEFAULT_TARGET};
use crate::recorder::Stage;

/// A row of the table.
#[derive(Debug)]
pub struct RaceRow {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// What goes wrong, in a line.
    pub help: &'static str,
    /// Where it is known from.
    pub reference: Reference,
    /// Modules that are loaded before the race, and stay.
    pub before: &'static [&'static ModuleSources],
    /// The module that is raced; none: the dummy module.
    pub raced: Option<&'static ModuleSources>,
    /// Its parameters.
    pub parameters: &'static str,
    /// What loaders do.
    pub loader: LoaderAction,
    /// What readers do.
    pub reader: ReaderAction,
    /// What they do it to; `{module}` stands for the module's name.
    pub targets: &'static [&'static str],
    /// Whether the module is loaded and unloaded once before the race: not where
    /// one unload is enough for the crash.
    pub rehearsed: bool,
    /// A device node that the race needs.
    pub node: Option<Node>,
    /// Loaders, unless told otherwise.
    pub loaders: u32,
    /// Readers, unless told otherwise.
    pub readers: u32,
    /// Virtual CPUs of a guest, unless told otherwise.
    pub smp: u32,
    /// Longest random pause of a loader before each call, µs.
    pub loader_pause_us: u64,
    /// Longest random pause of a reader between two turns, µs.
    pub reader_pause_us: u64,
    /// The crashes that are this race's own: those that fit a rule.
    pub crashes: &'static [CrashRule],
    /// The call that hangs, where a hang is the race's own.
    pub hang: Option<Stage>,
    /// Options that the kernel needs: of each group one.
    pub needs: &'static [&'static [&'static str]],
    /// Words for the kernel's command line.
    pub append: &'static str,
    /// What shows it.
    pub pair: LabPair,
}

/// Where a race is known from.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// The commit that fixed it, in Linux.
    pub commit: Option<&'static str>,
    /// Its CVE.
    pub cve: Option<&'static str>,
    /// The first release with the fix.
    pub fixed_in: Option<&'static str>,
}

/// Sources of modules that are built together, inside this program.
#[derive(Debug)]
pub struct ModuleSources {
    /// Their folder in `dummy-module/variants`.
    pub name: &'static str,
    /// File names with contents.
    pub files: &'static [(&'static str, &'static str)],
    /// The modules that they give, in the order of loading; the last is raced.
    pub modules: &'static [&'static str],
}

/// A character device's node that no devtmpfs makes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its path.
    pub path: &'static str,
    /// Its major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
}

/// The two halves that show a race: one is lost, the other is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabPair {
    /// Lab kernels, without the fix and with it.
    Kernels(&'static str, &'static str),
    /// A driver's own mistake: its module with the mistake and with it mended,
    /// on one lab kernel.
    Modules(&'static str),
}

impl LabPair {
    /// The lab kernels that it needs.
    pub fn kernels(self) -> Vec<&'static str> {
        match self {
            Self::Kernels(without, with) => vec![without, with],
            Self::Modules(kernel) => vec![kernel],
        }
    }
}

/// What make is told, so that a driver's module is built without its mistake.
pub const MENDED: &str = "MODRACE_MENDED";

/// Sources of a folder of `dummy-module/variants`.
macro_rules! sources {
    ($folder:literal, [$($module:literal),+]) => {
        ModuleSources {
            name: $folder,
            files: &[
                ("Kbuild", include_str!(concat!("../../dummy-module/variants/", $folder, "/Kbuild"))),
                $((
                    concat!($module, ".c"),
                    include_str!(concat!("../../dummy-module/variants/", $folder, "/", $module, ".c")),
                )),+
            ],
            modules: &[$($module),+],
        }
    };
}

const DENSE: ModuleSources = sources!("dense-symbols", ["dense_symbols"]);
const PARAMETERS: ModuleSources = sources!("many-parameters", ["many_values", "many_parameters"]);
const CDEV: ModuleSources = sources!("cdev-open", ["cdev_operations", "cdev_comes_and_goes"]);
const NO_OWNER: ModuleSources = sources!("no-owner", ["no_owner"]);
const PROC_AFTER_FREE: ModuleSources = sources!("proc-after-free", ["proc_after_free"]);
const DEBUGFS_UNSAFE: ModuleSources = sources!("debugfs-unsafe", ["debugfs_unsafe"]);
const KOBJECT_NOT_PUT: ModuleSources = sources!("kobject-not-put", ["kobject_not_put"]);
const TIMER_LEFT: ModuleSources = sources!("timer-left", ["timer_left"]);
const WORK_LEFT: ModuleSources = sources!("work-left", ["work_left"]);

/// An access to memory that is gone, whatever the machine made of it.
const GONE: &[K] = &[
    K::PageFault,
    K::NullDereference,
    K::GeneralProtection,
    K::Oops,
    K::Kasan,
];

/// No fix is known: the bug was never in a kernel, or is a driver's.
const NOWHERE: Reference = Reference {
    commit: None,
    cve: None,
    fixed_in: None,
};

/// What most rows have in common.
const PLAIN: RaceRow = RaceRow {
    name: "",
    help: "",
    reference: NOWHERE,
    before: &[],
    raced: None,
    parameters: "",
    loader: LoaderAction::Cycle,
    reader: ReaderAction::OpenRead,
    targets: &[],
    rehearsed: true,
    node: None,
    loaders: 1,
    readers: 1,
    // Loading interrupts every CPU, which takes long in emulation: two CPUs
    // make several times the cycles of four.
    smp: 2,
    loader_pause_us: 0,
    reader_pause_us: 0,
    crashes: &[],
    hang: None,
    needs: &[],
    append: "",
    pair: LabPair::Modules("fixed"),
};

/// Every race there is; the default comes first.
pub const RACES: &[RaceRow] = &[
    RaceRow {
        name: DEFAULT_RACE,
        help: "free_module() sets UNFORMED while m_show() prints the module: module_flags() hits its BUG_ON()",
        targets: &[DEFAULT_TARGET],
        smp: 4,
        pair: LabPair::Kernels("vulnerable", "fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "kallsyms-unformed",
        help: "walkers of modules' symbols do not pass over a module that is UNFORMED, and has no symbol table",
        before: &[&DENSE],
        targets: &["/proc/kallsyms"],
        crashes: &[CrashRule {
            kinds: GONE,
            at: &["module_get_kallsym", "strscpy", "strlcpy"],
            below: &["update_iter", "update_iter_mod", "s_next", "s_start"],
        }],
        needs: &[&["KALLSYMS"]],
        pair: LabPair::Kernels("kallsyms-unformed", "fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "kallsyms-after-free",
        help: "free_module() frees the symbol table without a grace period, while it is walked",
        raced: Some(&DENSE),
        // Its %ps of a timer's function is one walk over all symbols, with
        // preemption off.
        targets: &["/proc/timer_list"],
        crashes: &[CrashRule {
            kinds: GONE,
            at: &[],
            below: SYMBOL_LOOKUP,
        }],
        needs: &[&["KALLSYMS"], &["HIGH_RES_TIMERS"]],
        pair: LabPair::Kernels("kallsyms-after-free", "fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "init-free",
        help: "the symbols of init are freed at its end without a grace period, while they are walked",
        reference: Reference {
            commit: Some("c749637909ee"),
            cve: None,
            fixed_in: Some("3.19"),
        },
        raced: Some(&DENSE),
        parameters: "hold_init_ms=10",
        // Its %ps of a timer's function is one walk over all symbols, with
        // preemption off.
        targets: &["/proc/timer_list"],
        crashes: &[CrashRule {
            kinds: GONE,
            at: &[],
            below: SYMBOL_LOOKUP,
        }],
        needs: &[&["KALLSYMS"], &["HIGH_RES_TIMERS"]],
        pair: LabPair::Kernels("init-free", "fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "duplicate-load",
        help: "a load that waits for the unload of the same name is never woken",
        reference: Reference {
            commit: Some("5d603311615f"),
            cve: None,
            fixed_in: None,
        },
        raced: Some(&PARAMETERS),
        loader: LoaderAction::Duel,
        reader: ReaderAction::Nothing,
        loaders: 2,
        readers: 0,
        hang: Some(Stage::Loading),
        pair: LabPair::Kernels("duplicate-load", "fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "cdev-open",
        help: "chrdev_open() takes a reference to a cdev that has none left",
        reference: Reference {
            commit: Some("68faa679b8be"),
            cve: Some("CVE-2020-0305"),
            fixed_in: Some("5.5"),
        },
        raced: Some(&CDEV),
        reader: ReaderAction::OpenClose,
        targets: &["/dev/modrace_cdev"],
        node: Some(Node {
            path: "/dev/modrace_cdev",
            major: 240,
            minor: 0,
        }),
        crashes: &[CrashRule {
            kinds: &[],
            at: &[],
            below: &["cdev_get", "cdev_put", "chrdev_open"],
        }],
        append: "panic_on_warn=1",
        pair: LabPair::Kernels("cdev-open", "fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "no-owner",
        help: "driver: a character device without .owner is read after its module has gone",
        raced: Some(&NO_OWNER),
        reader: ReaderAction::HoldRead,
        targets: &["/dev/{module}"],
        reader_pause_us: 5000,
        crashes: OPEN_FILE,
        pair: LabPair::Modules("fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "proc-after-free",
        help: "driver: exit frees what a file in /proc shows before it removes the file",
        raced: Some(&PROC_AFTER_FREE),
        targets: &["/proc/{module}"],
        crashes: &[CrashRule {
            kinds: GONE,
            at: &[],
            below: &["text_show", "seq_read", "seq_read_iter"],
        }],
        needs: &[&["SLUB_DEBUG", "KASAN"]],
        // Freed memory would be read all the same.
        append: "slub_debug=FZP",
        pair: LabPair::Modules("fixed-debugfs"),
        ..PLAIN
    },
    RaceRow {
        name: "debugfs-unsafe",
        help: "driver: a debugfs file made by the _unsafe call is read after its module has gone",
        raced: Some(&DEBUGFS_UNSAFE),
        reader: ReaderAction::HoldRead,
        targets: &["/sys/kernel/debug/{module}/text"],
        reader_pause_us: 5000,
        crashes: OPEN_FILE,
        needs: &[&["DEBUG_FS"]],
        pair: LabPair::Modules("fixed-debugfs"),
        ..PLAIN
    },
    RaceRow {
        name: "kobject-not-put",
        help: "driver: a sysfs attribute outlives its module, since exit does not put its kobject",
        raced: Some(&KOBJECT_NOT_PUT),
        targets: &["/sys/kernel/{module}/value"],
        rehearsed: false,
        crashes: &[CrashRule {
            kinds: GONE,
            at: &[],
            below: &["kobj_attr_show", "sysfs_kf_seq_show", "sysfs_kf_read"],
        }],
        pair: LabPair::Modules("fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "timer-left",
        help: "driver: a timer fires after its module has gone",
        raced: Some(&TIMER_LEFT),
        rehearsed: false,
        reader: ReaderAction::Nothing,
        readers: 0,
        crashes: &[
            CrashRule {
                kinds: &[],
                at: &[],
                below: TIMERS,
            },
            CrashRule {
                kinds: &[],
                at: TIMERS,
                below: &[],
            },
        ],
        pair: LabPair::Modules("fixed"),
        ..PLAIN
    },
    RaceRow {
        name: "work-left",
        help: "driver: work is done after its module has gone",
        raced: Some(&WORK_LEFT),
        reader: ReaderAction::Write,
        targets: &["/proc/{module}"],
        loader_pause_us: 100,
        crashes: &[
            CrashRule {
                kinds: GONE,
                at: &[],
                below: WORKERS,
            },
            CrashRule {
                kinds: GONE,
                at: WORKERS,
                below: &[],
            },
        ],
        pair: LabPair::Modules("fixed"),
        ..PLAIN
    },
];

/// The way to a symbol of an address.
const SYMBOL_LOOKUP: &[&str] = &[
    "find_kallsyms_symbol",
    "get_ksymbol",
    "module_address_lookup",
    "kallsyms_lookup_buildid",
    "kallsyms_lookup",
];

/// A file that was open before its module went is read or closed.
const OPEN_FILE: &[CrashRule] = &[
    CrashRule {
        kinds: GONE,
        at: &[],
        below: FILE_CALLS,
    },
    CrashRule {
        kinds: GONE,
        at: FILE_CALLS,
        below: &[],
    },
];

/// The calls through which that happens.
const FILE_CALLS: &[&str] = &[
    "vfs_read",
    "ksys_read",
    "ksys_pread64",
    "__fput",
    "filp_close",
    "filp_flush",
    "do_dentry_open",
    "chrdev_open",
    "misc_open",
];

/// Who runs timers.
const TIMERS: &[&str] = &[
    "__run_timers",
    "__run_timer_base",
    "run_timer_softirq",
    "run_timer_base",
    "call_timer_fn",
    "expire_timers",
    "mod_timer",
    "__mod_timer",
];

/// Who does queued work.
const WORKERS: &[&str] = &[
    "process_one_work",
    "process_scheduled_works",
    "worker_thread",
];

/// The row of that name.
pub fn named(name: &str) -> Option<&'static RaceRow> {
    RACES.iter().find(|row| row.name == name)
}

impl RaceRow {
    /// Whether it is the race of the bug report, which aimed readers read.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT_RACE
    }

    /// Whether it is a driver's own mistake, and no kernel's.
    pub fn is_drivers(&self) -> bool {
        matches!(self.pair, LabPair::Modules(_))
    }

    /// The needs that a kernel's configuration does not meet, in words. `has`
    /// says whether an option is set.
    pub fn missing(&self, has: impl Fn(&str) -> bool) -> Vec<String> {
        let unmet = self
            .needs
            .iter()
            .filter(|group| !group.iter().any(|option| has(option)));
        unmet
            .map(|group| {
                let options = group.iter().map(|option| format!("CONFIG_{option}"));
                options.collect::<Vec<_>>().join(" or ")
            })
            .collect()
    }

    /// How a crash relates to this race, where that is not what the scanner,
    /// which knows the default race alone, says.
    pub fn class_of(&self, crash: &Crash) -> CrashClass {
        if self.is_default() {
            return crash.class;
        }
        match crash.class {
            _ if self.crashes.iter().any(|rule| rule.fits(crash)) => CrashClass::Target,
            // Another race's.
            CrashClass::Target | CrashClass::TargetFunctions | CrashClass::Sibling => {
                CrashClass::ModuleRelated
            }
            other => other,
        }
    }

    /// Where it is known from, in words.
    pub fn known_from(&self) -> String {
        let fixed = self
            .reference
            .fixed_in
            .map(|release| format!("fixed in {release}"));
        let words = [
            self.reference.commit.map(str::to_owned),
            self.reference.cve.map(str::to_owned),
            fixed,
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        match (words.is_empty(), self.is_drivers()) {
            (false, _) => words.join(", "),
            (true, true) => "a driver's mistake".to_owned(),
            (true, false) if self.is_default() => "the bug report".to_owned(),
            (true, false) => "made up: no kernel had it".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::action::files;

    #[test]
    fn names_are_unique_and_the_default_comes_first() {
        let mut names: Vec<_> = RACES.iter().map(|row| row.name).collect();
        assert_eq!(names[0], DEFAULT_RACE);
        assert!(named(DEFAULT_RACE).unwrap().is_default());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RACES.len());
        assert!(named("nonsense").is_none());
    }

    #[test]
    fn every_row_says_what_is_read_and_what_its_own_end_is() {
        for row in RACES {
            let name = row.name;
            assert!(!row.help.is_empty(), "{name}");
            for target in row.targets {
                assert_eq!(files::check(target), Ok(()), "{name}");
            }
            let idle = row.reader == ReaderAction::Nothing;
            assert_eq!(idle, row.readers == 0, "{name}");
            assert_eq!(idle, row.targets.is_empty(), "{name}");
            assert!(
                row.is_default() || row.hang.is_some() || !row.crashes.is_empty(),
                "{name}"
            );
            assert!(row.loaders >= 1 && row.smp >= 2, "{name}");
            assert!(!row.known_from().is_empty());
        }
    }

    #[test]
    fn every_module_is_in_its_kbuild_and_a_drivers_can_be_mended() {
        for row in RACES {
            for sources in row.before.iter().chain(&row.raced) {
                let (file, kbuild) = sources.files[0];
                assert_eq!(file, "Kbuild");
                for module in sources.modules {
                    assert!(kbuild.contains(&format!("obj-m += {module}.o")), "{module}");
                }
                let text: String = sources.files.iter().map(|(_, text)| *text).collect();
                assert!(text.contains("MODULE_LICENSE(\"GPL\")"), "{}", row.name);
                if row.is_drivers() {
                    assert!(kbuild.contains(MENDED), "{}", row.name);
                    assert!(text.contains("#ifdef MODRACE_MENDED"), "{}", row.name);
                }
            }
        }
    }

    #[test]
    fn a_need_is_met_by_one_option_of_its_group() {
        let row = named("proc-after-free").unwrap();
        assert!(row.missing(|option| option == "KASAN").is_empty());
        assert_eq!(
            row.missing(|_| false),
            ["CONFIG_SLUB_DEBUG or CONFIG_KASAN"]
        );
    }

    #[test]
    fn only_a_rows_own_crash_is_its_target() {
        let crash = |kind, at: &str, class| Crash {
            kind,
            class,
            faulting_function: Some(at.to_owned()),
            ..Crash::default()
        };
        let row = named("timer-left").unwrap();
        let own = crash(K::PageFault, "__run_timers", CrashClass::Unrelated);
        assert_eq!(row.class_of(&own), CrashClass::Target);
        let other = crash(K::PageFault, "ext4_iget", CrashClass::Unrelated);
        assert_eq!(row.class_of(&other), CrashClass::Unrelated);
        let reported = crash(K::Bug, "module_flags", CrashClass::Target);
        assert_eq!(row.class_of(&reported), CrashClass::ModuleRelated);
        assert_eq!(RACES[0].class_of(&reported), CrashClass::Target);
    }
}
