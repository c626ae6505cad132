//! Where a file's functions are, by name.

use std::collections::HashMap;
use std::ops::Range;

use object::{Object, ObjectSymbol, SymbolKind};

/// Functions by name: static ones share names. Their sizes are as the symbols
/// have them.
#[derive(Debug, Default)]
pub(super) struct Functions(HashMap<String, Vec<Range<u64>>>);

impl Functions {
    /// Those of a file. `at`: where a symbol lies; none where it counts as no
    /// function.
    pub(super) fn of<'data: 'file, 'file, O: Object<'data>>(
        elf: &'file O,
        at: impl Fn(&O::Symbol<'file>) -> Option<u64>,
    ) -> Self {
        let mut functions = Self::default();
        for symbol in elf.symbols().filter(is_code) {
            if let (Ok(name), Some(at)) = (symbol.name(), at(&symbol)) {
                let all = functions.0.entry(name.to_owned()).or_default();
                all.push(at..at + symbol.size());
            }
        }
        functions
    }

    /// All of a name.
    pub(super) fn named(&self, name: &str) -> &[Range<u64>] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// All.
    pub(super) fn all(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.values().flatten()
    }

    /// Where the one function of a name begins for which a condition holds; none
    /// where several do.
    pub(super) fn only(&self, name: &str, fits: impl Fn(&Range<u64>) -> bool) -> Option<u64> {
        let mut begins = self.named(name).iter().filter(|&one| fits(one));
        let first = begins.next()?.start;
        // Some symbols are listed twice.
        begins.all(|one| one.start == first).then_some(first)
    }
}

/// Labels of assembler files, `entry_SYSCALL_64_after_hwframe` among them, have no
/// type.
fn is_code<'data>(symbol: &impl ObjectSymbol<'data>) -> bool {
    let code = matches!(
        symbol.kind(),
        SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown
    );
    symbol.is_definition() && code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_told_from_what_the_compiler_made_of_another() {
        let mut functions = Functions::default();
        for (name, at) in [("flags", 0x100..0x140), ("flags.constprop.0", 0x200..0x220)] {
            functions.0.insert(name.to_owned(), vec![at]);
        }
        assert_eq!(functions.only("flags.constprop.0", |_| true), Some(0x200));
        assert_eq!(functions.only("flags.part.0", |_| true), None);
        // A static one of another file, and an alias of one.
        let all = functions.0.get_mut("flags").unwrap();
        all.extend([0x300..0x380, 0x300..0x380]);
        assert_eq!(functions.only("flags", |_| true), None);
        let fits = |one: &Range<u64>| one.end - one.start == 0x80;
        assert_eq!(functions.only("flags", fits), Some(0x300));
    }
}
