//! RCU, as far as user space can wait for it.

use std::io;

use super::sys;

/// Waits until an RCU grace period is over: `membarrier(2)` with
/// `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu()` (kernel/sched/membarrier.c).
/// Linux 4.3 and later, without `nohz_full`.
pub fn wait_for_grace_period() -> io::Result<()> {
    sys::membarrier_global()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_grace_period_ends() {
        // A kernel without the call says so.
        if let Err(error) = super::wait_for_grace_period() {
            let errno = error.raw_os_error();
            let refused = [nix::libc::ENOSYS, nix::libc::EINVAL, nix::libc::EPERM];
            assert!(
                errno.is_some_and(|errno| refused.contains(&errno)),
                "{error}"
            );
        }
    }
}
