//! The parts in which pstore keeps a crash's log: `dmesg-erst-N`,
//! `dmesg-efi-N`, `dmesg-ramoops-N`. Each begins with a line that says of which
//! dump it is which part; part 1 holds the end of the log. Format:
//! `pstore_dump()` of fs/pstore/platform.c.

/// What a part's first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PstorePart {
    /// Why the log was kept and how often that was since boot: `Panic#1`.
    pub dump: String,
    /// Its number, from 1: the end of the log.
    pub number: u32,
}

/// Reads a part's first line: `Panic#1 Part2`.
pub fn pstore_part(first_line: &str) -> Option<PstorePart> {
    let (dump, part) = first_line.trim_end().split_once(" Part")?;
    let (reason, count) = dump.split_once('#')?;
    let word = !reason.is_empty() && reason.bytes().all(|b| b.is_ascii_alphabetic());
    count.parse::<u32>().ok().filter(|_| word)?;
    Some(PstorePart {
        dump: dump.to_owned(),
        number: part.parse().ok()?,
    })
}

/// Whether a file's name is one that pstore gives to a part.
pub fn is_pstore_name(name: &str) -> bool {
    name.strip_prefix("dmesg-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(_, id)| id.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_which_it_is() {
        let part = pstore_part("Panic#1 Part12\n").expect("a part");
        assert_eq!((part.dump.as_str(), part.number), ("Panic#1", 12));
        for other in [
            "Panic#1",
            "<1>[    1.0] Part2",
            "a b#1 Part2",
            "Oops#x Part1",
        ] {
            assert_eq!(pstore_part(other), None, "{other}");
        }
    }

    #[test]
    fn pstore_names_its_files() {
        for name in [
            "dmesg-erst-7012345678901234567",
            "dmesg-efi-170000000001001",
            "dmesg-ramoops-0",
        ] {
            assert!(is_pstore_name(name), "{name}");
        }
        for name in ["dmesg", "dmesg-old", "console-ramoops-0", "dmesg-erst-"] {
            assert!(!is_pstore_name(name), "{name}");
        }
    }
}
