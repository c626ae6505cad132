//! Which CPUs this process may use, and pinning a thread to one of them.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs that the calling thread may run on: what cgroups, `taskset` and
/// hotplug leave of them.
pub fn allowed_cpus() -> Result<Vec<usize>, Errno> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

/// Pins the calling thread to one CPU.
pub fn pin_to(cpu: usize) -> Result<(), Errno> {
    pin_thread(0, cpu)
}

/// Pins thread `tid` (0: the caller) to one CPU.
pub fn pin_thread(tid: i32, cpu: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(tid), &set)
}

/// Keeps the calling thread, and those that it starts, to these CPUs.
pub fn restrict_to(cpus: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}
