//! The kernel's taint letters and what they mean
//! (Documentation/admin-guide/tainted-kernels.rst).

/// Letter and meaning, in the order of the bits of `/proc/sys/kernel/tainted`.
/// `G` (no proprietary module) taints nothing.
pub const TAINTS: &[(char, &str)] = &[
    ('P', "proprietary module was loaded"),
    ('F', "module was force loaded"),
    ('S', "kernel running on an out of specification system"),
    ('R', "module was force unloaded"),
    ('M', "processor reported a machine check exception"),
    ('B', "bad page referenced"),
    ('U', "taint requested by a user-space application"),
    ('D', "kernel died recently: there was an oops or BUG"),
    ('A', "ACPI table overridden by the user"),
    ('W', "kernel issued a warning"),
    ('C', "staging driver was loaded"),
    ('I', "workaround for a bug in platform firmware applied"),
    ('O', "out-of-tree module was loaded"),
    ('E', "unsigned module was loaded"),
    ('L', "soft lockup occurred"),
    ('K', "kernel has been live patched"),
    ('X', "auxiliary taint, defined by the distribution"),
    ('T', "kernel was built with the struct randomization plugin"),
    ('N', "an in-kernel test has been run"),
    ('J', "user space used a mutating debug operation in fwctl"),
];

/// The bit of a letter in `/proc/sys/kernel/tainted`, as a mask.
pub fn taint_mask(letter: char) -> Option<u64> {
    let bit = TAINTS.iter().position(|(known, _)| *known == letter)?;
    Some(1 << bit)
}

/// What each letter of a taint string means.
pub fn taints(letters: &str) -> Vec<String> {
    letters
        .chars()
        .filter_map(|letter| TAINTS.iter().find(|(known, _)| *known == letter))
        .map(|(letter, meaning)| format!("{letter}: {meaning}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_bits() {
        // include/linux/panic.h
        for (letter, bit) in [
            ('P', 0),
            ('D', 7),
            ('W', 9),
            ('O', 12),
            ('E', 13),
            ('N', 18),
        ] {
            assert_eq!(taint_mask(letter), Some(1 << bit), "{letter}");
        }
        assert_eq!(taint_mask('G'), None);
    }

    #[test]
    fn letters_are_told_and_g_is_passed_by() {
        let told = taints("GOE");
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("O: out-of-tree"));
    }
}
