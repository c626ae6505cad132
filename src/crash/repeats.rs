//! The same text twice: overlapping parts of pstore, a netconsole that
//! repeats, a console and its journal in one file. The same text with the same
//! time stamp is one event.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::log_line::LogLine;

/// First lines remembered. A log with more in between repeats nothing.
const REMEMBERED: usize = 4096;

/// First lines of reports that were seen.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    seen: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Repeats {
    /// Whether this first line was seen before; it is remembered. A line
    /// without a time may come again, and one at time 0 in each boot.
    pub(super) fn again(&mut self, line: &LogLine) -> bool {
        let Some(key) = key(&self.hasher, line) else {
            return false;
        };
        if !self.seen.insert(key) {
            return true;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }
}

/// What makes two lines one: time and text.
fn key(hasher: &RandomState, line: &LogLine) -> Option<u64> {
    let time = line.time_s.filter(|time| *time > 0.0)?;
    Some(hasher.hash_one((time.to_bits(), line.text.trim())))
}

/// The lines of one report that were seen.
#[derive(Debug, Default)]
pub(super) struct Lines {
    hasher: RandomState,
    /// The lines in their order, and where each stands.
    order: Vec<u64>,
    places: HashMap<u64, usize>,
    last_s: f64,
    /// Which line comes next, while a part of the text is there again.
    next: Option<usize>,
    /// Whether the first line came twice: then each line does.
    pub(super) doubled: bool,
    just_dropped: bool,
}

impl Lines {
    /// Whether this line was seen before: in a text that goes back in time to
    /// a line that was there and goes on as it did from there, or in one whose
    /// lines all come twice. (A stack that overflowed has many equal frames at
    /// one time; another CPU's line may be a little later than the next.)
    pub(super) fn again(&mut self, line: &LogLine) -> bool {
        let (Some(key), Some(time)) = (key(&self.hasher, line), line.time_s) else {
            self.next = None;
            return false;
        };
        let goes_on = self.next.is_some_and(|at| self.order.get(at) == Some(&key));
        if goes_on {
            self.next = self.next.map(|at| at + 1);
            return true;
        }
        let back = time < self.last_s && line.text.trim().len() > 8;
        self.next = self
            .places
            .get(&key)
            .filter(|_| back)
            .map(|place| place + 1);
        if self.next.is_some() {
            self.last_s = time;
            return true;
        }
        let doubled = self.doubled && !self.just_dropped && self.order.last() == Some(&key);
        self.just_dropped = doubled;
        if doubled {
            return true;
        }
        self.places.insert(key, self.order.len());
        self.order.push(key);
        self.last_s = time;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::parse_line;

    fn kept(lines: &[(f64, &str)], doubled: bool) -> usize {
        let mut seen = Lines {
            doubled,
            ..Lines::default()
        };
        lines
            .iter()
            .filter(|(time, text)| {
                let raw = format!("[{time:>12.6}] {text}");
                let line = LogLine::new(1, 0, parse_line(raw.as_bytes()), raw.clone());
                !seen.again(&line)
            })
            .count()
    }

    #[test]
    fn parts_that_overlap_are_one_text() {
        let text = [
            (1.0, "first line"),
            (1.1, "second line"),
            (1.2, "third line"),
        ];
        let more = [(1.3, "fourth line")];
        let all = [&text[..], &text[1..], &more[..]].concat();
        assert_eq!(kept(&all, false), 4);
    }

    #[test]
    fn a_later_line_of_another_cpu_repeats_nothing() {
        let all = [
            (1.0, " frame_of_a_stack+0x1/0x2"),
            (1.5, "another CPU's line"),
            (1.0, " other_frame+0x1/0x2"),
            (1.0, " frame_of_a_stack+0x1/0x2"),
            (1.0, " frame_of_a_stack+0x1/0x2"),
        ];
        assert_eq!(kept(&all, false), 5);
    }

    #[test]
    fn lines_that_all_come_twice_are_halved() {
        let all = [
            (1.0, "a line"),
            (1.0, "a line"),
            (1.1, "b line"),
            (1.1, "b line"),
        ];
        assert_eq!(kept(&all, true), 2);
        assert_eq!(kept(&all, false), 4);
    }
}
