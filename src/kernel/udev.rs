//! systemd's udevd. The kernel tells it of each load and each unload, and it works
//! on both: that takes CPU time from the race. How much, and how it is stopped for
//! the time of a race.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::program;

/// What the kernel calls its process.
const NAME: &str = "systemd-udevd";
/// Its units: the sockets would start it again.
const UNITS: &[&str] = &[
    "systemd-udevd-kernel.socket",
    "systemd-udevd-control.socket",
    "systemd-udevd.service",
];
/// Longest wait for systemd to stop or start it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether it runs on this machine.
pub fn is_running() -> bool {
    cgroup().is_some()
}

/// CPU time that it and its workers have taken since it started, seconds; none
/// where it does not run, or without control groups of version 2.
pub fn cpu_s() -> Option<f64> {
    let path = Path::new("/sys/fs/cgroup")
        .join(cgroup()?.trim_start_matches('/'))
        .join("cpu.stat");
    usage_s(&fs::read_to_string(path).ok()?)
}

/// Stops it.
pub fn stop() -> io::Result<()> {
    systemctl("stop")
}

/// Starts it again, and lets it look at every device: it has missed what came and
/// went.
pub fn start() -> io::Result<()> {
    systemctl("start")?;
    program::run("udevadm", &["trigger"], PATIENCE)
}

/// Waits until it has worked through what it was told. True if it has, within
/// `patience`; what it has not is kept in the kernel's memory meanwhile.
pub fn settle(patience: Duration) -> bool {
    let timeout = format!("--timeout={}", patience.as_secs());
    let longer = patience + Duration::from_secs(5);
    program::run("udevadm", &["settle", &timeout], longer).is_ok()
}

fn systemctl(verb: &str) -> io::Result<()> {
    let words: Vec<&str> = [verb].into_iter().chain(UNITS.iter().copied()).collect();
    program::run("systemctl", &words, PATIENCE)
}

/// Its control group, of version 2.
fn cgroup() -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let udevd = processes.map(|entry| entry.path()).find(|process| {
        let comm = fs::read_to_string(process.join("comm"));
        comm.is_ok_and(|comm| comm.trim_end() == NAME)
    })?;
    let text = fs::read_to_string(udevd.join("cgroup")).ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(group.to_owned())
}

/// `usage_usec` of a `cpu.stat` (Documentation/admin-guide/cgroup-v2.rst).
fn usage_s(stat: &str) -> Option<f64> {
    let usec = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(usec.trim().parse::<u64>().ok()? as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_taken_is_read_from_the_groups_account() {
        let stat = "usage_usec 2500000\nuser_usec 1000000\nsystem_usec 1500000\n";
        assert_eq!(usage_s(stat), Some(2.5));
        assert_eq!(usage_s("nr_periods 0\n"), None);
    }
}
