//! What a trial does while its race starts: says what is at work, and at the
//! gate, in a guest that is to be saved, waits for the seed of its own trial.

use std::fs;
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
/// can be read against ours.
pub(super) fn mark_start() {
    // Times to crash are coarser without it.
    let _ = fs::write(
        "/dev/kmsg",
        format!("<5>{RACE_MARK}{}\n", clock::monotonic_ns()),
    );
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
