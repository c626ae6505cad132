//! Lines of `/proc/modules`, as `m_show()` prints them (`kernel/module.c`,
//! since 5.18 `kernel/module/procfs.c`):
//! `name size refcount users state address (flags)`.
//! Pure text: what a line means for a race is not its business.

/// The state word of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `MODULE_STATE_LIVE`.
    Live,
    /// `MODULE_STATE_COMING`: init runs.
    Loading,
    /// `MODULE_STATE_GOING`: exit runs, or init failed.
    Unloading,
}

impl State {
    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "Live" => Some(Self::Live),
            "Loading" => Some(Self::Loading),
            "Unloading" => Some(Self::Unloading),
            _ => None,
        }
    }

    /// The word that `m_show()` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "Live",
            Self::Loading => "Loading",
            Self::Unloading => "Unloading",
        }
    }
}

/// Bytes of a record before its address: the longest prefix that carries the
/// state word and still ends inside the record, so that a read of this length
/// makes the kernel format one record and no more.
pub fn state_prefix_len(name: &str) -> usize {
    // " 16384 0 - Unloading " and as much of the address as every line has.
    name.len() + " 16384 0 - Unloading 0x".len()
}

/// The first five fields of a line: all that is left of it in a short read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// The module.
    pub name: &'a str,
    /// Bytes of its core, and of its init section until that is freed.
    pub size: u64,
    /// References; -1 once `try_stop_module()` has taken the base reference
    /// (since 3.19), none where modules cannot be unloaded.
    pub refcount: Option<i64>,
    /// Those who use it, as printed: `-`, or names with a comma after each.
    pub users: &'a str,
    /// Its state.
    pub state: State,
}

impl<'a> Start<'a> {
    /// Modules that use this one.
    pub fn user_names(&self) -> impl Iterator<Item = &'a str> {
        self.users
            .split(',')
            .filter(|user| !matches!(*user, "" | "-" | "[permanent]"))
    }

    /// Whether it can never be unloaded: an init function without an exit.
    pub fn is_permanent(&self) -> bool {
        self.users.split(',').any(|user| user == "[permanent]")
    }
}

/// The sign behind the taint letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// None: the module is live.
    None,
    /// `+`: it is being loaded.
    Coming,
    /// `-`: it is being unloaded.
    Going,
}

impl Sign {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Coming => "+",
            Self::Going => "-",
        }
    }
}

/// Taint letters and sign, as `module_flags()` prints them between brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags<'a> {
    /// The letters.
    pub taints: &'a str,
    /// The sign.
    pub sign: Sign,
}

impl<'a> Flags<'a> {
    /// Parses `OE+`, without the brackets. Nothing but letters and one sign.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (taints, sign) = match text.as_bytes().last()? {
            b'+' => (&text[..text.len() - 1], Sign::Coming),
            b'-' => (&text[..text.len() - 1], Sign::Going),
            _ => (text, Sign::None),
        };
        taints
            .bytes()
            .all(|byte| byte.is_ascii_uppercase())
            .then_some(Self { taints, sign })
    }
}

/// A whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its first five fields.
    pub start: Start<'a>,
    /// Where its core lies; 0 where the kernel hides addresses.
    pub address: u64,
    /// Taint letters and sign; none for an untainted module.
    pub flags: Option<Flags<'a>>,
}

/// Why a line is none that `m_show()` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Bytes that are no text.
    #[error("it is not text")]
    NotText,
    /// It has no newline at its end.
    #[error("its end is missing")]
    Cut,
    /// A field is missing or cannot be read.
    #[error("its {0} is missing or malformed")]
    Field(&'static str),
    /// There is more than there should be.
    #[error("something stands behind its last field")]
    Surplus,
}

/// Parses the first five fields. What follows them is not looked at, but
/// something must: only a blank proves that the state word is whole.
pub fn parse_start(text: &[u8]) -> Result<Start<'_>, LineError> {
    Ok(split_start(text)?.0)
}

/// Parses a whole line, its newline included.
pub fn parse_line(text: &[u8]) -> Result<Line<'_>, LineError> {
    let text = text.strip_suffix(b"\n").ok_or(LineError::Cut)?;
    let (start, rest) = split_start(text)?;
    let mut words = rest.split(' ');
    let address = words
        .next()
        .and_then(|word| word.strip_prefix("0x"))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(LineError::Field("address"))?;
    let flags = match words.next() {
        None => None,
        Some(word) => Some(
            word.strip_prefix('(')
                .and_then(|word| word.strip_suffix(')'))
                .and_then(Flags::parse)
                .ok_or(LineError::Field("flags"))?,
        ),
    };
    match words.next() {
        None => Ok(Line {
            start,
            address,
            flags,
        }),
        Some(_) => Err(LineError::Surplus),
    }
}

/// The first five fields and what stands behind their last blank.
fn split_start(text: &[u8]) -> Result<(Start<'_>, &str), LineError> {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or(text);
    let line = std::str::from_utf8(line).map_err(|_| LineError::NotText)?;
    let field = |what| LineError::Field(what);
    let (name, rest) = line.split_once(' ').ok_or(field("name"))?;
    let (size, rest) = rest.split_once(' ').ok_or(field("size"))?;
    let (refcount, rest) = rest.split_once(' ').ok_or(field("refcount"))?;
    let (users, rest) = rest.split_once(' ').ok_or(field("users"))?;
    let (word, rest) = rest.split_once(' ').ok_or(field("state"))?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(field("name"));
    }
    if users != "-" && !users.ends_with(',') {
        return Err(field("users"));
    }
    let start = Start {
        name,
        size: size.parse().map_err(|_| field("size"))?,
        refcount: match refcount {
            "-" => None,
            count => Some(count.parse().map_err(|_| field("refcount"))?),
        },
        users,
        state: State::parse(word).ok_or(field("state"))?,
    };
    Ok((start, rest))
}

/// The state in which `text`, the beginning of the file or a whole line, shows
/// the module `name`; none if its first line is another module's or is cut
/// before the end of the state word.
pub fn state_of(text: &[u8], name: &[u8]) -> Option<State> {
    // Readers call this on every line of others, too: look at the name first.
    text.strip_prefix(name)?.strip_prefix(b" ")?;
    parse_start(text).ok().map(|start| start.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [(&str, State); 3] = [
        (
            "dummy_module 12661 0 - Unloading 0xffffffffa03a5000 (OE-)\n",
            State::Unloading,
        ),
        (
            "dummy_module 12661 0 - Live 0xffffffffa03bb000 (OE)\n",
            State::Live,
        ),
        (
            "dummy_module 14015 1 - Loading 0xffffffffa03a5000 (OE+)\n",
            State::Loading,
        ),
    ];

    #[test]
    fn the_three_states_of_the_bug_report_are_read() {
        for (line, state) in LINES {
            assert_eq!(
                state_of(line.as_bytes(), b"dummy_module"),
                Some(state),
                "{line}"
            );
        }
    }

    #[test]
    fn a_head_read_of_the_prefix_length_carries_the_state_and_ends_inside_the_record() {
        for (line, state) in LINES {
            let len = state_prefix_len("dummy_module");
            assert!(len < line.len());
            assert_eq!(
                state_of(&line.as_bytes()[..len], b"dummy_module"),
                Some(state)
            );
        }
    }

    #[test]
    fn another_module_or_a_cut_word_shows_no_state() {
        assert_eq!(
            state_of(b"dummy_module2 12661 0 - Live 0x0 (OE)\n", b"dummy_module"),
            None
        );
        assert_eq!(
            state_of(b"dummy_module 12661 0 - Live", b"dummy_module"),
            None
        );
        assert_eq!(
            state_of(b"dummy_module 12661 0 - Unl", b"dummy_module"),
            None
        );
        assert_eq!(state_of(b"", b"dummy_module"), None);
    }
}
