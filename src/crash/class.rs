//! Tells the race that modrace provokes from its relatives. Goes by functions
//! and call traces, never by a line number: that differs from kernel to
//! kernel.

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

/// How the crash relates to the race. `in_module`: whether the instruction
/// pointer was in a module's own code.
pub(super) fn class(crash: &Crash, in_module: bool) -> CrashClass {
    let names: Vec<&str> = crash
        .call_trace
        .iter()
        .map(|frame| plain(&frame.function))
        .collect();
    let faulting = crash.faulting_function.as_deref().map(plain);
    let guilty = crash.function.as_deref();
    // BUG_ON() in an inlined module_flags() points into its caller.
    let at = |name: &str| faulting == Some(name) || (faulting.is_none() && guilty == Some(name));
    let in_flags = at("module_flags");
    if crash.kind == CrashKind::Bug {
        let read = names.iter().any(|name| READERS.contains(name));
        if at("print_modules") || (in_flags && names.contains(&"print_modules")) {
            return CrashClass::Sibling;
        }
        if (in_flags || at("m_show")) && read {
            return CrashClass::Target;
        }
        // A trace that the log lost: nothing else calls it in a process that
        // reads.
        if in_flags && names.is_empty() {
            return CrashClass::Target;
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

    fn crash(kind: CrashKind, faulting: &str, trace: &[&str]) -> Crash {
        Crash {
            kind,
            faulting_function: Some(faulting.to_owned()),
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

    #[test]
    fn the_target_may_come_by_read_or_by_splice() {
        let read = crash(
            CrashKind::Bug,
            "module_flags",
            &["m_show", "seq_read", "vfs_read"],
        );
        assert_eq!(class(&read, false), CrashClass::Target);
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
        assert_eq!(class(&splice, false), CrashClass::Target);
    }

    #[test]
    fn its_relatives_are_told_apart() {
        let sibling = crash(
            CrashKind::Bug,
            "module_flags",
            &["print_modules", "__show_regs"],
        );
        assert_eq!(class(&sibling, false), CrashClass::Sibling);
        let loader = crash(
            CrashKind::PageFault,
            "free_module",
            &["__do_sys_delete_module"],
        );
        assert_eq!(class(&loader, false), CrashClass::ModuleRelated);
        let reader = crash(
            CrashKind::PageFault,
            "module_flags",
            &["m_show", "seq_read"],
        );
        assert_eq!(class(&reader, false), CrashClass::ModuleRelated);
        let other = crash(CrashKind::Bug, "ext4_iget", &["ext4_lookup"]);
        assert_eq!(class(&other, false), CrashClass::Unrelated);
    }

    #[test]
    fn a_crash_in_a_modules_init_is_its_own() {
        let mut own = crash(
            CrashKind::NullDereference,
            "p_init",
            &["p_init", "do_one_initcall", "do_init_module"],
        );
        own.call_trace[0].module = Some("p".to_owned());
        assert_eq!(class(&own, false), CrashClass::Unrelated);
    }
}
