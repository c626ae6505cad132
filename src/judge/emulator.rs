//! Reports that are most likely QEMU's, not the kernel's.

use crate::model::{Accel, Crash};

/// Why a report is most likely the emulator's, if it is: an `int3` trap in the
/// kernel's own text under TCG. The kernel patches itself through breakpoints
/// (`text_poke_bp()`, arch/x86/kernel/alternative.c), and TCG can run a stale
/// translation of one that is gone already. Freed module text is filled with
/// `int3` too (since 6.19): there it is a real crash.
pub(super) fn fault(crash: &Crash, accel: Accel) -> Option<String> {
    if accel != Accel::Tcg || !crash.matched_line().contains("int3: ") {
        return None;
    }
    let function = crash.faulting_function.as_deref()?;
    let rip = crash.excerpt.iter().find(|line| line.contains("RIP: "))?;
    let in_kernel = rip.contains(function) && !rip.trim_end().ends_with(']');
    in_kernel.then(|| {
        format!(
            "int3 trap in {function} under TCG: most likely the emulator's, which ran a stale \
             translation of code that the kernel had patched; on KVM or hardware it would be \
             the kernel's"
        )
    })
}
