//! modrace as PID 1 of a disposable guest: mounts what a trial needs, performs
//! it, says how it went, and powers the machine off. It never returns, since a
//! PID 1 that ends is a panic of its own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

use crate::interleave;
use crate::interleave::guest::Reads;
use crate::kernel::{clock, uname};
use crate::recorder;
use crate::recorder::Recorder;
use crate::runner::{perform, rehearsed};
use crate::states;
use crate::vm::instrument::lock_step;
use crate::vm::protocol::{
    CONSOLE_PREFIX, GuestMessage, LOCK_STEP_PATH, MODULE_PATH, PLAN_PATH, Task, Tick, TrialPlan,
};
use crate::vm::{AGENT_TTY, open_agent};

/// Time between two ticks where there is no flight recorder.
const TICK: Duration = Duration::from_millis(250);

/// Whether this process is a guest's PID 1.
pub fn is_guest() -> bool {
    std::process::id() == 1 && Path::new(PLAN_PATH).exists()
}

/// Performs the trial that the initramfs holds.
pub fn main() -> ! {
    // The host learns of a failure from the silence; the console says why.
    if let Err(error) = serve() {
        // The last thing that can be done about it.
        let _ = fs::write("/dev/kmsg", format!("<3>modrace: guest: {error}\n"));
    }
    loop {
        // Without ACPI it fails: the host has all it needs and ends us.
        let _ = reboot(RebootMode::RB_POWER_OFF);
        thread::sleep(Duration::from_secs(1));
    }
}

fn serve() -> io::Result<()> {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(
            Some(kind),
            target,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )?;
    }
    for (kind, target) in [
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
    ] {
        let none = MsFlags::empty();
        // Not every kernel has them; a race that needs one says so.
        let _ = mount(Some(kind), target, Some(kind), none, None::<&str>);
    }
    let agent = Arc::new(Agent::open()?);
    let plan: TrialPlan = serde_json::from_slice(&fs::read(PLAN_PATH)?)?;
    let page = recorder::open_in_guest();
    agent.say(&GuestMessage::Hello {
        environment: Box::new(uname::environment("")),
        recorder: page.is_ok(),
    });
    if plan.probe {
        return Ok(());
    }
    if plan.task == Task::LockStep {
        let rounds = serde_json::from_slice(&fs::read(LOCK_STEP_PATH)?)?;
        let page = Box::leak(Box::new(lock_step::open_in_guest()?));
        return match rehearsed(&plan.settings, Path::new(MODULE_PATH)) {
            Ok(actions) => {
                let action = actions.reader;
                let reads = Reads {
                    files: actions.files,
                    open: Box::new(move |path| action.open(path)),
                    text: actions.text,
                };
                interleave::guest::serve(&rounds, page, actions.parameters, reads)
            }
            Err(reason) => {
                interleave::guest::refuse(page, &reason);
                Ok(())
            }
        };
    }
    // The page is never given back: a dead worker may still point to it.
    let page: &'static Recorder = if let Ok(page) = page {
        Box::leak(Box::new(page))
    } else {
        let page = Box::leak(Recorder::new());
        tick(page, Arc::clone(&agent))?;
        page
    };
    if plan.task != Task::Race {
        let mut say = |message| agent.say(&message);
        let mut task = plan.task;
        if plan.hold {
            let go = page.hold(|| say(GuestMessage::AtGate));
            task = Task::from_word(go.task)
                .ok_or_else(|| io::Error::other(format!("no task has the word {}", go.task)))?;
        }
        states::perform(
            task,
            Path::new(MODULE_PATH),
            Path::new("/modrace"),
            &mut say,
        );
        return Ok(());
    }
    let stop = AtomicBool::new(false);
    let mut say = |message| agent.say(&message);
    perform(
        &plan,
        Path::new(MODULE_PATH),
        Path::new("/modrace"),
        page,
        &stop,
        &mut say,
    );
    Ok(())
}

/// Sends counts regularly: the fallback for the flight recorder.
fn tick(page: &'static Recorder, agent: Arc<Agent>) -> io::Result<()> {
    let ticker = move || loop {
        let seen = page.snapshot();
        agent.say(&GuestMessage::Tick(Tick {
            now_ns: clock::monotonic_ns(),
            race_start_ns: page.race_start_ns.load(Ordering::Relaxed),
            cycles: seen.cycles,
            reads: seen.reads,
            counters: seen.counters,
        }));
        thread::sleep(TICK);
    };
    thread::Builder::new()
        .name("ticker".to_owned())
        .spawn(ticker)
        .map(drop)
}

/// The agent channel: the second serial port, or marked lines on the console.
struct Agent {
    port: Mutex<File>,
    prefix: &'static str,
}

impl Agent {
    fn open() -> io::Result<Self> {
        let (port, prefix) = match open_agent(AGENT_TTY) {
            Ok(port) => (port, ""),
            Err(_) => (
                fs::OpenOptions::new().write(true).open("/dev/console")?,
                CONSOLE_PREFIX,
            ),
        };
        Ok(Self {
            port: Mutex::new(port),
            prefix,
        })
    }

    fn say(&self, message: &GuestMessage) {
        let line = format!("{}{}", self.prefix, message.to_line());
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        // The host judges a guest that says nothing, too.
        let _ = port.write_all(line.as_bytes()).and_then(|()| port.flush());
        // A console has no queue to drain.
        let _ = nix::sys::termios::tcdrain(&*port);
    }
}
