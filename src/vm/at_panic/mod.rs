//! Both sides at the moment of a panic: the machine has stopped there, and each
//! virtual CPU is asked where it is and how it came there. The kernel has halted
//! the other CPUs by then, by an interrupt; what they were at is below that.

mod registers;
mod stack;

use std::time::{Duration, Instant};

use self::stack::Walked;
use super::{QmpEvent, Vm, VmEvent};
use crate::model::{AtPanic, Crash};

/// Longest time for all of it: what QEMU has not said by then it does not say.
const PATIENCE: Duration = Duration::from_millis(500);
/// Words of a stack that are read at once.
const WINDOW: usize = 256;

/// Locks whose waiters are looked for: the race's own. A side that sleeps is on
/// no CPU.
const LOCKS: &[&str] = &["module_mutex"];

/// Names of a kernel's addresses.
pub trait Names: std::fmt::Debug + Send + Sync {
    /// An address as kernel logs show it, `name+0xoffset`; None of what is not
    /// known.
    fn of(&self, at: u64) -> Option<String>;
    /// The address of a name.
    fn address(&self, name: &str) -> Option<u64>;
    /// The path of the kernel's image with its symbols.
    fn image(&self) -> Option<String>;
    /// Tells a crash's addresses by lines of the source, and its code by
    /// instructions. `build_id` is what the kernel says of itself.
    fn decode(&self, crash: &mut Crash, build_id: Option<&str>);
}

/// Asks a stopped machine. `hear` is told what comes meanwhile. Nothing where QEMU
/// does not answer.
pub fn look(vm: &mut Vm, names: Option<&dyn Names>, hear: &mut dyn FnMut(VmEvent)) -> Vec<AtPanic> {
    let mut machine = Stopped {
        vm,
        hear,
        until: Instant::now() + PATIENCE,
    };
    let text = machine.ask(0, "info registers -a").unwrap_or_default();
    let mut seen = Vec::new();
    for (cpu, registers) in registers::of_all(&text) {
        let walked = stack::walk(&registers, &mut |at| machine.words(cpu, at));
        seen.push(AtPanic {
            cpu: Some(cpu),
            ..told(&walked, names)
        });
    }
    for &lock in LOCKS {
        let Some(address) = names.and_then(|names| names.address(lock)) else {
            continue;
        };
        for walked in stack::waiters(address, &mut |at| machine.words(0, at)) {
            seen.push(AtPanic {
                waits_for: Some(lock.to_owned()),
                ..told(&walked, names)
            });
        }
    }
    seen
}

fn told(walked: &Walked, names: Option<&dyn Names>) -> AtPanic {
    let name = |&at: &u64| {
        let named = names.and_then(|names| names.of(at));
        named.unwrap_or_else(|| format!("{at:#x}"))
    };
    AtPanic {
        frames: walked.frames.iter().map(name).collect(),
        user: walked.user,
        sure: walked.sure,
        ..AtPanic::default()
    }
}

/// A machine that stands still.
struct Stopped<'a> {
    vm: &'a mut Vm,
    hear: &'a mut dyn FnMut(VmEvent),
    until: Instant,
}

impl Stopped<'_> {
    fn ask(&mut self, cpu: u32, command: &str) -> Option<String> {
        self.vm.monitor(cpu, command).ok()?;
        while let Some(left) = self.until.checked_duration_since(Instant::now()) {
            match self.vm.next_event(left) {
                Some(VmEvent::Qmp(QmpEvent::Said(text))) => return Some(text),
                Some(event) => (self.hear)(event),
                None => {}
            }
        }
        None
    }

    /// The words at an address, as far as there is memory.
    fn words(&mut self, cpu: u32, at: u64) -> Vec<u64> {
        let said = self.ask(cpu, &format!("x /{WINDOW}gx {at:#x}"));
        said.map_or_else(Vec::new, |text| registers::words(&text))
    }
}
