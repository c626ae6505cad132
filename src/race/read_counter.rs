//! What reads show, counted: sightings, and lines that cannot be. How the file
//! is read is `reader`'s; what a line proves is `line_check`'s.

use super::line_check::LineCheck;
use super::targets::Target;
use crate::procfs::modules::State;
use crate::recorder::{Slot, bump};

/// What one read after the other shows, counted.
pub(super) struct ReadCounter<'a> {
    pub(super) target: &'static Target,
    pub(super) names: &'a [String],
    check: LineCheck,
    pub(super) slot: &'a Slot,
    /// Of each module, what this read showed last.
    last: Vec<Option<State>>,
    first: Option<State>,
    head: Head,
}

/// The last head read, and when.
#[derive(Default)]
struct Head {
    moment: Option<u64>,
    text: Vec<u8>,
    /// Of each module, what it showed.
    showed: Vec<Option<State>>,
}

impl<'a> ReadCounter<'a> {
    /// Nothing seen yet.
    pub(super) fn new(
        target: &'static Target,
        names: &'a [String],
        check: LineCheck,
        slot: &'a Slot,
    ) -> Self {
        Self {
            target,
            names,
            check,
            slot,
            last: vec![None; names.len()],
            first: None,
            head: Head::default(),
        }
    }

    /// From now on counts there, and checks the lines of `m_show()`.
    pub(super) fn count_in(&mut self, slot: &'a Slot, check: LineCheck) {
        self.slot = slot;
        self.check = check;
        self.head = Head::default();
    }

    /// A read begins.
    pub(super) fn begin(&mut self) {
        self.last.fill(None);
        self.first = None;
    }

    /// A system call for it begins.
    pub(super) fn before_read(&mut self) {
        self.check.before_read();
    }

    /// What a head read gave. What repeats the last, as most do in a targeted read, is
    /// not parsed again: the longer a reader is out of the kernel, the seldomer
    /// `m_show()` is at work when the state changes.
    pub(super) fn head(&mut self, text: &[u8]) {
        let moment = self.check.moment();
        let head = &mut self.head;
        if moment.is_some() && head.moment == moment && head.text == text {
            self.last.clone_from(&head.showed);
            for &seen in self.last.iter().filter(|seen| seen.is_some()) {
                self.first = self.first.or(seen);
                count(self.slot, seen);
            }
            return;
        }
        // A line that cannot be is looked at each time.
        let in_order = !self.target.prints_m_show || self.check.head(text, self.slot);
        head.moment = moment.filter(|_| in_order);
        head.text.clear();
        head.text.extend_from_slice(text);
        self.records(text);
        self.head.showed.clone_from(&self.last);
    }

    /// Whole records, from one call or from several.
    pub(super) fn lines(&mut self, text: &[u8], one_call: bool) {
        if self.target.prints_m_show {
            self.check.lines(text, one_call, self.slot);
        }
        self.records(text);
    }

    /// What a read gave, of whatever modules.
    pub(super) fn records(&mut self, text: &[u8]) {
        for record in text.split_inclusive(|&byte| byte == b'\n') {
            for module in 0..self.names.len() {
                if self.record_of(module, record) {
                    break;
                }
            }
        }
    }

    /// A record that can only be about one module; true if it is. A module that
    /// a read shows in many records of one state was seen once.
    pub(super) fn record_of(&mut self, module: usize, record: &[u8]) -> bool {
        let seen = (self.target.sighting)(record, &self.names[module]);
        if seen.is_some() && seen != self.last[module] {
            self.last[module] = seen;
            self.first = self.first.or(seen);
            count(self.slot, seen);
        }
        seen.is_some()
    }

    /// The read was of a file that shows what there is: in the cycle under way
    /// a reader could see.
    pub(super) fn could_see(&self) {
        self.check.could_see();
    }

    /// The read is over: the state that it showed first.
    pub(super) fn end(&mut self) -> Option<State> {
        if self.first.is_none() {
            count(self.slot, None);
        }
        self.first
    }
}

/// Counts a sighting, or a read without one.
fn count(slot: &Slot, seen: Option<State>) {
    bump(match seen {
        Some(State::Live) => &slot.live,
        Some(State::Loading) => &slot.loading,
        Some(State::Unloading) => &slot.unloading,
        None => &slot.absent,
    });
}

#[cfg(test)]
pub(super) mod tests;
