//! What a module leaves behind: counters that grow with each cycle, files that
//! are still there, a module that is going for ever, and what kmemleak finds.
//! For drivers that their authors race; the counts are read in the guest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::kernel::usage::{self, Counter, Usage};
use crate::procfs::modules::{State, state_of};
use crate::race::action::files;

/// Least cycles between two looks: fewer tell growth from noise too badly.
const LEAST_CYCLES: u64 = 20;
/// Growth with each cycle that is a leak, objects. Less than one, since a slab's
/// count lags behind.
const OBJECTS: f64 = 0.9;
/// The same of per-CPU memory, KiB: it is counted in pages of many objects.
const PERCPU_KIB: f64 = 0.03;
/// The same of vmalloc, KiB: most of a page.
const VMALLOC_KIB: f64 = 3.0;
/// Counts of one look, of which the least are kept: a module that happens to be
/// loaded has pages and objects of its own.
const COUNTS: u32 = 8;
/// Longest time of one look; it is over once the module was loaded and unloaded
/// again in between.
const LOOK_TAKES: Duration = Duration::from_millis(400);
/// Names of files left behind that are told.
const NAMED: usize = 5;
/// Time that kmemleak wants between two scans of objects just allocated.
const KMEMLEAK_AGE: Duration = Duration::from_secs(6);
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// Looks at what is in use, from the start of the race to its end.
pub(super) struct LeakWatch {
    before: BTreeSet<PathBuf>,
    keeps_freed: bool,
    /// Whether this machine is a guest that nobody else uses.
    guest: bool,
    looks: Vec<(u64, Usage)>,
}

impl LeakWatch {
    /// Before the module is first loaded.
    pub(super) fn begin(guest: bool) -> Self {
        if guest {
            // What was there before is no leak of this module's.
            let _ = fs::write(KMEMLEAK, "scan").and_then(|()| fs::write(KMEMLEAK, "clear"));
        }
        Self {
            before: files::listing(),
            keeps_freed: usage::keeps_freed(),
            guest,
            looks: Vec::new(),
        }
    }

    /// Looks once more; `cycles` tells how many there were.
    pub(super) fn look(&mut self, cycles: impl Fn() -> u64) {
        if self.guest {
            // Without it, caches are counted that memory pressure would empty.
            let _ = usage::drop_caches();
        }
        let start = cycles();
        let mut least = usage::now(self.keeps_freed);
        for _ in 1..COUNTS {
            if cycles() > start + 1 {
                break;
            }
            thread::sleep(LOOK_TAKES / COUNTS);
            keep_least(&mut least, usage::now(self.keeps_freed));
        }
        self.looks.push((start, least));
    }

    /// What `module` has left, a line each.
    pub(super) fn left(&self, module: &str) -> Vec<String> {
        // On a machine with others on it, counters grow with what they do: systemd
        // and udev hear of each load and unload, and keep it for a while.
        let mut found = if self.guest {
            grown(&self.looks)
        } else {
            Vec::new()
        };
        let modules = fs::read("/proc/modules").unwrap_or_default();
        let going = modules
            .split(|&byte| byte == b'\n')
            .any(|line| state_of(line, module.as_bytes()) == Some(State::Unloading));
        if going {
            found.push(format!("{module} is Unloading for ever"));
        }
        let left: Vec<String> = files::appeared(&self.before, &files::listing())
            .iter()
            .filter(|path| is_named_after(path, module))
            .map(|path| path.display().to_string())
            .collect();
        if !left.is_empty() {
            let more = match left.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = left[..left.len().min(NAMED)].join(", ");
            found.push(format!("left behind after the last unload: {named}{more}"));
        }
        if self.guest {
            found.extend(kmemleak());
        }
        found
    }
}

/// Of two counts, the least of each counter. One that only one of them has is
/// none that is always there.
fn keep_least(least: &mut Usage, now: Usage) {
    least.retain(|counter, _| now.contains_key(counter));
    for (counter, count) in now {
        if let Some(least) = least.get_mut(&counter) {
            *least = count.min(*least);
        }
    }
}

/// Of files that appeared, those that are the module's: named as it is, alone or
/// with more words behind. Others come and go with the race itself: its threads,
/// its debugging.
fn is_named_after(path: &Path, module: &str) -> bool {
    let dashed = module.replace('_', "-");
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        let rest = [module, &dashed].map(|name| part.strip_prefix(name));
        rest.into_iter()
            .flatten()
            .any(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    })
}

/// Counters that grew with each cycle, in the first half and in the second: what
/// only fills up at the beginning is a cache.
fn grown(looks: &[(u64, Usage)]) -> Vec<String> {
    let [(start, first), (middle, second), .., (end, last)] = looks else {
        return Vec::new();
    };
    let halves = [middle.saturating_sub(*start), end.saturating_sub(*middle)];
    if halves.iter().any(|&cycles| cycles < LEAST_CYCLES) {
        return Vec::new();
    }
    let rate = |from: &Usage, to: &Usage, counter: &Counter, cycles: u64| {
        let count = |usage: &Usage| usage.get(counter).copied().unwrap_or(0);
        count(to).saturating_sub(count(from)) as f64 / cycles as f64
    };
    let mut found = Vec::new();
    for counter in last.keys() {
        let (least, unit) = match counter {
            Counter::Slab(_) => (OBJECTS, "objects"),
            Counter::Meminfo("Percpu") => (PERCPU_KIB, "KiB"),
            Counter::Meminfo(_) => (VMALLOC_KIB, "KiB"),
        };
        let rates = [
            rate(first, second, counter, halves[0]),
            rate(second, last, counter, halves[1]),
        ];
        if rates.iter().all(|&rate| rate >= least) {
            let per_cycle = rate(first, last, counter, halves.iter().sum());
            found.push(format!(
                "{counter} grows by {per_cycle:.2} {unit} with each load and unload"
            ));
        }
    }
    found
}

/// What kmemleak finds that nothing points to any more.
fn kmemleak() -> Option<String> {
    for wait in [KMEMLEAK_AGE, Duration::ZERO] {
        fs::write(KMEMLEAK, "scan").ok()?;
        thread::sleep(wait);
    }
    told(&fs::read_to_string(KMEMLEAK).ok()?)
}

/// kmemleak's report in a line: how many, and the first of them.
fn told(report: &str) -> Option<String> {
    let objects = report.matches("unreferenced object").count();
    let first = report.lines().next().filter(|_| objects > 0)?;
    let frames = report
        .lines()
        .skip_while(|line| !line.contains("backtrace"));
    let caller = frames
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        // Behind the allocator's own functions.
        .filter_map(|line| line.split_whitespace().find(|word| word.contains("+0x")))
        .find(|frame| {
            !["kmalloc", "kmem_cache", "slab", "kzalloc"]
                .iter()
                .any(|part| frame.contains(part))
        })
        .unwrap_or("an unknown function");
    Some(format!(
        "kmemleak: {objects} objects that nothing points to; {}, allocated by {caller}",
        first.trim_end_matches(':')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(cycles: u64, slab: u64, vmalloc: u64) -> (u64, Usage) {
        let usage = [
            (Counter::Slab("kmalloc-64".to_owned()), slab),
            (Counter::Meminfo("VmallocUsed"), vmalloc),
        ];
        (cycles, usage.into_iter().collect())
    }

    #[test]
    fn what_grows_in_both_halves_is_a_leak_and_is_named() {
        let looks = [
            look(100, 500, 300),
            look(200, 601, 300),
            look(400, 800, 304),
        ];
        let found = grown(&looks);
        assert_eq!(
            found,
            ["slab kmalloc-64 grows by 1.00 objects with each load and unload"]
        );
    }

    #[test]
    fn a_cache_that_fills_up_is_none() {
        let looks = [look(0, 0, 0), look(100, 900, 900), look(200, 905, 910)];
        assert!(grown(&looks).is_empty());
    }

    #[test]
    fn a_loaded_module_is_not_counted() {
        let (_, mut least) = look(0, 500, 300);
        keep_least(&mut least, look(0, 480, 348).1);
        assert_eq!(least, look(0, 480, 300).1);
        // A cache of the module's own is gone in between.
        keep_least(&mut least, [(Counter::Meminfo("VmallocUsed"), 310)].into());
        assert_eq!(least.len(), 1);
    }

    #[test]
    fn too_few_cycles_show_nothing() {
        let looks = [look(0, 0, 0), look(19, 19, 0), look(40, 40, 0)];
        assert!(grown(&looks).is_empty());
        assert!(grown(&looks[..1]).is_empty());
    }

    #[test]
    fn a_leftover_is_the_modules_by_its_name() {
        assert!(is_named_after(Path::new("/proc/my_drv/x"), "my_drv"));
        assert!(is_named_after(Path::new("/dev/my-drv"), "my_drv"));
        assert!(is_named_after(
            Path::new("/sys/class/my_drv-left"),
            "my_drv"
        ));
        assert!(!is_named_after(Path::new("/proc/my_drv2"), "my_drv"));
    }

    #[test]
    fn kmemleaks_report_is_told_in_a_line() {
        let report = "unreferenced object 0xffff888003c1a000 (size 64):\n\
                      \x20 comm \"loader/0\", pid 40, jiffies 4294895\n\
                      \x20 hex dump (first 32 bytes):\n    00 00\n\
                      \x20 backtrace:\n\
                      \x20   [<0000000011f4ba01>] kmalloc_trace+0x22/0x60\n\
                      \x20   [<00000000d7f2ba01>] leak_init+0x1d/0x1000 [leaky]\n";
        let text = told(report).unwrap();
        assert!(
            text.contains("1 objects") && text.contains("leak_init"),
            "{text}"
        );
        assert!(told("").is_none());
    }
}
