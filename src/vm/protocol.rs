//! What host and guest say to each other: a plan in the initramfs, and lines of
//! JSON on the agent channel.

use serde::{Deserialize, Serialize};

use crate::model::{
    BadLine, Counters, Environment, Held, LoadedModule, Observed, Settings, Tunable,
};
use crate::recorder::{Phase, Snapshot};

/// Where the guest finds its plan.
pub const PLAN_PATH: &str = "/modrace/plan.json";
/// Where the guest finds the module.
pub const MODULE_PATH: &str = "/modrace/module.ko";
/// Where the guest finds what it needs to know for the lock-step.
pub const LOCK_STEP_PATH: &str = "/modrace/lock-step.json";
/// Where it finds modules to be loaded before it, in the order of their names.
pub const BEFORE_PATH: &str = "/modrace/with";
/// Before each line of the kernel's log that tells of a blocked task.
pub const BLOCKED_MARK: &str = "modrace: blocked: ";
/// Before each line, where the agent channel is the console.
pub const CONSOLE_PREFIX: &str = "modrace-agent: ";
/// Printed to the kernel log when the race starts, followed by the monotonic
/// clock in nanoseconds: it ties the log's clock to the race's.
pub const RACE_MARK: &str = "modrace: the race starts at ";

/// What a trial has to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialPlan {
    /// The run's settings.
    pub settings: Settings,
    /// The trial's seed.
    pub seed: u64,
    /// Only say hello: the question was whether a guest runs at all.
    pub probe: bool,
    /// Wait for the word to go, which brings what is this trial's own: before
    /// the module's states at once, before a race at the gate. The guest is to
    /// be saved there.
    #[serde(default)]
    pub hold: bool,
    /// What to do.
    #[serde(default)]
    pub task: Task,
}

/// What a guest is booted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Race the module.
    #[default]
    Race,
    /// Hold the module in each state and say what the kernel shows of it.
    States,
    /// Hold the module in one state, have the kernel print its list of modules,
    /// and crash it with sysrq-c.
    CrashIn(Held),
    /// Serve rounds of the lock-step, as [`LOCK_STEP_PATH`] says.
    LockStep,
}

/// States in which a guest can be crashed, each at the place of its word.
const HELD_WORDS: [Held; 5] = [
    Held::Init,
    Held::Live,
    Held::LiveHidden,
    Held::Exit,
    Held::Unloaded,
];

/// The word of [`Task::LockStep`], behind those of all states.
const LOCK_STEP_WORD: u64 = 2 + HELD_WORDS.len() as u64;

impl Task {
    /// The word for it on a recorder's page, by which a clone is told.
    pub fn to_word(self) -> u64 {
        match self {
            Self::Race => 0,
            Self::States => 1,
            Self::LockStep => LOCK_STEP_WORD,
            Self::CrashIn(held) => {
                let at = HELD_WORDS.iter().position(|&word| word == held);
                2 + at.unwrap_or_default() as u64
            }
        }
    }

    /// The task of a word; None if it is none.
    pub fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => Some(Self::Race),
            1 => Some(Self::States),
            LOCK_STEP_WORD => Some(Self::LockStep),
            _ => {
                let at = usize::try_from(word - 2).ok()?;
                HELD_WORDS.get(at).copied().map(Self::CrashIn)
            }
        }
    }
}

/// A line on the agent channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum GuestMessage {
    /// PID 1 runs.
    Hello {
        /// What it runs on.
        environment: Box<Environment>,
        /// Whether it found the flight recorder.
        recorder: bool,
    },
    /// The module was loaded once and is fit to be raced.
    Module(LoadedModule),
    /// All is armed: a few cycles without readers, and the gate opens.
    Racing(Racing),
    /// All wait at the gate, for the word to go.
    AtGate,
    /// Counts on the way, sent where there is no flight recorder.
    Tick(Tick),
    /// What the kernel shows of the module in one state.
    State(Box<Observed>),
    /// The module is held in the state asked for; the crash is next.
    Held,
    /// The states were gone through.
    StatesEnded {
        /// Why they were not.
        failed: Option<String>,
    },
    /// The trial is over.
    Finished(Box<Finished>),
}

/// What is at work when the gate opens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Racing {
    /// Settings of the kernel that were changed.
    pub tunables: Vec<Tunable>,
    /// Chaos techniques at work.
    pub techniques: Vec<String>,
    /// Chaos techniques that this kernel cannot do, with the reason.
    pub skipped: Vec<String>,
    /// The files that readers of a driver open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// Counts on the way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The guest's monotonic clock, ns.
    pub now_ns: u64,
    /// The same when the gate opened, ns; 0 before.
    pub race_start_ns: u64,
    /// Load/unload cycles.
    pub cycles: u64,
    /// Reads.
    pub reads: u64,
    /// The rest.
    pub counters: Counters,
}

impl From<Tick> for Snapshot {
    /// What a page would say.
    fn from(tick: Tick) -> Self {
        Self {
            prepared_ns: 0,
            present: false,
            phase: if tick.race_start_ns > 0 {
                Phase::Race
            } else {
                Phase::Setup
            },
            heartbeat: tick.now_ns,
            heartbeat_ns: tick.now_ns,
            race_start_ns: tick.race_start_ns,
            race_end_ns: 0,
            cycles: tick.cycles,
            last_cycle_ns: 0,
            reads: tick.reads,
            counters: tick.counters,
            stages: Vec::new(),
            aims: Vec::new(),
        }
    }
}

/// How a trial ended in its own eyes. A crash is not among them: who crashes
/// says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The race ran its time.
    Survived,
    /// Workers did not come back.
    Hung,
    /// The set-up failed.
    Broken,
    /// This kernel cannot be raced.
    Unsupported,
}

/// The end of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// How.
    pub ending: Ending,
    /// Why, in a sentence.
    pub reason: String,
    /// Time raced, seconds.
    pub raced_s: f64,
    /// Load/unload cycles.
    pub cycles: u64,
    /// Reads.
    pub reads: u64,
    /// The rest of the counts.
    pub counters: Counters,
    /// `/proc/sys/kernel/tainted` before the module was first loaded.
    pub taint_before: u64,
    /// The same at the end.
    pub taint_after: u64,
    /// Knobs, as they were left.
    pub tunables: Vec<Tunable>,
    /// The first examples of lines that cannot be.
    #[serde(default)]
    pub bad_lines: Vec<BadLine>,
    /// What a driver left behind, a line each.
    #[serde(default)]
    pub leaks: Vec<String>,
}

impl GuestMessage {
    /// One line, with its end.
    pub fn to_line(&self) -> String {
        // These types hold nothing that JSON cannot say.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{json}\n")
    }
}

/// Cuts a byte stream into messages. Lines that are none are passed over.
#[derive(Clone, Debug, Default)]
pub struct MessageReader {
    partial: Vec<u8>,
}

/// Longest line kept: what is longer is no message of ours.
const LONGEST_LINE: usize = 64 * 1024;

impl MessageReader {
    /// Messages on the agent channel that these bytes complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<GuestMessage> {
        self.lines(bytes)
            .iter()
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }

    /// The same on the console, where messages bear a prefix.
    pub fn feed_console(&mut self, bytes: &[u8]) -> Vec<GuestMessage> {
        self.lines(bytes)
            .iter()
            .filter_map(|line| {
                let at = memchr::memmem::find(line, CONSOLE_PREFIX.as_bytes())?;
                serde_json::from_slice(&line[at + CONSOLE_PREFIX.len()..]).ok()
            })
            .collect()
    }

    fn lines(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.partial.len() + piece.len() <= LONGEST_LINE {
                self.partial.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.partial).trim_ascii().to_vec());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_and_noise_between_them() {
        let message = GuestMessage::Module(LoadedModule {
            taints: "OE".to_owned(),
            rewritten: true,
        });
        let mut stream = b"\xff\xfe noise\n{\"say\":\"nonsense\"}\n".to_vec();
        stream.extend_from_slice(message.to_line().as_bytes());
        stream.extend_from_slice(message.to_line().as_bytes());
        for cut in 0..stream.len() {
            let mut reader = MessageReader::default();
            let mut seen = reader.feed(&stream[..cut]);
            seen.extend(reader.feed(&stream[cut..]));
            assert_eq!(seen, [message.clone(), message.clone()], "cut at {cut}");
        }
    }

    #[test]
    fn every_message_of_the_states_reads_back() {
        let messages = [
            GuestMessage::Held,
            GuestMessage::StatesEnded { failed: None },
            GuestMessage::StatesEnded {
                failed: Some("why".to_owned()),
            },
        ];
        for message in messages {
            let line = message.to_line();
            assert_eq!(MessageReader::default().feed(line.as_bytes()), [message]);
        }
    }

    #[test]
    fn every_task_has_a_word_of_its_own() {
        let crashes = HELD_WORDS.into_iter().map(Task::CrashIn);
        for task in [Task::Race, Task::States].into_iter().chain(crashes) {
            assert_eq!(Task::from_word(task.to_word()), Some(task));
        }
        assert_eq!(Task::from_word(99), None);
    }

    #[test]
    fn an_endless_line_costs_bounded_memory() {
        let mut reader = MessageReader::default();
        for _ in 0..100 {
            assert!(reader.feed(&[b'x'; 16 * 1024]).is_empty());
        }
        assert!(reader.partial.len() <= LONGEST_LINE);
        let message = GuestMessage::Module(LoadedModule::default());
        assert!(reader.feed(b"\n").is_empty());
        assert_eq!(reader.feed(message.to_line().as_bytes()), [message]);
    }

    #[test]
    fn on_the_console_a_prefix_marks_messages() {
        let message = GuestMessage::Module(LoadedModule {
            taints: "O".to_owned(),
            rewritten: false,
        });
        let line = format!("[    1.0] {CONSOLE_PREFIX}{}", message.to_line());
        assert_eq!(
            MessageReader::default().feed_console(line.as_bytes()),
            [message]
        );
    }
}
