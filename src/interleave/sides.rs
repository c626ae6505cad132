//! The two sides of each race whose interleavings can be forced: what unloads,
//! what reads. A race is added by one row.

/// One side: a call, and the functions in it that the race is lost in.
#[derive(Debug)]
pub struct SideRow {
    /// Functions at which the call enters the kernel, by the names that kernels
    /// have had for it.
    pub begins: &'static [&'static str],
    /// The functions in which the side is stopped.
    pub functions: &'static [&'static str],
}

/// A race whose sides are known.
#[derive(Debug)]
pub struct SidesRow {
    /// The race.
    pub name: &'static str,
    /// Side 0: unloads.
    pub loader: SideRow,
    /// Side 1: reads.
    pub reader: SideRow,
    /// Of functions that share a name the one nearest to this one is meant.
    pub near: &'static str,
    /// The lock that the readers hold.
    pub lock: &'static str,
    /// Offset of the module's state in `struct module`: its first field since
    /// 2.5.48.
    pub state_offset: i64,
    /// Bytes of it: an enum.
    pub state_bytes: usize,
}

/// Every race whose sides are known.
pub const SIDES: &[SidesRow] = &[SidesRow {
    name: "proc-modules-unformed",
    loader: SideRow {
        begins: &[
            "__x64_sys_delete_module",
            "__se_sys_delete_module",
            "SyS_delete_module",
            "sys_delete_module",
        ],
        functions: &[
            "__x64_sys_delete_module",
            "__se_sys_delete_module",
            "__do_sys_delete_module",
            "SyS_delete_module",
            "sys_delete_module",
            "free_module",
        ],
    },
    reader: SideRow {
        begins: &[
            "__x64_sys_pread64",
            "__se_sys_pread64",
            "SyS_pread64",
            "sys_pread64",
        ],
        functions: &["m_show", "module_flags"],
    },
    near: "free_module",
    lock: "module_mutex",
    state_offset: 0,
    state_bytes: 4,
}];

/// `enum module_state` of include/linux/module.h.
pub const STATES: [&str; 4] = ["LIVE", "COMING", "GOING", "UNFORMED"];
