//! Names of the kernel's addresses: from vmlinux, System.map or the text of
//! /proc/kallsyms. Pure but for reading a file.

use std::collections::HashMap;
use std::ops::Range;

use object::{Object, ObjectSymbol, SymbolKind};

/// The kernel's symbols, sorted by address.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    sorted: Vec<(u64, String)>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Symbols {
    /// From the symbol table of vmlinux.
    pub fn of_elf(bytes: &[u8]) -> Result<Self, object::Error> {
        let elf = object::File::parse(bytes)?;
        let all = elf.symbols().filter(|symbol| {
            symbol.is_definition()
                && !matches!(symbol.kind(), SymbolKind::File | SymbolKind::Section)
        });
        Ok(Self::new(all.filter_map(|symbol| {
            Some((symbol.address(), symbol.name().ok()?.to_owned()))
        })))
    }

    /// From lines `ADDRESS TYPE NAME`, as System.map and /proc/kallsyms have
    /// them; symbols of modules, which name theirs, are left out.
    pub fn of_text(text: &str) -> Self {
        Self::new(text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            let name = words.next()?;
            // Absolute symbols of per-CPU data lie at small offsets.
            (words.next().is_none() && kind != "A" && address != 0)
                .then(|| (address, name.to_owned()))
        }))
    }

    /// Those of a module, from lines of /proc/kallsyms.
    pub fn of_module(text: &str, module: &str) -> Self {
        let named = format!("[{module}]");
        Self::new(text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let name = words.nth(1)?;
            (words.next() == Some(named.as_str())).then(|| (address, name.to_owned()))
        }))
    }

    /// Every symbol with the addresses up to the next one.
    pub fn all(&self) -> impl Iterator<Item = (&str, Range<u64>)> {
        self.beginning("")
    }

    fn new(symbols: impl Iterator<Item = (u64, String)>) -> Self {
        let mut sorted: Vec<(u64, String)> = symbols
            .filter(|(_, name)| !name.is_empty() && !name.starts_with(['$', '.']))
            .collect();
        sorted.sort();
        sorted.dedup();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, (_, name)) in sorted.iter().enumerate() {
            by_name.entry(name.clone()).or_default().push(index);
        }
        Self { sorted, by_name }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The address of the first symbol of a name.
    pub fn address(&self, name: &str) -> Option<u64> {
        let index = *self.by_name.get(name)?.first()?;
        Some(self.sorted[index].0)
    }

    /// The function of that name that lies nearest to `near`: static functions
    /// of one name are told apart by their file's other functions.
    pub fn function(&self, name: &str, near: Option<u64>) -> Option<Range<u64>> {
        let indices = self.by_name.get(name)?;
        let index = match near {
            Some(near) => *indices
                .iter()
                .min_by_key(|&&index| self.sorted[index].0.abs_diff(near))?,
            None => *indices.first()?,
        };
        Some(self.extent(index))
    }

    /// A function and the parts that a compiler split from it (`.cold`,
    /// `.part.0`) or made of it (`.constprop.0`, `.isra.0`).
    pub fn parts(&self, name: &str, near: Option<u64>) -> Vec<(String, Range<u64>)> {
        let mut names: Vec<&String> = self
            .by_name
            .keys()
            .filter(|known| {
                known
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .collect();
        names.sort();
        names
            .into_iter()
            .filter_map(|part| Some((part.clone(), self.function(part, near)?)))
            .collect()
    }

    /// Functions whose names begin so.
    pub fn beginning(&self, prefix: &str) -> impl Iterator<Item = (&str, Range<u64>)> {
        self.sorted
            .iter()
            .enumerate()
            .filter(move |(_, (_, name))| name.starts_with(prefix))
            .map(|(index, (_, name))| (name.as_str(), self.extent(index)))
    }

    /// The symbol at or before an address, and the distance from it.
    pub fn at(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.sorted.partition_point(|(start, _)| *start <= address);
        let (start, _) = self.sorted.get(after.checked_sub(1)?)?;
        // Of several at one address, the first: it sorts before its aliases.
        let first = self.sorted.partition_point(|(other, _)| other < start);
        Some((&self.sorted[first].1, address - start))
    }

    /// An address as kernel logs show it: `name+0xoffset`.
    pub fn show(&self, address: u64) -> String {
        match self.at(address) {
            Some((name, 0)) => name.to_owned(),
            Some((name, offset)) => format!("{name}+{offset:#x}"),
            None => format!("{address:#x}"),
        }
    }

    /// From an address to the next one that has a symbol.
    pub fn extent_at(&self, start: u64) -> Range<u64> {
        let after = self.sorted.partition_point(|(other, _)| *other <= start);
        let end = self.sorted.get(after).map_or(start + 1, |(next, _)| *next);
        start..end
    }

    /// From a symbol to the next address that has one.
    fn extent(&self, index: usize) -> Range<u64> {
        self.extent_at(self.sorted[index].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "0000000000000000 A fixed_percpu_data\n\
        ffffffff81000100 t m_show\n\
        ffffffff81002000 T free_module\n\
        ffffffff81002080 t m_show\n\
        ffffffff81002100 t m_show.cold\n\
        ffffffff81002140 T module_flags\n\
        ffffffff81002140 T module_flags_alias\n\
        ffffffffa0000000 t dummy_exit\t[dummy_module]\n";

    #[test]
    fn of_two_functions_of_one_name_the_neighbour_is_meant() {
        let symbols = Symbols::of_text(MAP);
        let near = symbols.address("free_module");
        assert_eq!(
            symbols.function("m_show", near),
            Some(0xffff_ffff_8100_2080..0xffff_ffff_8100_2100)
        );
        assert_eq!(symbols.parts("m_show", near).len(), 2);
    }

    #[test]
    fn an_address_is_told_by_the_symbol_before_it() {
        let symbols = Symbols::of_text(MAP);
        assert_eq!(symbols.show(0xffff_ffff_8100_2010), "free_module+0x10");
        assert_eq!(symbols.show(0xffff_ffff_8100_2140), "module_flags");
        assert_eq!(symbols.address("dummy_exit"), None);
        let module = Symbols::of_module(MAP, "dummy_module");
        assert_eq!(module.address("dummy_exit"), Some(0xffff_ffff_a000_0000));
        assert_eq!(module.address("m_show"), None);
    }
}
