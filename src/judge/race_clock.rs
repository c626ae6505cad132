//! The race's clock read off the kernel log. Pure.
//!
//! A log line carries printk's clock (`local_clock()`), the race counts on
//! `CLOCK_MONOTONIC`. At the start of the race the guest prints the second on
//! the first, so a crash line's own time stamp tells the time to crash, however
//! late the line reached us. The second is read before the first is, so every
//! mark bounds their difference from above, and the least is the nearest.

use memchr::memmem;

use crate::console::parse_line;
use crate::model::Crash;
use crate::recorder::Snapshot;
use crate::vm::protocol::RACE_MARK;

/// Bytes kept of a line that comes in pieces.
const LONGEST_LINE: usize = 1024;
/// Bytes of the log, from its first mark, in which a further one counts.
const MARKS_WITHIN: u64 = 16 * 1024;

/// Disagreement of two clocks, seconds, above which the log's is not believed.
pub(crate) const CLOCK_TOLERANCE_S: f64 = 1.0;

/// Both clocks at the start of the race.
#[derive(Debug, Default)]
pub(crate) struct RaceClock {
    /// printk's clock less the monotonic clock, seconds, at most.
    ahead_s: Option<f64>,
    /// Where the first mark stands in the log, bytes.
    marked_at: Option<u64>,
    /// Bytes of the log so far.
    fed: u64,
    tail: Vec<u8>,
}

impl RaceClock {
    /// Looks for marks in the console's bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self
            .marked_at
            .is_some_and(|at| self.fed > at + MARKS_WITHIN)
        {
            return;
        }
        self.fed += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        while let Some(at) = memmem::find(&self.tail, RACE_MARK.as_bytes()) {
            let Some(length) = memchr::memchr(b'\n', &self.tail[at..]) else {
                break;
            };
            let place = self.fed - (self.tail.len() - at) as u64;
            self.marked_at.get_or_insert(place);
            let ahead_s = ahead_s(&self.tail, at, length);
            self.ahead_s = [self.ahead_s, ahead_s]
                .into_iter()
                .flatten()
                .reduce(f64::min);
            self.tail.drain(..at + length);
        }
        let surplus = self.tail.len().saturating_sub(LONGEST_LINE);
        self.tail.drain(..surplus);
    }

    /// Where the first mark stands in the log, bytes from its beginning.
    pub(crate) fn marked_at(&self) -> Option<u64> {
        self.marked_at
    }

    /// Whether the log has the mark.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked_at.is_some()
    }

    /// The time since `race_start_ns` at which a line stamped `log_s` was
    /// printed, seconds.
    pub(crate) fn since_start_s(&self, log_s: f64, race_start_ns: u64) -> Option<f64> {
        Some(log_s - self.ahead_s? - race_start_ns as f64 / 1e9)
    }

    /// Exposure, time to crash, and notes on how well they are known. `crash`
    /// ended the trial; `said_s` is how long it raced by its own result.
    pub(crate) fn times(
        &self,
        crash: Option<&Crash>,
        last: &Snapshot,
        said_s: Option<f64>,
    ) -> (f64, Option<f64>, Vec<String>) {
        let beats_s = last.raced_s();
        let Some(crash) = crash else {
            return (said_s.unwrap_or(beats_s), None, Vec::new());
        };
        // Nothing was raced yet.
        if last.race_start_ns == 0 && !self.is_marked() {
            return (0.0, None, Vec::new());
        }
        let log_s = crash
            .log_time_s
            .and_then(|at| self.since_start_s(at, last.race_start_ns));
        match log_s {
            Some(log_s) if log_s >= 0.0 && log_s <= beats_s + CLOCK_TOLERANCE_S => {
                (log_s, Some(log_s), Vec::new())
            }
            _ => {
                let note = "time to crash is that of the last heartbeat: the log's clock could not be read";
                (beats_s, Some(beats_s), vec![note.to_owned()])
            }
        }
    }
}

/// How much the stamp of the line around the mark at `at` is ahead of the clock
/// behind the mark, seconds; the line ends `length` bytes from there.
fn ahead_s(log: &[u8], at: usize, length: usize) -> Option<f64> {
    let start = memchr::memrchr(b'\n', &log[..at]).map_or(0, |end| end + 1);
    let told = &log[at + RACE_MARK.len()..at + length];
    let monotonic_ns: u64 = std::str::from_utf8(told.trim_ascii()).ok()?.parse().ok()?;
    let log_s = parse_line(&log[start..at + length]).time_s?;
    Some(log_s - monotonic_ns as f64 / 1e9)
}

/// The log's time of the last mark in a whole log, seconds.
pub(crate) fn last_mark_s(log: &[u8]) -> Option<f64> {
    let at = memmem::rfind(log, RACE_MARK.as_bytes())?;
    let start = memchr::memrchr(b'\n', &log[..at]).map_or(0, |end| end + 1);
    let end = memchr::memchr(b'\n', &log[at..]).map_or(log.len(), |length| at + length);
    parse_line(&log[start..end]).time_s
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[    3.100000] something\n[    3.250000] modrace: the race starts at \
                       3200000000\n[    3.900000] kernel BUG at kernel/module/main.c:2998!\n";

    #[test]
    fn the_log_tells_the_time_to_crash_however_it_is_cut() {
        for cut in 0..LOG.len() {
            let mut clock = RaceClock::default();
            clock.feed(&LOG.as_bytes()[..cut]);
            clock.feed(&LOG.as_bytes()[cut..]);
            // Race start 3.201 on the monotonic clock is 3.251 in the log.
            let time_s = clock.since_start_s(3.9, 3_201_000_000).unwrap();
            assert!((time_s - 0.649).abs() < 1e-9, "cut at {cut}: {time_s}");
        }
    }

    #[test]
    fn of_several_marks_the_one_that_was_printed_at_once_counts() {
        // The first waited 1.9 s for a CPU before it was printed.
        let twice = format!("[    3.100000] modrace: the race starts at 1200000000\n{LOG}");
        for cut in 0..twice.len() {
            let mut clock = RaceClock::default();
            clock.feed(&twice.as_bytes()[..cut]);
            clock.feed(&twice.as_bytes()[cut..]);
            let time_s = clock.since_start_s(3.9, 3_201_000_000).unwrap();
            assert!((time_s - 0.649).abs() < 1e-9, "cut at {cut}: {time_s}");
            assert_eq!(clock.marked_at(), Some(15), "cut at {cut}");
        }
    }

    #[test]
    fn the_last_mark_counts() {
        let twice = format!("{LOG}{}", LOG.replace("3.250000", "9.250000"));
        assert_eq!(last_mark_s(twice.as_bytes()), Some(9.25));
        assert_eq!(last_mark_s(b"[    3.100000] something\n"), None);
    }

    #[test]
    fn without_a_mark_there_is_no_time() {
        let mut clock = RaceClock::default();
        clock.feed(b"[    3.100000] something\n");
        assert_eq!(clock.since_start_s(3.9, 1), None);
    }
}
