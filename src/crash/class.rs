//! Tells the race that modrace provokes from its relatives. Goes by functions,
//! call traces and the place of the BUG's own instruction, never by a line
//! number: that differs from kernel to kernel.

use super::title::plain;
use crate::model::{Crash, CrashClass, CrashKind};

/// Below these, `module_flags()` was reached by reading `/proc/modules`:
/// through read, sendfile or splice.
const READERS: &[&str] = &[
    "m_show",
    "seq_read",
    "seq_read_iter",
    "traverse",
    "proc_reg_read",
];

/// The module loader: kernel/module.c, later kernel/module/.
const LOADER: &[&str] = &[
    "module_flags",
    "m_show",
    "m_start",
    "m_next",
    "m_stop",
    "modules_open",
    "print_modules",
    "free_module",
    "load_module",
    "do_init_module",
    "init_module",
    "finit_module",
    "delete_module",
    "try_stop_module",
    "try_to_force_load",
    "module_put",
    "try_module_get",
    "__module_get",
    "module_refcount",
    "__unlink_module",
    "add_unformed_module",
    "add_kallsyms",
    "layout_and_allocate",
    "move_module",
    "module_memfree",
    "module_unload_init",
    "module_unload_free",
    "mod_sysfs_setup",
    "mod_sysfs_teardown",
    "mod_tree_insert",
    "mod_tree_remove",
    "mod_find",
    "mod_delayed_work",
    "find_module",
    "find_module_all",
    "resolve_symbol",
    "simplify_symbols",
    "apply_relocations",
    "complete_formation",
    "prepare_coming_module",
    "module_add_modinfo_attrs",
    "module_add_driver",
    "module_remove_driver",
    "module_arch_cleanup",
    "module_kallsyms_lookup_name",
    "module_address_lookup",
    "lookup_module_symbol_name",
    "get_ksymbol",
    "__module_address",
    "__module_text_address",
    "is_module_address",
    "is_module_text_address",
    "add_sect_attrs",
    "free_sect_attrs",
    "module_notes_read",
    "module_sect_read",
    "module_get_kallsym",
    "show_initstate",
    "show_refcnt",
    "ref_module",
    "do_free_init",
    "idempotent_init_module",
    "init_module_from_file",
    "module_enable_ro",
    "module_disable_ro",
    "unset_module_core_ro_nx",
    "set_section_ro_nx",
    "stop_refcounting",
    "wait_for_zero_refcount",
];

/// Most bytes of a function before the check that it begins with:
/// `BUG_ON(mod->state == MODULE_STATE_UNFORMED)` is the first statement of
/// `module_flags()`. Measured: 0xa on x86 6.1, 0x10 on arm64 6.1.
const ENTRY: u64 = 0x28;
/// Most bytes from the `BUG()` to the function's end, where the compiler put
/// it behind everything else. Measured: 0xb of 0xc0 on 3.10.0, 0x10 of 0xd0 on
/// 3.10.17.
const TAIL: u64 = 0x18;

/// `MODULE_STATE_UNFORMED` of include/linux/module.h.
const UNFORMED: u32 = 3;

/// Whether the `BUG()` at `crash` is the one that `module_flags()` begins with,
/// as far as the log can show it; `size` is the function's.
fn is_state_check(crash: &Crash, header: &str, size: Option<u64>) -> bool {
    if !header.contains("kernel/module") {
        return false;
    }
    let Some(offset) = crash.faulting_offset else {
        return false;
    };
    if offset < ENTRY {
        return crash
            .code
            .as_deref()
            .is_none_or(|code| compares_state(code) != Some(false));
    }
    size.is_some_and(|size| offset < size && size - offset <= TAIL)
}

/// Whether the instructions just before the trap compare with
/// `MODULE_STATE_UNFORMED`: x86 (bytes) and arm64 (words); nothing where they
/// are another architecture's, or not there.
fn compares_state(code: &str) -> Option<bool> {
    let before = code.split(['<', '(']).next()?;
    let mut units: Vec<&str> = before.split_whitespace().collect();
    let width = units.last()?.len();
    // What the first statement of a function can hold.
    let most = if width == 2 { 12 } else { 6 };
    units.drain(..units.len().saturating_sub(most));
    let numbers: Option<Vec<u32>> = units
        .iter()
        .map(|unit| u32::from_str_radix(unit, 16).ok())
        .collect();
    let numbers = numbers?;
    match width {
        // `cmp $3,%reg` or `cmpl $3,(%reg)`: 83 /7 ib.
        2 => Some(
            numbers
                .windows(3)
                .any(|bytes| bytes[0] == 0x83 && bytes[1] >> 3 & 7 == 7 && bytes[2] == UNFORMED),
        ),
        // `cmp wN, #3` is `subs wzr, wN, #3`.
        8 if code.contains("(d4210000)") => Some(
            numbers
                .iter()
                .any(|word| word & 0xffff_fc1f == 0x7100_001f | UNFORMED << 10),
        ),
        _ => None,
    }
}

/// How the crash relates to the race. `header` is the first line from its
/// marker on, `in_module` whether the program counter was in a module's own
/// code, `size` that of the function it was in.
pub(super) fn class(crash: &Crash, header: &str, in_module: bool, size: Option<u64>) -> CrashClass {
    let names: Vec<&str> = crash
        .call_trace
        .iter()
        .map(|frame| plain(&frame.function))
        .collect();
    let faulting = crash.faulting_function.as_deref().map(plain);
    let guilty = crash.function.as_deref();
    let at = |name: &str| faulting == Some(name) || (faulting.is_none() && guilty == Some(name));
    let in_flags = at("module_flags");
    if crash.kind == CrashKind::Bug && (in_flags || at("m_show") || at("print_modules")) {
        if at("print_modules") || (in_flags && names.contains(&"print_modules")) {
            return CrashClass::Sibling;
        }
        let read = names.iter().any(|name| READERS.contains(name));
        if in_flags && read && is_state_check(crash, header, size) {
            return CrashClass::Target;
        }
        // In `m_show()` the check may be inlined, or the BUG be its own;
        // without a trace, or with the BUG elsewhere in the function, the log
        // does not tell either.
        if in_flags || read {
            return CrashClass::TargetFunctions;
        }
    }
    if in_module {
        return CrashClass::Unrelated;
    }
    let loader = |name: &str| LOADER.contains(&name) || LOADER.contains(&short(name));
    if faulting.is_some_and(loader) || guilty.is_some_and(loader) {
        return CrashClass::ModuleRelated;
    }
    for frame in crash.call_trace.iter().filter(|frame| frame.reliable) {
        // A module's own code stands between: that is the module's crash.
        if frame.module.is_some() {
            return CrashClass::Unrelated;
        }
        if loader(plain(&frame.function)) {
            return CrashClass::ModuleRelated;
        }
    }
    CrashClass::Unrelated
}

fn short(name: &str) -> &str {
    [
        "__x64_sys_",
        "__do_sys_",
        "__se_sys_",
        "__arm64_sys_",
        "SyS_",
        "SYSC_",
        "sys_",
        "__",
    ]
    .iter()
    .find_map(|prefix| name.strip_prefix(prefix))
    .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Frame;

    const HEADER: &str = "kernel BUG at kernel/module/main.c:2998!";

    fn crash(kind: CrashKind, faulting: &str, trace: &[&str]) -> Crash {
        Crash {
            kind,
            faulting_function: Some(faulting.to_owned()),
            faulting_offset: Some(0xa),
            call_trace: trace
                .iter()
                .map(|name| Frame {
                    function: (*name).to_owned(),
                    reliable: true,
                    ..Frame::default()
                })
                .collect(),
            ..Crash::default()
        }
    }

    fn of(crash: &Crash) -> CrashClass {
        class(crash, HEADER, false, Some(0xc8))
    }

    #[test]
    fn the_target_may_come_by_read_or_by_splice() {
        let read = crash(
            CrashKind::Bug,
            "module_flags",
            &["m_show", "seq_read", "vfs_read"],
        );
        assert_eq!(of(&read), CrashClass::Target);
        let splice = crash(
            CrashKind::Bug,
            "module_flags",
            &[
                "seq_read",
                "proc_reg_read",
                "do_loop_readv_writev",
                "default_file_splice_read",
            ],
        );
        assert_eq!(of(&splice), CrashClass::Target);
    }

    #[test]
    fn the_check_stands_at_the_functions_beginning_or_behind_its_end() {
        let mut bug = crash(CrashKind::Bug, "module_flags", &["m_show", "seq_read"]);
        for (offset, size, wanted) in [
            (0xa, 0xc8, CrashClass::Target),
            (0x10, 0xc8, CrashClass::Target),
            (0xb5, 0xc0, CrashClass::Target),
            (0xc0, 0xd0, CrashClass::Target),
            (0x60, 0xc8, CrashClass::TargetFunctions),
        ] {
            bug.faulting_offset = Some(offset);
            assert_eq!(
                class(&bug, HEADER, false, Some(size)),
                wanted,
                "{offset:#x}"
            );
        }
        bug.faulting_offset = None;
        assert_eq!(of(&bug), CrashClass::TargetFunctions);
        bug.faulting_offset = Some(0xa);
        assert_eq!(
            class(&bug, "kernel BUG at mm/slub.c:1!", false, Some(0xc8)),
            CrashClass::TargetFunctions
        );
    }

    #[test]
    fn the_instructions_before_the_trap_compare_with_unformed() {
        let mut bug = crash(CrashKind::Bug, "module_flags", &["m_show", "seq_read"]);
        for (code, wanted) in [
            (
                "5d c3 41 89 d2 8b 17 83 fa 03 75 02 <0f> 0b 48",
                CrashClass::Target,
            ),
            ("5d c3 83 3f 03 75 02 <0f> 0b 48", CrashClass::Target),
            (
                "5d c3 41 89 d2 8b 17 83 fa 07 75 02 <0f> 0b 48",
                CrashClass::TargetFunctions,
            ),
            (
                "aa0003e7 b9400000 71000c1f 54000041 (d4210000) ",
                CrashClass::Target,
            ),
            (
                "aa0003e7 b9400000 7100081f 54000041 (d4210000) ",
                CrashClass::TargetFunctions,
            ),
        ] {
            bug.code = Some(code.to_owned());
            assert_eq!(of(&bug), wanted, "{code}");
        }
    }

    #[test]
    fn a_bug_in_m_show_is_in_the_functions_of_the_race_and_no_more() {
        let own = crash(CrashKind::Bug, "m_show", &["m_show", "seq_read"]);
        assert_eq!(of(&own), CrashClass::TargetFunctions);
        let untraced = crash(CrashKind::Bug, "module_flags", &[]);
        assert_eq!(of(&untraced), CrashClass::TargetFunctions);
    }

    #[test]
    fn its_relatives_are_told_apart() {
        let sibling = crash(
            CrashKind::Bug,
            "module_flags",
            &["print_modules", "__show_regs"],
        );
        assert_eq!(of(&sibling), CrashClass::Sibling);
        let loader = crash(
            CrashKind::PageFault,
            "free_module",
            &["__do_sys_delete_module"],
        );
        assert_eq!(of(&loader), CrashClass::ModuleRelated);
        let reader = crash(
            CrashKind::PageFault,
            "module_flags",
            &["m_show", "seq_read"],
        );
        assert_eq!(of(&reader), CrashClass::ModuleRelated);
        let other = crash(CrashKind::Bug, "ext4_iget", &["ext4_lookup"]);
        assert_eq!(of(&other), CrashClass::Unrelated);
    }

    #[test]
    fn a_crash_in_a_modules_init_is_its_own() {
        let mut own = crash(
            CrashKind::NullDereference,
            "p_init",
            &["p_init", "do_one_initcall", "do_init_module"],
        );
        own.call_trace[0].module = Some("p".to_owned());
        assert_eq!(of(&own), CrashClass::Unrelated);
    }
}
