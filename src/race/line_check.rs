//! Checks every line that a reader parses: whether a kernel in order can have
//! printed it. Counts what it finds and keeps the first examples; what that
//! means for a trial is decided elsewhere.
//!
//! Two lines prove a near miss, that is, that `free_module()` set
//! `MODULE_STATE_UNFORMED` while `m_show()` was at work on the module.
//!
//! 1. `-1 … Live`. `try_stop_module()` takes the base reference and sets
//!    `MODULE_STATE_GOING` in one stretch under `module_mutex`, which `m_show()`
//!    holds too, so a reference count of -1 is a module past LIVE (since 3.19;
//!    a failed load never gets there, its base reference stays). `m_show()`
//!    prints "Live" for what is neither GOING nor COMING: UNFORMED is left. And
//!    `m_show()` returns at once for a module that is UNFORMED at its beginning.
//! 2. "Live" in a read that began after another read of the same load had shown
//!    "Unloading": no module goes back from GOING. For kernels before 3.19.
//!
//! With the fix, UNFORMED is set under the mutex, and neither line can be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::model::{BadLine, LineFault, Slot, bump};
use crate::procfs::modules::{Line, Sign, Start, State, parse_line, parse_start};

/// Examples kept of each fault.
const EXAMPLES: usize = 3;

/// The first examples of lines that cannot be, from all readers of a race.
#[derive(Debug, Default)]
pub(crate) struct Examples(Mutex<Vec<BadLine>>);

impl Examples {
    /// What was kept.
    pub(crate) fn taken(&self) -> Vec<BadLine> {
        // Never wait: whoever holds the lock may have been killed by an oops.
        self.0
            .try_lock()
            .map_or_else(|_| Vec::new(), |kept| kept.clone())
    }

    fn keep(&self, fault: LineFault, text: &[u8], why: &str) {
        if let Ok(mut kept) = self.0.try_lock()
            && kept.iter().filter(|line| line.fault == fault).count() < EXAMPLES
        {
            kept.push(BadLine {
                fault,
                line: String::from_utf8_lossy(text).trim_end().to_owned(),
                why: why.to_owned(),
            });
        }
    }
}

/// A module whose lines are checked.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// Its name.
    pub(super) name: String,
    /// Its taint letters, the same in every state.
    pub(super) taints: String,
    /// Counts the loads begun, where one loader alone loads the module: then a
    /// count that stands still means one load.
    pub(super) loads: Option<&'static AtomicU64>,
}

/// What one reader has seen of one module.
#[derive(Debug)]
struct History {
    module: Watched,
    /// Loads begun, just before the read under way.
    before: u64,
    /// The load that `last` is about.
    load: u64,
    /// The state furthest on that was seen of it.
    last: Option<State>,
}

/// One reader's check. Each has its own: its reads come one after the other.
#[derive(Debug)]
pub(super) struct LineCheck {
    modules: Vec<History>,
    examples: Arc<Examples>,
}

impl LineCheck {
    pub(super) fn new(modules: Vec<Watched>, examples: Arc<Examples>) -> Self {
        let modules = modules
            .into_iter()
            .map(|module| History {
                module,
                before: 0,
                load: 0,
                last: None,
            })
            .collect();
        Self { modules, examples }
    }

    /// To be called just before each read of the target.
    pub(super) fn before_read(&mut self) {
        for history in &mut self.modules {
            if let Some(loads) = history.module.loads {
                history.before = loads.load(Ordering::SeqCst);
            }
        }
    }

    /// Checks a head read: the beginning of the first line, or less.
    pub(super) fn head(&mut self, text: &[u8], slot: &Slot) {
        if let Ok(start) = parse_start(text) {
            self.start(&start, text, slot);
        }
    }

    /// Checks the whole lines that one read gave. `one_read` is false where
    /// several reads were joined: lines can then repeat, since the list moves
    /// between two reads.
    pub(super) fn lines(&mut self, text: &[u8], one_read: bool, slot: &Slot) {
        let mut names: Vec<&str> = Vec::new();
        for raw in text.split_inclusive(|&byte| byte == b'\n') {
            let line = match parse_line(raw) {
                Ok(line) => line,
                Err(error) => {
                    self.found(LineFault::Torn, raw, &error.to_string(), slot);
                    continue;
                }
            };
            // seq_read() holds module_mutex from m_start() to m_stop().
            if one_read && names.contains(&line.start.name) {
                let why = "one read lists the module twice";
                self.found(LineFault::Duplicate, raw, why, slot);
            }
            names.push(line.start.name);
            self.start(&line.start, raw, slot);
            self.rest(&line, raw, slot);
        }
    }

    /// The order of the states, and near misses.
    fn start(&mut self, start: &Start<'_>, raw: &[u8], slot: &Slot) {
        let Some(history) = self
            .modules
            .iter_mut()
            .find(|history| history.module.name == start.name)
        else {
            return;
        };
        let last = history.last_of_this_load(start.state);
        if start.state == State::Live && start.refcount == Some(-1) {
            let why = "Live with a reference count of -1: UNFORMED was set inside m_show()";
            self.found(LineFault::NearMiss, raw, why, slot);
        } else if start.state == State::Live && last == Some(State::Unloading) {
            let why = "Live after Unloading of the same load: UNFORMED was set inside m_show()";
            self.found(LineFault::NearMiss, raw, why, slot);
        } else if last.is_some_and(|last| rank(start.state) < rank(last)) {
            let why = "the same load was already seen in a later state";
            self.found(LineFault::OutOfOrder, raw, why, slot);
        } else if start.state == State::Loading && start.refcount.is_some_and(|count| count < 1) {
            // do_init_module() drops its reference after it has set LIVE.
            let why = "Loading without the reference that init holds";
            self.found(LineFault::Contradictory, raw, why, slot);
        }
    }

    /// What only a whole line shows: the flags. `m_show()` prints the state word
    /// first and the flags after it; between the two a module may become LIVE,
    /// which takes no mutex, and nothing else.
    fn rest(&mut self, line: &Line<'_>, raw: &[u8], slot: &Slot) {
        let Some(history) = self
            .modules
            .iter()
            .find(|history| history.module.name == line.start.name)
        else {
            return;
        };
        let taints = line.flags.map_or("", |flags| flags.taints);
        let sign = line.flags.map_or(Sign::None, |flags| flags.sign);
        if taints != history.module.taints {
            let why = format!("the module's taint letters are `{}`", history.module.taints);
            self.found(LineFault::Contradictory, raw, &why, slot);
        } else if line.flags.is_some() && !may_stand(line.start.state, sign) {
            let why = "the flags contradict the state";
            self.found(LineFault::Contradictory, raw, why, slot);
        }
    }

    fn found(&self, fault: LineFault, raw: &[u8], why: &str, slot: &Slot) {
        bump(match fault {
            LineFault::OutOfOrder => &slot.out_of_order,
            LineFault::Contradictory => &slot.contradictory,
            LineFault::Torn => &slot.torn,
            LineFault::Duplicate => &slot.duplicate,
            LineFault::NearMiss => &slot.near_misses,
        });
        self.examples.keep(fault, raw, why);
    }
}

impl History {
    /// The state furthest on that earlier reads showed of the load that this
    /// read shows; notes `state` for the next. None if it cannot be known that
    /// it is the same load.
    fn last_of_this_load(&mut self, state: State) -> Option<State> {
        let loads = self.module.loads?;
        // A load that began during the read may be the one that was shown.
        if loads.load(Ordering::SeqCst) != self.before {
            self.last = None;
            return None;
        }
        let last = self.last.filter(|_| self.load == self.before);
        self.load = self.before;
        let further = last.is_none_or(|last| rank(state) > rank(last));
        self.last = if further { Some(state) } else { last };
        last
    }
}

/// The order in which a load's states follow each other.
fn rank(state: State) -> u8 {
    match state {
        State::Loading => 0,
        State::Live => 1,
        State::Unloading => 2,
    }
}

fn may_stand(state: State, sign: Sign) -> bool {
    match state {
        // A load that fails goes from COMING to GOING without the mutex.
        State::Loading => true,
        State::Live => sign == Sign::None,
        State::Unloading => sign == Sign::Going,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        loads: &'static AtomicU64,
        check: LineCheck,
        slot: Slot,
        examples: Arc<Examples>,
    }

    fn bench(taints: &str) -> Bench {
        let loads: &'static AtomicU64 = Box::leak(Box::default());
        let watched = Watched {
            name: "dummy_module".to_owned(),
            taints: taints.to_owned(),
            loads: Some(loads),
        };
        let examples = Arc::new(Examples::default());
        Bench {
            loads,
            check: LineCheck::new(vec![watched], Arc::clone(&examples)),
            slot: Slot::default(),
            examples,
        }
    }

    impl Bench {
        fn head(&mut self, text: &str) {
            self.check.before_read();
            self.check.head(text.as_bytes(), &self.slot);
        }

        fn lines(&mut self, text: &str) {
            self.check.before_read();
            self.check.lines(text.as_bytes(), true, &self.slot);
        }

        fn load(&self) {
            self.loads.fetch_add(1, Ordering::SeqCst);
        }

        /// Near misses, out of order, contradictory, torn, duplicate.
        fn counts(&self) -> [u64; 5] {
            let slot = &self.slot;
            [
                &slot.near_misses,
                &slot.out_of_order,
                &slot.contradictory,
                &slot.torn,
                &slot.duplicate,
            ]
            .map(|counter| counter.load(Ordering::Relaxed))
        }
    }

    const LOADING: &str = "dummy_module 28672 1 - Loading 0xffff";
    const LIVE: &str = "dummy_module 16384 0 - Live 0xffff";
    const GOING: &str = "dummy_module 16384 -1 - Unloading 0xff";

    #[test]
    fn every_load_may_go_through_its_states_again_and_again() {
        let mut bench = bench("");
        for _ in 0..3 {
            bench.load();
            for text in [
                LOADING,
                LOADING,
                LIVE,
                LIVE,
                GOING,
                GOING,
                "other 1 0 - Live 0x0",
            ] {
                bench.head(text);
            }
        }
        assert_eq!(bench.counts(), [0; 5]);
    }

    #[test]
    fn live_with_a_count_of_minus_one_is_a_near_miss() {
        let mut bench = bench("");
        bench.head("dummy_module 16384 -1 - Live 0xffff");
        // Cut inside the state word it proves nothing.
        bench.head("dummy_module 16384 -1 - Live");
        // Another's line is not ours to judge.
        bench.head("other 16384 -1 - Live 0xffff");
        assert_eq!(bench.counts(), [1, 0, 0, 0, 0]);
        assert_eq!(bench.examples.taken()[0].fault, LineFault::NearMiss);
    }

    #[test]
    fn live_after_unloading_is_a_near_miss_only_in_the_same_load() {
        let old_going = "dummy_module 16384 0 - Unloading 0xff";
        let mut bench = bench("");
        bench.load();
        bench.head(old_going);
        bench.head(LIVE);
        assert_eq!(bench.counts(), [1, 0, 0, 0, 0]);
        bench.head(old_going);
        bench.load();
        bench.head(LIVE);
        assert_eq!(bench.counts(), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_load_that_begins_during_a_read_may_be_the_one_that_is_shown() {
        let mut bench = bench("");
        bench.load();
        bench.head(GOING);
        bench.check.before_read();
        bench.load();
        bench.check.head(LIVE.as_bytes(), &bench.slot);
        assert_eq!(bench.counts(), [0; 5]);
        // And what it was, the next read does not know either.
        bench.head(LOADING);
        assert_eq!(bench.counts(), [0; 5]);
    }

    #[test]
    fn with_two_loaders_the_order_proves_nothing() {
        let mut bench = bench("");
        bench.check.modules[0].module.loads = None;
        bench.head(GOING);
        bench.head(LIVE);
        assert_eq!(bench.counts(), [0; 5]);
    }

    #[test]
    fn states_that_go_back_and_flags_that_contradict_are_counted() {
        let mut bench = bench("OE");
        bench.load();
        bench.head(LIVE);
        bench.head(LOADING);
        assert_eq!(bench.counts(), [0, 1, 0, 0, 0]);
        for line in [
            "dummy_module 16384 0 - Live 0xffffffffa0000000 (OE+)\n",
            "dummy_module 16384 0 - Live 0xffffffffa0000000 (OE-)\n",
            "dummy_module 16384 0 - Live 0xffffffffa0000000 (O)\n",
            "dummy_module 16384 0 - Live 0xffffffffa0000000\n",
            "dummy_module 16384 -1 - Unloading 0xffffffffa0000000 (OE)\n",
        ] {
            bench.load();
            bench.lines(line);
        }
        bench.load();
        bench.lines("dummy_module 28672 0 - Loading 0xffffffffa0000000 (OE+)\n");
        assert_eq!(bench.counts(), [0, 1, 6, 0, 0]);
        // Each fault keeps its first examples only.
        assert_eq!(bench.examples.taken().len(), 1 + EXAMPLES);
    }

    #[test]
    fn a_module_may_become_live_between_its_word_and_its_flags() {
        let mut bench = bench("OE");
        bench.lines("dummy_module 28672 1 - Loading 0xffffffffa0000000 (OE)\n");
        bench.lines("dummy_module 28672 1 - Loading 0xffffffffa0000000 (OE+)\n");
        bench.lines("dummy_module 28672 1 - Live 0xffffffffa0000000 (OE)\n");
        assert_eq!(bench.counts(), [0; 5]);
    }

    #[test]
    fn torn_and_duplicate_lines_are_counted_where_one_read_gave_them() {
        let twice = "a 1 0 - Live 0x0\nb 1 0 - Live 0x0\na 1 0 - Live 0x0\n";
        let mut bench = bench("");
        bench.lines(twice);
        assert_eq!(bench.counts(), [0, 0, 0, 0, 1]);
        bench.check.lines(twice.as_bytes(), false, &bench.slot);
        assert_eq!(bench.counts(), [0, 0, 0, 0, 1]);
        bench.lines("a 1 0 - Live 0x0\nb 1 0 - Li");
        assert_eq!(bench.counts(), [0, 0, 0, 1, 1]);
    }
}
