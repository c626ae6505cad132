//! The addresses of a kernel that the instrument works with, and their place on
//! its page.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::MachineError;
use crate::decode::instructions::{TaskSwitch, decode, task_switch};
use crate::decode::symbols::Symbols;
use crate::interleave::arch::{Arch, WaitKind};
use crate::interleave::sides::{SideRow, SidesRow};
use crate::vm::instrument::page::{Page, RANGES, kind};

/// Longest stop of a side; the host lets go long before.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The addresses of a kernel that the instrument works with.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The kernel's symbols.
    pub symbols: Symbols,
    /// The functions of each side with their addresses.
    pub functions: [Vec<Function>; 2],
    /// Where each side's call begins.
    pub begins: [Vec<u64>; 2],
    /// How tasks are exchanged.
    pub switch: TaskSwitch,
    /// The kernel's top page table.
    pub(super) page_table: u64,
    /// The owner's word of the lock that readers hold, where it has a symbol.
    pub lock: Option<u64>,
    /// What is watched besides.
    watched: Vec<Watched>,
}

/// A function in which a side is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub range: std::ops::Range<u64>,
}

impl Layout {
    /// Finds a race's sides among a kernel's symbols. `switch` is the code of
    /// the function that exchanges tasks.
    pub fn find(
        arch: &Arch,
        row: &SidesRow,
        symbols: Symbols,
        switch: TaskSwitch,
    ) -> Result<Self, MachineError> {
        let near = symbols.address(row.near);
        let functions = |side: &SideRow| -> Result<Vec<Function>, MachineError> {
            let mut found: Vec<Function> = side
                .functions
                .iter()
                .flat_map(|name| symbols.parts(name, near))
                .map(|(name, range)| Function { name, range })
                .collect();
            found.sort_by_key(|function| function.range.start);
            found.dedup_by_key(|function| function.range.start);
            if found.is_empty() {
                return Err(MachineError::NoSymbol(side.functions.join(" or ")));
            }
            Ok(found)
        };
        let begins = |side: &SideRow| -> Result<Vec<u64>, MachineError> {
            let first = side.begins.iter().find_map(|name| symbols.address(name));
            first
                .map(|address| vec![address])
                .ok_or_else(|| MachineError::NoSymbol(side.begins.join(" or ")))
        };
        let page_table = page_table(arch, &symbols)?;
        Ok(Self {
            functions: [functions(&row.loader)?, functions(&row.reader)?],
            begins: [begins(&row.loader)?, begins(&row.reader)?],
            switch,
            page_table,
            lock: symbols.address(row.lock),
            watched: Vec::new(),
            symbols,
        })
    }

    /// The function of a side that an address lies in.
    pub fn function(&self, side: usize, address: u64) -> Option<&Function> {
        self.functions[side]
            .iter()
            .find(|function| function.range.contains(&address))
    }

    /// Without sides' functions: each side's call begins at one of these system
    /// calls, and what is watched is said by `watched`.
    pub fn of_calls(
        arch: &Arch,
        symbols: Symbols,
        switch: TaskSwitch,
        system_calls: [&[&str]; 2],
        watched: Vec<Watched>,
    ) -> Result<Self, MachineError> {
        let begins = |names: &[&str]| -> Result<Vec<u64>, MachineError> {
            let entry = |name: &&str| {
                let mut known = arch.system_call.iter();
                known.find_map(|prefix| symbols.address(&format!("{prefix}{name}")))
            };
            let found: Vec<u64> = names.iter().filter_map(entry).collect();
            if found.is_empty() {
                return Err(MachineError::NoSymbol(names.join(" or ")));
            }
            Ok(found)
        };
        Ok(Self {
            functions: [Vec::new(), Vec::new()],
            begins: [begins(system_calls[0])?, begins(system_calls[1])?],
            switch,
            page_table: page_table(arch, &symbols)?,
            lock: None,
            watched,
            symbols,
        })
    }

    /// What the plugin watches: sorted, not overlapping.
    fn ranges(&self, arch: &Arch) -> Vec<Watched> {
        let of_sides = self.functions.iter().flatten().map(|function| {
            let range = &function.range;
            (range.start, range.end, kind::RUN | kind::TOUCH)
        });
        let mut all: Vec<Watched> = of_sides.chain(self.watched.iter().copied()).collect();
        for row in arch.waiting.iter().filter(|row| row.kind == WaitKind::Lock) {
            let kinds = kind::LOCK | if row.entry { kind::ENTRY } else { 0 };
            all.extend(
                self.symbols
                    .beginning(row.prefix)
                    .filter(|(_, range)| range.start >= arch.kernel_from)
                    .map(|(_, range)| (range.start, range.end, kinds)),
            );
        }
        flatten(&all)
    }
}

/// A range of addresses, first and the one after the last, with bits of
/// [`kind`].
pub type Watched = (u64, u64, u64);

/// Kinds that hold for the first address of a range alone.
const AT_FIRST: u64 = kind::ENTRY | kind::INTERRUPT | kind::RESUME;

/// Ranges that may overlap, as ranges that do not: each with all kinds of those
/// that it lies in.
fn flatten(all: &[Watched]) -> Vec<Watched> {
    let mut edges: Vec<(u64, bool, u64)> = all
        .iter()
        .flat_map(|&(first, end, kinds)| [(first, true, kinds), (end, false, kinds)])
        .collect();
    edges.sort_unstable_by_key(|&(at, ..)| at);
    // How many open ranges have each kind.
    let mut open = [0_u32; 64];
    let mut flat: Vec<Watched> = Vec::new();
    let mut at = 0;
    while at < edges.len() {
        let here = edges[at].0;
        let mut first_only = 0;
        while let Some(&(_, begins, kinds)) = edges.get(at).filter(|(edge, ..)| *edge == here) {
            if begins {
                first_only |= kinds & AT_FIRST;
            }
            for bit in (0..64).filter(|bit| kinds & !AT_FIRST & 1 << bit != 0) {
                let count = &mut open[bit];
                *count = if begins {
                    *count + 1
                } else {
                    count.saturating_sub(1)
                };
            }
            at += 1;
        }
        let kinds = (0..64)
            .filter(|&bit| open[bit] > 0)
            .fold(first_only, |kinds, bit| kinds | 1 << bit);
        let end = edges.get(at).map_or(here, |(edge, ..)| *edge);
        if kinds == 0 || end == here {
            continue;
        }
        match flat.last_mut() {
            // Nothing begins here that was not so before.
            Some(last) if last.1 == here && first_only == 0 && last.2 & !AT_FIRST == kinds => {
                last.1 = end;
            }
            _ => flat.push((here, end, kinds)),
        }
    }
    flat.truncate(RANGES);
    flat
}

pub(super) fn page_table(arch: &Arch, symbols: &Symbols) -> Result<u64, MachineError> {
    arch.page_table
        .iter()
        .find_map(|name| symbols.address(name))
        .ok_or_else(|| MachineError::NoSymbol(arch.page_table.join(" or ")))
}

/// How a kernel exchanges tasks, from the code of its function for it.
pub fn switch_in(arch: &Arch, bytes: &[u8], at: u64) -> Result<TaskSwitch, MachineError> {
    task_switch(&decode(bytes, at)).ok_or(MachineError::Switch(arch.switch))
}

/// Says what is to be watched; without a layout, nothing.
pub(super) fn configure(page: &Page, arch: &Arch, layout: Option<&Layout>) {
    page.kernel_from.store(u64::MAX, Ordering::Relaxed);
    let Some(layout) = layout else { return };
    let limit = u64::try_from(STOP_LIMIT.as_nanos()).unwrap_or(u64::MAX);
    page.limit_ns.store(limit, Ordering::Relaxed);
    page.kernel_from.store(arch.kernel_from, Ordering::Relaxed);
    page.switch_out.store(layout.switch.out, Ordering::Relaxed);
    page.switch_in.store(layout.switch.come, Ordering::Relaxed);
    for (side, begins) in page.sides.iter().zip(&layout.begins) {
        for (word, begin) in side.begins.iter().zip(begins) {
            word.store(*begin, Ordering::Relaxed);
        }
    }
    let ranges = layout.ranges(arch);
    for (word, (first, end, kinds)) in page.ranges.iter().zip(&ranges) {
        word.first.store(*first, Ordering::Relaxed);
        word.end.store(*end, Ordering::Relaxed);
        word.kind.store(*kinds, Ordering::Relaxed);
    }
    page.ranges_used
        .store(ranges.len() as u64, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_become_ranges_that_do_not() {
        let text = (10, 100, kind::RUN);
        let lock = (20, 30, kind::LOCK | kind::ENTRY);
        let next = (30, 40, kind::LOCK);
        let point = (25, 26, kind::TOUCH);
        assert_eq!(
            flatten(&[text, lock, next, point]),
            [
                (10, 20, kind::RUN),
                (20, 25, kind::RUN | kind::LOCK | kind::ENTRY),
                (25, 26, kind::RUN | kind::LOCK | kind::TOUCH),
                (26, 40, kind::RUN | kind::LOCK),
                (40, 100, kind::RUN),
            ]
        );
    }

    #[test]
    fn two_entries_in_a_row_stay_two() {
        let one = (10, 20, kind::LOCK | kind::ENTRY);
        let other = (20, 30, kind::LOCK | kind::ENTRY);
        assert_eq!(flatten(&[other, one]), [one, other]);
        assert_eq!(flatten(&[]), []);
    }
}
