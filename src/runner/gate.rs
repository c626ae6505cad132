//! What a trial does while its race starts: says what is at work, and at the
//! gate, in a guest that is to be saved, waits for the seed of its own trial.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::kernel::{clock, random};
use crate::model::Tunable;
use crate::race::action::Actions;
use crate::race::{Race, Starting};
use crate::recorder::Recorder;
use crate::vm::protocol::{GuestMessage, RACE_MARK, Racing, TrialPlan};

/// Files of a driver that are named.
const MOST_TOLD: usize = 20;
/// Marks of one start.
const MOST_MARKS: usize = 5;
/// A mark that took no longer dates a crash as well as anybody asks; a console
/// of 115,200 baud prints one in 5 ms.
const MARK_TAKES: Duration = Duration::from_millis(10);

/// The start of one race.
pub(super) struct Start<'a> {
    plan: &'a TrialPlan,
    recorder: &'static Recorder,
    /// When the module was first loaded, on the monotonic clock.
    first_load_ns: u64,
    /// The files that readers open, for the record.
    files: Vec<String>,
    say: &'a mut dyn FnMut(GuestMessage),
    /// Longest time raced: the plan's, until a clone is told its own.
    pub(super) duration: Duration,
    /// Tunables set for the race.
    pub(super) tunables: Vec<Tunable>,
}

impl<'a> Start<'a> {
    pub(super) fn new(
        plan: &'a TrialPlan,
        recorder: &'static Recorder,
        first_load_ns: u64,
        files: Vec<String>,
        say: &'a mut dyn FnMut(GuestMessage),
    ) -> Self {
        Self {
            plan,
            recorder,
            first_load_ns,
            files,
            say,
            duration: Duration::from_secs_f64(plan.settings.duration_s),
            tunables: Vec::new(),
        }
    }
}

impl Starting for Start<'_> {
    fn armed(&mut self, race: &Race) {
        self.tunables = race.tunables();
        (self.say)(GuestMessage::Racing(Racing {
            tunables: self.tunables.clone(),
            techniques: (race.techniques.iter())
                .map(|&name| name.to_owned())
                .collect(),
            skipped: race.skipped.clone(),
            files: self.files.clone(),
        }));
    }

    fn at_gate(&mut self) -> u64 {
        let prepared_ns = clock::monotonic_ns().saturating_sub(self.first_load_ns);
        (self.recorder.prepared_ns).store(prepared_ns, Ordering::Relaxed);
        let mut seed = self.plan.seed;
        if self.plan.hold {
            let say = &mut self.say;
            let go = self.recorder.hold(|| say(GuestMessage::AtGate));
            (seed, self.duration) = (go.seed, go.duration);
            // Where it fails, clones of one template draw the same numbers from
            // the kernel; the race draws none.
            let _ = random::stir(seed);
        }
        mark_start();
        seed
    }
}

/// Writes the start of the race to the kernel log, so that the log's own clock
/// can be read against ours; again where the two were read far from each other,
/// as where the CPU was taken away between them.
pub(super) fn mark_start() {
    // Times to crash are coarser without it.
    let Ok(mut kmsg) = OpenOptions::new().write(true).open("/dev/kmsg") else {
        return;
    };
    for _ in 0..MOST_MARKS {
        let before_ns = clock::monotonic_ns();
        let mark = format!("<5>{RACE_MARK}{before_ns}\n");
        let written = kmsg.write_all(mark.as_bytes());
        let took = Duration::from_nanos(clock::monotonic_ns() - before_ns);
        if written.is_err() || took <= MARK_TAKES {
            return;
        }
    }
}

/// The files that a driver's readers open, for the record.
pub(super) fn told_files(actions: &Actions) -> Vec<String> {
    let files = actions.files.iter().take(MOST_TOLD);
    let mut told: Vec<String> = files.map(|path| path.display().to_string()).collect();
    if actions.files.len() > MOST_TOLD {
        told.push(format!("and {} more", actions.files.len() - MOST_TOLD));
    }
    told
}
