//! Everything that was seen of one trial, in one value: what the kernel's log,
//! the recorder, the taint word, QMP, pstore and the journal say. Gathered on a
//! VM, on the machine itself and in recovery alike; judged in `judge`.

use std::fmt;

use crate::model::{Accel, Crash, TrialPhase};
use crate::recorder::Snapshot;
use crate::vm::protocol::Finished;

/// A report found in the kernel's log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// What it says. Of the same lesser report the first is kept.
    pub(crate) crash: Crash,
    /// Where the trial was.
    pub(crate) phase: TrialPhase,
    /// How often it came.
    pub(crate) count: u64,
}

/// What says, apart from the kernel's log, that the kernel died or does not get
/// on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeathSign {
    /// The kernel told the pvpanic device that it panicked.
    Pvpanic,
    /// QEMU ended the machine because of a panic.
    GuestPanic,
    /// The kernel reset the machine.
    Reset,
    /// The heartbeat stopped behind a report.
    HeartbeatStopped,
    /// Nothing moved for too long, or tasks were blocked, while CPUs ran.
    Stalled(String),
    /// The run's journal stops, and the machine has booted since.
    JournalStops,
}

impl fmt::Display for DeathSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pvpanic => f.write_str("pvpanic: the guest panicked"),
            Self::GuestPanic => f.write_str("QMP: ended by a panic"),
            Self::Reset => f.write_str("QMP: the guest reset"),
            Self::HeartbeatStopped => f.write_str("flight recorder: the heartbeat stopped"),
            Self::Stalled(why) => write!(f, "flight recorder: {why}"),
            Self::JournalStops => f.write_str("journal: the trial has no end"),
        }
    }
}

/// The kernel's taint word, `/proc/sys/kernel/tainted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taint {
    /// Before the module was first loaded.
    pub(crate) before: u64,
    /// At the end.
    pub(crate) after: u64,
}

/// All that was seen of one trial.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// What the log is: `console`, `kmsg`, `pstore: …`.
    pub(crate) source: String,
    /// The reports in it, in their order.
    pub(crate) reports: Vec<Report>,
    /// Records of the log that were overwritten before they could be read.
    pub(crate) lost_records: u64,
    /// What else says that the kernel died.
    pub(crate) deaths: Vec<DeathSign>,
    /// The taint word; none: nobody could ask the kernel any more.
    pub(crate) taint: Option<Taint>,
    /// Whether the guest is known to have gone on well behind the first report.
    pub(crate) went_on: bool,
    /// The result of who raced.
    pub(crate) finished: Option<Finished>,
    /// The recorder at the end.
    pub(crate) last: Snapshot,
    /// Where the trial was at its end.
    pub(crate) phase: TrialPhase,
    /// The machine powered off in order.
    pub(crate) powered_off: bool,
    /// The user ended it before its time.
    pub(crate) interrupted: bool,
    /// What host or modrace did to it, or why nothing is known of the kernel.
    pub(crate) trouble: Option<String>,
    /// What the machine runs on.
    pub(crate) accel: Accel,
    /// Time that was to be raced, seconds.
    pub(crate) duration_s: f64,
}

impl Evidence {
    /// Of a trial of which nothing was seen yet.
    pub(crate) fn new(
        source: impl Into<String>,
        accel: Accel,
        duration_s: f64,
        last: Snapshot,
    ) -> Self {
        Self {
            source: source.into(),
            reports: Vec::new(),
            lost_records: 0,
            deaths: Vec::new(),
            taint: None,
            went_on: false,
            finished: None,
            last,
            phase: TrialPhase::Boot,
            powered_off: false,
            interrupted: false,
            trouble: None,
            accel,
            duration_s,
        }
    }

    /// Bits of the taint word that are new since the trial began.
    pub(crate) fn new_taint(&self) -> u64 {
        self.taint.map_or(0, |taint| taint.after & !taint.before)
    }
}
