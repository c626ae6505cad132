//! What is seen of a trial on the machine that it is made on: kernel records, the
//! worker process's messages and counts go in, the evidence comes out. Pure, so
//! that every case can be told to it in a test; judges nothing.

use crate::console::{self, Origin};
use crate::crash::Sign;
use crate::judge::conclusion::Conclusion;
use crate::judge::evidence::{DeathSign, Evidence, Taint};
use crate::judge::kernel_log::{KernelLog, is_complaint};
use crate::judge::stall_detector::Stall;
use crate::model::{Accel, TrialPhase};
use crate::recorder::{Phase, Snapshot};
use crate::vm::protocol::{Finished, GuestMessage, MessageReader, Racing};

/// Records of this level (warning) or worse are shown as they come.
const WORTH_SHOWING: u8 = 4;

/// Why the watching ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ended {
    /// The first line of a crash was seen.
    Sign,
    /// The worker process has sent its result.
    Result,
    /// The user wanted it.
    Interrupted,
    /// No progress while the machine was alive.
    Stalled(Stall),
    /// The worker process ended without a result.
    Gone(String),
}

/// What one record of the kernel's log says at first sight.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// A crash begins, after which no module must be touched.
    pub(super) sign: Option<Sign>,
    /// Something to show.
    pub(super) show: Option<String>,
}

/// Everything seen of one trial.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    log: KernelLog,
    messages: MessageReader,
    racing: Option<Racing>,
    finished: Option<Finished>,
    lost: u64,
}

impl Monitor {
    /// A record of the kernel's log.
    pub(super) fn on_kmsg(&mut self, record: &[u8]) -> Glance {
        let mut bytes = record.to_vec();
        bytes.push(b'\n');
        let begins = |sign: &Sign| sign.ends_trial && !is_complaint(sign.kind, sign.severity);
        let mut glance = Glance {
            sign: self.log.feed(&bytes, true).into_iter().find(begins),
            show: None,
        };
        let line = console::parse_line(record);
        let worth = line.level.is_some_and(|level| level <= WORTH_SHOWING);
        if worth && line.origin == Origin::Kernel {
            glance.show = Some(line.text.into_owned());
        }
        glance
    }

    /// So many records were overwritten before they could be read.
    pub(super) fn on_lost(&mut self, records: u64) {
        self.lost += records;
    }

    /// Bytes of the worker process's messages.
    pub(super) fn on_worker(&mut self, bytes: &[u8]) -> Vec<GuestMessage> {
        let messages = self.messages.feed(bytes);
        for message in &messages {
            match message {
                GuestMessage::Racing(racing) => self.racing = Some(racing.clone()),
                GuestMessage::Finished(finished) => self.finished = Some((**finished).clone()),
                _ => {}
            }
        }
        messages
    }

    /// The worker process's result.
    pub(super) fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }

    /// Whether a crash's report has been read to its end.
    pub(super) fn report_is_whole(&self) -> bool {
        self.log.has_whole_report()
    }

    /// What the worker process said of blocked tasks.
    pub(super) fn blocked(&self) -> &[String] {
        self.log.blocked()
    }

    /// The log's clock at the start of the race, seconds.
    pub(super) fn log_start_s(&self, start_ns: u64) -> Option<f64> {
        self.log.clock.since_start_s(0.0, start_ns).map(|at| -at)
    }

    /// The chaos techniques at work.
    pub(super) fn chaos(&self) -> Vec<String> {
        let racing = self.racing.as_ref();
        racing.map_or_else(Vec::new, |racing| racing.techniques.clone())
    }

    /// What it came to.
    pub(super) fn conclude(
        mut self,
        ended: &Ended,
        last: &Snapshot,
        taint: Taint,
        duration_s: f64,
    ) -> Conclusion {
        let raced = last.race_start_ns > 0;
        let mut deaths = Vec::new();
        let mut trouble = None;
        match ended {
            Ended::Stalled(Stall::Kernel(why)) => deaths.push(DeathSign::Stalled(why.clone())),
            Ended::Stalled(Stall::Setup(why)) | Ended::Gone(why) => trouble = Some(why.clone()),
            Ended::Sign | Ended::Result | Ended::Interrupted => {}
        }
        if deaths.is_empty() && !self.log.blocked().is_empty() {
            let blocked = format!("blocked: {}", self.log.blocked().join("; "));
            deaths.push(DeathSign::Stalled(blocked));
        }
        let evidence = Evidence {
            reports: self.log.finish(raced),
            lost_records: self.lost,
            deaths,
            taint: Some(taint),
            phase: match last.phase {
                Phase::Settle | Phase::Done if raced => TrialPhase::Settle,
                _ if raced => TrialPhase::Race,
                _ => TrialPhase::Setup,
            },
            interrupted: *ended == Ended::Interrupted,
            trouble,
            finished: self.finished.take(),
            ..Evidence::new("kmsg", Accel::None, duration_s, last.clone())
        };
        let mut conclusion = Conclusion::of(&evidence, &self.log.clock, self.racing.as_ref());
        let skipped = self.racing.iter().flat_map(|racing| &racing.skipped);
        conclusion
            .notes
            .extend(skipped.map(|technique| format!("chaos technique skipped: {technique}")));
        conclusion
    }
}
