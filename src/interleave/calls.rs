//! The calls that sides make: what a round of the lock-step is made of. To add
//! one, add a row, and its turn in `guest`.

/// A system call of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// None.
    Nothing,
    /// Loads the module.
    Load,
    /// Unloads it.
    Unload,
    /// Unloads a module that is not there.
    UnloadNothing,
    /// Opens the file.
    Open,
    /// Reads its beginning.
    Read,
    /// Closes it.
    Close,
    /// Looks it up.
    LookUp,
    /// Writes to it.
    Write,
}

/// Every call: its name in schedules, and the system calls that it is.
const TABLE: &[(Call, &str, &[&str])] = &[
    (Call::Nothing, "nothing", &[]),
    (Call::Load, "load", &["finit_module", "init_module"]),
    (Call::Unload, "unload", &["delete_module"]),
    (Call::UnloadNothing, "unload-nothing", &["delete_module"]),
    (Call::Open, "open", &["openat", "open"]),
    (Call::Read, "read", &["pread64"]),
    (Call::Close, "close", &["close"]),
    (Call::LookUp, "stat", &["statx", "newfstatat"]),
    (Call::Write, "write", &["write"]),
];

impl Call {
    fn row(self) -> (usize, &'static str, &'static [&'static str]) {
        let row = TABLE.iter().enumerate().find(|(_, row)| row.0 == self);
        row.map_or((0, "", &[]), |(index, row)| (index, row.1, row.2))
    }

    /// Its name in schedules.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The system calls that it can be, by their names in the kernel's table.
    pub fn system_calls(self) -> &'static [&'static str] {
        self.row().2
    }

    /// The call of a name.
    pub fn named(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The word for it on the page.
    pub fn to_word(self) -> u64 {
        self.row().0 as u64
    }

    /// The call of a word; nothing for a word that is none.
    pub fn from_word(word: u64) -> Self {
        let row = usize::try_from(word).ok().and_then(|at| TABLE.get(at));
        row.map_or(Self::Nothing, |row| row.0)
    }

    /// Whether it is the side's that loads and unloads.
    pub fn is_loaders(self) -> bool {
        matches!(self, Self::Load | Self::Unload | Self::UnloadNothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_comes_back_from_its_word_and_its_name() {
        for &(call, name, system_calls) in TABLE {
            assert_eq!(Call::from_word(call.to_word()), call);
            assert_eq!(Call::named(name), Some(call));
            assert_eq!(system_calls.is_empty(), call == Call::Nothing);
        }
        assert_eq!(Call::from_word(999), Call::Nothing);
        assert_eq!(Call::named("dance"), None);
    }
}
