//! What a kernel has in use: objects of each slab cache, memory of vmalloc and
//! of per-CPU areas. Counted before and after, they show what a module leaves
//! behind. Reads only, but for the caches that it asks the kernel to drop.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Slab caches that grow with whatever is looked up, and are given back when
/// memory is short.
const RECLAIMED: &[&str] = &["dentry", "inode", "radix_tree_node", "buffer_head", "filp"];
/// What `/proc/meminfo` says that a driver can leak, KiB.
const MEMINFO: &[&str] = &["VmallocUsed", "Percpu"];

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Objects of a slab cache.
    Slab(String),
    /// A line of `/proc/meminfo`, KiB.
    Meminfo(&'static str),
}

impl std::fmt::Display for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slab(name) => write!(f, "slab {name}"),
            Self::Meminfo("VmallocUsed") => f.write_str("vmalloc"),
            Self::Meminfo("Percpu") => f.write_str("per-CPU memory"),
            Self::Meminfo(name) => f.write_str(name),
        }
    }
}

/// Counts at one moment.
pub type Usage = BTreeMap<Counter, u64>;

/// What is in use now. A kernel that has no slabinfo, or that keeps what was
/// freed (KASAN's quarantine), gives no counts of slabs.
pub fn now(keeps_freed: bool) -> Usage {
    let mut usage = Usage::new();
    if !keeps_freed {
        let text = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        usage.extend(slabs(&text));
    }
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    usage.extend(meminfo(&text));
    usage
}

/// Asks the kernel to give back what it keeps only for speed. For machines that
/// nobody else uses.
pub fn drop_caches() -> io::Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3")
}

/// Whether freed memory stays counted for long: KASAN keeps it in quarantine.
pub fn keeps_freed() -> bool {
    fs::read_to_string("/proc/kallsyms")
        .is_ok_and(|symbols| symbols.contains(" kasan_quarantine_put"))
}

/// `name <active_objs> …`, behind two lines of headings (slabinfo(5)).
fn slabs(text: &str) -> impl Iterator<Item = (Counter, u64)> {
    text.lines().skip(2).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let active = words.next()?.parse().ok()?;
        let reclaimed = RECLAIMED.iter().any(|part| name.contains(part));
        (!reclaimed).then(|| (Counter::Slab(name.to_owned()), active))
    })
}

fn meminfo(text: &str) -> impl Iterator<Item = (Counter, u64)> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let name = MEMINFO.iter().find(|wanted| **wanted == name)?;
        let kib = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some((Counter::Meminfo(name), kib))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_in_use_are_read_and_what_is_reclaimed_is_left_out() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> <num_objs>\n\
                    kmalloc-128 812 832 128 32 1 : tunables 0 0 0\n\
                    dentry 5000 5100 192 21 1 : tunables 0 0 0\n\
                    proc_inode_cache 90 90 640 12 2 : tunables 0 0 0\n";
        let found: Vec<_> = slabs(text).collect();
        assert_eq!(found, [(Counter::Slab("kmalloc-128".to_owned()), 812)]);
    }

    #[test]
    fn two_lines_of_meminfo_are_read() {
        let text = "MemTotal: 500000 kB\nVmallocUsed:    3208 kB\nPercpu:  1536 kB\n";
        let found: Usage = meminfo(text).collect();
        assert_eq!(found[&Counter::Meminfo("VmallocUsed")], 3208);
        assert_eq!(found[&Counter::Meminfo("Percpu")], 1536);
        assert_eq!(found.len(), 2);
    }
}
