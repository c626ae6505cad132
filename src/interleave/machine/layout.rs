//! The addresses of a kernel that the instrument works with, and their place on
//! its page.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::MachineError;
use crate::interleave::arch::{Arch, WaitKind};
use crate::interleave::decode::{TaskSwitch, decode, task_switch};
use crate::interleave::sides::{SideRow, SidesRow};
use crate::interleave::symbols::Symbols;
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
            symbols,
        })
    }

    /// The function of a side that an address lies in.
    pub fn function(&self, side: usize, address: u64) -> Option<&Function> {
        self.functions[side]
            .iter()
            .find(|function| function.range.contains(&address))
    }

    /// What the plugin watches: sorted, not overlapping.
    fn ranges(&self, arch: &Arch) -> Vec<(u64, u64, u64)> {
        let mut all: Vec<(u64, u64, u64)> = self
            .functions
            .iter()
            .flatten()
            .map(|function| {
                let range = &function.range;
                (range.start, range.end, kind::RUN | kind::TOUCH)
            })
            .collect();
        for row in arch.waiting.iter().filter(|row| row.kind == WaitKind::Lock) {
            let kinds = kind::LOCK | if row.entry { kind::ENTRY } else { 0 };
            all.extend(
                self.symbols
                    .beginning(row.prefix)
                    .filter(|(_, range)| range.start >= arch.kernel_from)
                    .map(|(_, range)| (range.start, range.end, kinds)),
            );
        }
        all.sort_unstable();
        all.dedup_by_key(|(start, ..)| *start);
        all.truncate(RANGES);
        all
    }
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
