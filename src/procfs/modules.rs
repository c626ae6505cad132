//! Lines of `/proc/modules`, as `m_show()` prints them (`kernel/module.c`,
//! since 5.18 `kernel/module/procfs.c`):
//! `name size refcount users state address (flags)`.

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

/// Bytes of a record before its address: the longest prefix that carries the
/// state word and still ends inside the record, so that a read of this length
/// makes the kernel format one record and no more.
pub fn state_prefix_len(name: &str) -> usize {
    // " 16384 0 - Unloading " and as much of the address as every line has.
    name.len() + " 16384 0 - Unloading 0x".len()
}

/// The state in which `text`, the beginning of the file or a whole line, shows
/// the module `name`; none if its first line is another module's or is cut
/// before the end of the state word.
pub fn state_of(text: &[u8], name: &[u8]) -> Option<State> {
    let line = text.split(|&byte| byte == b'\n').next()?;
    let rest = line.strip_prefix(name)?.strip_prefix(b" ")?;
    // size, refcount, users, state
    let mut words = rest.split(|&byte| byte == b' ');
    let word = words.nth(3)?;
    // Only a following word proves that this one is whole.
    words.next()?;
    match word {
        b"Live" => Some(State::Live),
        b"Loading" => Some(State::Loading),
        b"Unloading" => Some(State::Unloading),
        _ => None,
    }
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
