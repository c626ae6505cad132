//! Looks for tasks of ours that the kernel does not let go on, and says so in
//! the kernel's log, with their stacks: the log outlives the guest, and reaches
//! whoever watches. It judges nothing.
//!
//! A task is blocked when it was in uninterruptible sleep at every look for long
//! enough and its count of context switches stood still: it was not woken in
//! between. A task that waits for a CPU on a loaded host is not among them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::getpgrp;

use crate::recorder::{Phase, Recorder};
use crate::vm::protocol::BLOCKED_MARK;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A look that comes later than this says that nobody was scheduled, not that
/// one task was blocked.
const LATE: Duration = Duration::from_secs(2);
/// Without progress for so long, tasks are looked at. Until then the race is not
/// disturbed.
const NO_PROGRESS: Duration = Duration::from_secs(1);
/// Most tasks told of, and most frames of each.
const MOST: usize = 8;
/// `PF_KTHREAD`, include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// In the set-up nobody knows yet how long this module takes: so many times as
/// long. In the race, so many times the longest call of the set-up.
const UNKNOWN: u32 = 4;

/// Where and how long to look.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// How long a task must have been blocked in the race.
    pub(super) blocked: Duration,
    /// The longest load or unload of the set-up, ms: a module that sleeps for
    /// long is not stuck.
    pub(super) longest_ms: Arc<AtomicU64>,
    /// Whether the kernel may be asked for all blocked tasks (sysrq-w), where
    /// it does not show a task's stack: the log is ours alone.
    pub(super) sysrq: bool,
}

impl Limits {
    /// How long a task must have been blocked in this phase.
    fn long(&self, phase: Phase) -> Duration {
        let longest = Duration::from_millis(self.longest_ms.load(Ordering::Relaxed));
        match phase {
            Phase::Boot | Phase::Setup => UNKNOWN * self.blocked,
            _ => self.blocked.max(UNKNOWN * longest),
        }
    }
}

/// Looks for as long as the process lives.
pub(super) fn watch(recorder: &'static Recorder, limits: Limits) {
    let watcher = move || {
        let mut progress = Progress::new(recorder);
        let mut tasks = Tasks::default();
        loop {
            thread::sleep(LOOK);
            let now = Instant::now();
            if !progress.stands_still(recorder, now) {
                tasks = Tasks::default();
                continue;
            }
            let long = limits.long(recorder.snapshot().phase);
            let blocked = tasks.look(&asleep(Path::new("/proc")), now, long);
            if !blocked.is_empty() {
                tell(&blocked, long, limits.sysrq);
                return;
            }
        }
    };
    // Without it a hang is found later, by the host.
    let _ = thread::Builder::new()
        .name("blocked".to_owned())
        .spawn(watcher);
}

/// Whether some worker stands still.
struct Progress {
    /// Each worker's counts, and since when they stand.
    slots: Vec<(u64, Instant)>,
    start: Instant,
}

impl Progress {
    fn new(recorder: &Recorder) -> Self {
        let start = Instant::now();
        let slots = recorder.slots.iter().map(|_| (0, start)).collect();
        Self { slots, start }
    }

    fn stands_still(&mut self, recorder: &Recorder, now: Instant) -> bool {
        let seen = recorder.snapshot();
        for (known, slot) in self.slots.iter_mut().zip(&recorder.slots) {
            let count = slot.progress();
            if count != known.0 {
                *known = (count, now);
            }
        }
        match seen.phase {
            // The module is tried, workers warm up: nobody counts yet.
            Phase::Boot | Phase::Setup => now - self.start > NO_PROGRESS,
            Phase::Race | Phase::Settle => self
                .slots
                .iter()
                .take(seen.stages.len())
                .any(|(_, since)| now - *since > NO_PROGRESS),
            Phase::Done => false,
        }
    }
}

/// A task in uninterruptible sleep.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asleep {
    folder: PathBuf,
    name: String,
    switches: u64,
}

/// Tasks that were asleep at every look so far, with their count of context
/// switches and the first look.
#[derive(Debug, Default)]
struct Tasks {
    since: HashMap<PathBuf, (u64, Instant)>,
    last: Option<Instant>,
}

impl Tasks {
    /// Takes a look; returns the tasks that have been blocked for long enough.
    fn look(&mut self, asleep: &[Asleep], now: Instant, long: Duration) -> Vec<Asleep> {
        if self.last.is_some_and(|last| now - last > LATE) {
            self.since.clear();
        }
        self.last = Some(now);
        let since = asleep.iter().map(|task| {
            let known = self.since.get(&task.folder);
            let same = known.filter(|(switches, _)| *switches == task.switches);
            let first = same.map_or(now, |(_, first)| *first);
            (task.folder.clone(), (task.switches, first))
        });
        self.since = since.collect();
        let blocked = |task: &&Asleep| now - self.since[&task.folder].1 >= long;
        asleep.iter().filter(blocked).cloned().collect()
    }
}

/// Our process group's tasks that are in uninterruptible sleep now: workers, and
/// the programs that they started.
fn asleep(proc: &Path) -> Vec<Asleep> {
    let group = i64::from(getpgrp().as_raw());
    let is_number = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = |folder: &Path| {
        let found = fs::read_dir(folder).into_iter().flatten().flatten();
        found
            .map(|entry| entry.path())
            .filter(|path| is_number(path))
    };
    entries(proc)
        .filter(|process| {
            let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
            Stat::parse(&stat).is_some_and(|stat| stat.group == group && !stat.is_kernels)
        })
        .flat_map(|process| entries(&process.join("task")).collect::<Vec<_>>())
        .filter_map(|folder| {
            let stat = fs::read_to_string(folder.join("stat")).ok()?;
            let stat = Stat::parse(&stat)?;
            let status = fs::read_to_string(folder.join("status")).ok()?;
            (stat.state == 'D').then(|| Asleep {
                name: stat.name.to_owned(),
                switches: switches(&status),
                folder,
            })
        })
        .collect()
}

/// What `/proc/PID/stat` says, as far as it is needed (`proc_pid_stat(5)`).
struct Stat<'a> {
    name: &'a str,
    state: char,
    group: i64,
    is_kernels: bool,
}

impl<'a> Stat<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        // A name may hold blanks and parentheses.
        let (head, rest) = text.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            name,
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            is_kernels: fields.get(6)?.parse::<u64>().ok()? & KERNEL_THREAD != 0,
        })
    }
}

/// Context switches of a task, of both kinds, from `/proc/PID/status`.
fn switches(status: &str) -> u64 {
    let counts = status.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        let known = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
        known
            .contains(&name)
            .then(|| count.trim().parse::<u64>().ok())?
    });
    counts.sum()
}

/// Writes what is known of the tasks to the kernel's log.
fn tell(blocked: &[Asleep], long: Duration, sysrq: bool) {
    let mut shown = true;
    for task in blocked.iter().take(MOST) {
        let wchan = fs::read_to_string(task.folder.join("wchan")).unwrap_or_default();
        let stack = fs::read_to_string(task.folder.join("stack")).unwrap_or_default();
        shown &= !stack.is_empty();
        log(&sentence(&task.name, long, &wchan, &stack));
    }
    if sysrq && !shown {
        // Without CONFIG_STACKTRACE only the kernel itself can show them.
        let _ = fs::write("/proc/sysrq-trigger", "w");
    }
}

fn log(text: &str) {
    // Where it cannot be written, the host finds the hang by itself, later.
    let _ = fs::write("/dev/kmsg", format!("<3>{BLOCKED_MARK}{text}\n"));
}

/// What is known of one task, in a line.
fn sentence(name: &str, long: Duration, wchan: &str, stack: &str) -> String {
    let frames: Vec<&str> = stack
        .lines()
        .filter_map(|line| line.split_once("] ").map(|(_, frame)| frame.trim()))
        .take(MOST)
        .collect();
    let place = match (wchan.trim(), &frames[..]) {
        ("" | "0", []) => "in the kernel".to_owned(),
        (wchan, []) => format!("in {wchan}"),
        (_, frames) => format!("in {}", frames.join(" < ")),
    };
    format!("{name} for {} s {place}", long.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(switches: u64) -> Asleep {
        Asleep {
            folder: "/proc/1/task/44".into(),
            name: "loader/0".to_owned(),
            switches,
        }
    }

    #[test]
    fn a_task_is_blocked_only_if_it_never_ran_between_looks() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let long = Duration::from_secs(3);
        let looks = |switches: [u64; 5]| {
            let mut tasks = Tasks::default();
            let mut found = 0;
            for (second, switches) in (0..).zip(switches) {
                found = tasks.look(&[task(switches)], at(second), long).len();
            }
            found
        };
        assert_eq!(looks([7, 7, 7, 7, 7]), 1);
        assert_eq!(looks([7, 7, 8, 8, 8]), 0, "it ran in between");
        // A look that comes late proves nothing of the time before it.
        let mut tasks = Tasks::default();
        tasks.look(&[task(7)], at(0), long);
        assert!(tasks.look(&[task(7)], at(10), long).is_empty());
        // One that is gone in between begins anew.
        let mut tasks = Tasks::default();
        tasks.look(&[task(7)], at(0), long);
        tasks.look(&[], at(1), long);
        tasks.look(&[task(7)], at(2), long);
        assert!(tasks.look(&[task(7)], at(3), long).is_empty());
    }

    #[test]
    fn a_module_that_takes_long_is_given_longer() {
        let limits = Limits {
            blocked: Duration::from_secs(5),
            longest_ms: Arc::new(AtomicU64::new(100)),
            sysrq: false,
        };
        assert_eq!(limits.long(Phase::Setup), Duration::from_secs(20));
        assert_eq!(limits.long(Phase::Race), Duration::from_secs(5));
        limits.longest_ms.store(10_000, Ordering::Relaxed);
        assert_eq!(limits.long(Phase::Race), Duration::from_secs(40));
    }

    #[test]
    fn what_proc_says_of_a_task_is_read_whatever_its_name() {
        let text = "66 (a) (b) D 1 5 1 0 -1 4194560 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.name, stat.state, stat.group), ("a) (b", 'D', 5));
        assert!(!stat.is_kernels);
        let kernels = Stat::parse("2 (kthreadd) S 0 0 0 0 -1 2129984 0").unwrap();
        assert!(kernels.is_kernels);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!(switches(status), 7);
    }

    #[test]
    fn a_stack_is_told_if_there_is_one_else_the_place() {
        let long = Duration::from_secs(6);
        let stack = "[<0>] m_start+0x1/0x2\n[<0>] seq_read_iter+0x1/0x2\n";
        assert_eq!(
            sentence("reader/1", long, "m_start", stack),
            "reader/1 for 6 s in m_start+0x1/0x2 < seq_read_iter+0x1/0x2"
        );
        assert_eq!(
            sentence("reader/1", long, "m_start", ""),
            "reader/1 for 6 s in m_start"
        );
        assert_eq!(
            sentence("reader/1", long, "0", ""),
            "reader/1 for 6 s in the kernel"
        );
    }

    #[test]
    fn this_process_has_no_blocked_tasks() {
        let mut tasks = Tasks::default();
        let asleep = asleep(Path::new("/proc"));
        assert!(tasks.look(&asleep, Instant::now(), LOOK).is_empty());
    }
}
