//! The kernel's monotonic clock, and waiting on it with the precision that a
//! race needs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`, ns since boot.
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Keeps the CPU busy for `ns` nanoseconds.
pub fn spin_ns(ns: u64) {
    let end = monotonic_ns() + ns;
    while monotonic_ns() < end {
        std::hint::spin_loop();
    }
}

/// Sleeps until the monotonic clock shows `at_ns`.
pub fn sleep_until(at_ns: u64) {
    let ns = at_ns.saturating_sub(monotonic_ns());
    if ns > 0 {
        std::thread::sleep(Duration::from_nanos(ns));
    }
}
