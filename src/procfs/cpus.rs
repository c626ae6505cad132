//! Lists of CPUs as the kernel writes them, `0-3,8`: read and written.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// More CPUs than any machine has: beyond it a typing error is likelier.
const MOST: usize = 4096;

/// A list of CPUs, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

/// Why a text is no list of CPUs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadCpuList {
    /// No number.
    #[error("`{0}` is no CPU; a list looks like 0-3,8")]
    NoCpu(String),
    /// A range that runs backwards, or too far.
    #[error("`{0}`: from a lower to a higher CPU, below {MOST}")]
    Range(String),
}

impl CpuList {
    /// The CPUs, lowest first.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl From<&[usize]> for CpuList {
    fn from(cpus: &[usize]) -> Self {
        let mut cpus = cpus.to_vec();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

impl FromStr for CpuList {
    type Err = BadCpuList;

    fn from_str(text: &str) -> Result<Self, BadCpuList> {
        let number = |text: &str| {
            let digits = text.trim();
            digits
                .parse::<usize>()
                .map_err(|_| BadCpuList::NoCpu(text.to_owned()))
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last >= MOST {
                return Err(BadCpuList::Range(part.to_owned()));
            }
            cpus.extend(first..=last);
        }
        Ok(Self::from(&*cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.chunk_by(|cpu, next| cpu + 1 == *next);
        for (i, range) in ranges.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match range {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [only] => write!(f, "{comma}{only}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written_as_the_kernel_writes_it() {
        for (text, cpus, written) in [
            ("0-3,8", &[0, 1, 2, 3, 8][..], "0-3,8"),
            ("2,1-2", &[1, 2], "1-2"),
            (" 7 ", &[7], "7"),
            ("5,3,0", &[0, 3, 5], "0,3,5"),
        ] {
            let list: CpuList = text.parse().unwrap();
            assert_eq!(list.as_slice(), cpus, "{text}");
            assert_eq!(list.to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_named() {
        for wrong in ["", "a", "3-1", "0-", "0,,1", "-1", "99999"] {
            let error = wrong.parse::<CpuList>().unwrap_err().to_string();
            assert!(error.contains('`'), "{wrong}: {error}");
        }
    }
}
