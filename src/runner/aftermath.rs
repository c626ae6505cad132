//! The time after a race: what the kernel put off is done, and it can complain.

use std::thread;
use std::time::Duration;

use crate::kernel::rcu;

/// Time left to the kernel, after the race, to complain, where it cannot be
/// told when what it put off is done.
const AFTERMATH: Duration = Duration::from_millis(300);
/// Grace periods after which what an unload has put off is done: what it frees
/// waits for one (`do_free_init()`, `kfree_rcu()`), and what is queued by that
/// for another.
const GRACE_PERIODS: u32 = 2;
/// Time in which what was freed is looked at by whoever runs next.
const LOOK: Duration = Duration::from_millis(20);

/// Lets the kernel do what it put off in the race, and complain of it.
pub(super) fn aftermath() {
    let waited = (0..GRACE_PERIODS).try_for_each(|_| rcu::wait_for_grace_period());
    thread::sleep(match waited {
        Ok(()) => LOOK,
        Err(_) => AFTERMATH,
    });
}
