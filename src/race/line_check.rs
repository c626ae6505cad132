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

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::model::{BadLine, LineFault};
use crate::procfs::modules::{Line, Sign, Start, State, parse_line, parse_start};
use crate::recorder::{Slot, bump};

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
    /// Its loader's slot, where one loader alone loads the module: then a count
    /// of loads that stands still means one load.
    pub(super) loader: Option<&'static Slot>,
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
            if let Some(loader) = history.module.loader {
                history.before = loader.loads.load(Ordering::SeqCst);
            }
        }
    }

    /// The loads begun, if none began during the read that has just ended: two
    /// reads of one moment that show the same text have the same said of them.
    pub(super) fn moment(&self) -> Option<u64> {
        self.modules.iter().try_fold(0, |sum, history| {
            let now = history.module.loader?.loads.load(Ordering::SeqCst);
            (now == history.before).then_some(sum + now)
        })
    }

    /// Notes that a reader could see, in the cycles under way as the read began.
    pub(super) fn could_see(&self) {
        for history in &self.modules {
            if let Some(loader) = history.module.loader {
                loader.watch(history.before);
            }
        }
    }

    /// Checks a head read: the beginning of the first line, or less. True if it
    /// is in order.
    pub(super) fn head(&mut self, text: &[u8], slot: &Slot) -> bool {
        parse_start(text).map_or(true, |start| self.start(&start, text, slot))
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

    /// The order of the states, and near misses. True if nothing was found.
    fn start(&mut self, start: &Start<'_>, raw: &[u8], slot: &Slot) -> bool {
        let Some(history) = self
            .modules
            .iter_mut()
            .find(|history| history.module.name == start.name)
        else {
            return true;
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
        } else {
            return true;
        }
        false
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
        let loads = &self.module.loader?.loads;
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
mod tests;
