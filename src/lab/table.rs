//! The lab kernels that modrace knows by name. One row each: what is laid over
//! the configuration and what is done to the source.

use super::build_spec::{BuildSpec, Fix, NamedText};

/// A lab kernel by name.
#[derive(Debug)]
pub struct LabKernelRow {
    /// As in `lab:NAME`.
    pub name: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
    fragments: &'static [(&'static str, &'static str)],
    fix: Fix,
    patches: &'static [(&'static str, &'static str)],
}

/// A file's name with its content, built in.
macro_rules! fixture {
    ($folder:literal, $name:literal) => {
        (
            $name,
            include_str!(concat!("../../fixtures/kernel/", $folder, $name)),
        )
    };
}

const LAB: (&str, &str) = fixture!("", "lab.config");
const PREEMPT: (&str, &str) = fixture!("", "preempt.config");
const KASAN: (&str, &str) = fixture!("", "kasan.config");
const DISK: (&str, &str) = fixture!("", "disk.config");
const DEBUGFS: (&str, &str) = fixture!("", "debugfs.config");
const DEBUG_INFO: (&str, &str) = fixture!("", "debug-info.config");
const DEBUG: (&str, &str) = fixture!("", "debug.config");
const KALLSYMS_UNFORMED: (&str, &str) =
    fixture!("patches/", "without-unformed-check-in-kallsyms.patch");
const KALLSYMS_AFTER_FREE: (&str, &str) =
    fixture!("patches/", "without-grace-period-at-free.patch");
const INIT_FREE: (&str, &str) = fixture!("patches/", "without-grace-period-at-init-free.patch");
const DUPLICATE_LOAD: (&str, &str) = fixture!("patches/", "without-wake-after-free.patch");
const CDEV_OPEN: (&str, &str) = fixture!("patches/", "without-cdev-unless-zero.patch");
const OLD_SEQ_FILE: (&str, &str) = fixture!("patches/", "without-seq-file-reset.patch");
const OLD_RELOCATIONS: (&str, &str) = fixture!("patches/", "without-plt32.patch");

/// Every lab kernel, in the order of `modrace lab list`.
pub const LAB_KERNELS: &[LabKernelRow] = &[
    LabKernelRow {
        name: "fixed",
        help: "the source as it is, with the fix",
        fragments: &[LAB],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "vulnerable",
        help: "the same without the fix: free_module() sets UNFORMED unlocked",
        fragments: &[LAB],
        fix: Fix::TakenOut,
        patches: &[],
    },
    LabKernelRow {
        name: "fixed-debug-info",
        help: "fixed, with debug information: `lab build --debug-info fixed`",
        fragments: &[LAB, DEBUG_INFO],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "vulnerable-debug-info",
        help: "vulnerable, with debug information",
        fragments: &[LAB, DEBUG_INFO],
        fix: Fix::TakenOut,
        patches: &[],
    },
    LabKernelRow {
        name: "fixed-preempt",
        help: "fixed, with full preemption",
        fragments: &[LAB, PREEMPT],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "vulnerable-preempt",
        help: "vulnerable, with full preemption",
        fragments: &[LAB, PREEMPT],
        fix: Fix::TakenOut,
        patches: &[],
    },
    LabKernelRow {
        name: "vulnerable-kasan",
        help: "vulnerable, with KASAN",
        fragments: &[LAB, KASAN],
        fix: Fix::TakenOut,
        patches: &[],
    },
    LabKernelRow {
        name: "fixed-kasan",
        help: "fixed, with KASAN: sees use after free where it happens",
        fragments: &[LAB, KASAN],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "kasan",
        help: "the same under a shorter name, for drivers",
        fragments: &[LAB, KASAN],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "debug",
        help: "fixed, with KASAN, lockdep, DEBUG_OBJECTS, kmemleak and SLUB's checks: for drivers",
        fragments: &[LAB, KASAN, DEBUG],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "fixed-debugfs",
        help: "fixed, with debugfs and a SLUB that can poison: for drivers' mistakes",
        fragments: &[LAB, DEBUGFS],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "kallsyms-unformed",
        help: "the race of that name: walkers of symbols do not pass over the unformed",
        fragments: &[LAB],
        fix: Fix::Required,
        patches: &[KALLSYMS_UNFORMED],
    },
    LabKernelRow {
        name: "kallsyms-after-free",
        help: "the race of that name: free_module() waits for no grace period",
        fragments: &[LAB],
        fix: Fix::Required,
        patches: &[KALLSYMS_AFTER_FREE],
    },
    LabKernelRow {
        name: "init-free",
        help: "the race of that name: init sections are freed without a grace period",
        fragments: &[LAB],
        fix: Fix::Required,
        patches: &[INIT_FREE],
    },
    LabKernelRow {
        name: "duplicate-load",
        help: "the race of that name: a waiting load is not woken",
        fragments: &[LAB],
        fix: Fix::Required,
        patches: &[DUPLICATE_LOAD],
    },
    LabKernelRow {
        name: "cdev-open",
        help: "the race of that name: chrdev_open() takes a cdev without references",
        fragments: &[LAB],
        fix: Fix::Required,
        patches: &[CDEV_OPEN],
    },
    LabKernelRow {
        name: "fixed-old",
        help: "fixed, with the seq_file of before 4.10 and the relocations of before 4.16",
        fragments: &[LAB],
        fix: Fix::Required,
        patches: &[OLD_SEQ_FILE, OLD_RELOCATIONS],
    },
    LabKernelRow {
        name: "vulnerable-old",
        help: "vulnerable, with the same",
        fragments: &[LAB],
        fix: Fix::TakenOut,
        patches: &[OLD_SEQ_FILE, OLD_RELOCATIONS],
    },
    LabKernelRow {
        name: "fixed-disk",
        help: "fixed, with a disk and pstore, to stand in for a bare machine",
        fragments: &[LAB, DISK],
        fix: Fix::Required,
        patches: &[],
    },
    LabKernelRow {
        name: "vulnerable-disk",
        help: "vulnerable, with a disk and pstore",
        fragments: &[LAB, DISK],
        fix: Fix::TakenOut,
        patches: &[],
    },
];

impl LabKernelRow {
    /// The row of a name.
    pub fn find(name: &str) -> Option<&'static Self> {
        LAB_KERNELS.iter().find(|row| row.name == name)
    }

    /// What it is built from, but for the source.
    pub fn build_spec(&self) -> BuildSpec {
        let texts = |list: &[(&str, &str)]| {
            list.iter()
                .map(|(name, text)| NamedText::new(*name, text.as_bytes()))
                .collect()
        };
        BuildSpec {
            name: self.name.to_owned(),
            fragments: texts(self.fragments),
            fix: self.fix,
            patches: texts(self.patches),
            compiler: None,
        }
    }
}

/// The lab kernel of that name with debug information.
pub fn with_debug_info(name: &str) -> String {
    format!("{name}-debug-info")
}

/// What gives a kernel of one's own debug information.
pub fn debug_info_fragment() -> NamedText {
    NamedText::new(DEBUG_INFO.0, DEBUG_INFO.1.as_bytes())
}

/// What a kernel of one's own starts from: the lab's configuration, no patch.
pub(super) fn base_fragment() -> NamedText {
    NamedText::new(LAB.0, LAB.1.as_bytes())
}
