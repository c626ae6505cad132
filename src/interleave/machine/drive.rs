//! A machine driven: a round prepared, its sides begun, stopped and let go.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{LINGER, LOADER, Machine, READER};
use crate::interleave::calls::Call;
use crate::kernel::sys;
use crate::vm::instrument::page::{call, stop};
use crate::vm::{QmpEvent, RunState, VmEvent};

/// For QEMU to act on a command.
const FREEZE: Duration = Duration::from_millis(100);

/// What a round is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// The module's form.
    pub form: u64,
    /// What the round finds prepared: bits such as
    /// [`MODULE_LOADED`](crate::vm::instrument::lock_step::MODULE_LOADED).
    pub prepared: u64,
    /// Each side's call.
    pub calls: [Call; 2],
    /// Which of the files is the reader's.
    pub file: u64,
    /// Whether the file is closed and the module unloaded after it.
    pub tidies: bool,
}

impl Machine {
    /// Asks the guest to prepare a round; then both sides stand at their gates.
    pub fn prepare(&mut self, setting: &Setting, cpus: [u32; 2]) {
        self.round += 1;
        let page = &self.ends.page;
        for (side, cpu) in page.sides.iter().zip(cpus) {
            side.stop.state.store(stop::IDLE, Ordering::Release);
            side.call.store(call::NONE, Ordering::Release);
            side.cpu.store(cpu, Ordering::Relaxed);
            for word in [
                &side.task,
                &side.switched_out,
                &side.progress,
                &side.block,
                &side.last_run,
                &side.lock_function,
                &side.touched,
                &side.events,
                &side.stop.passes,
            ] {
                word.store(0, Ordering::Relaxed);
            }
            side.running.store(0, Ordering::Relaxed);
            side.interrupted.store(0, Ordering::Relaxed);
        }
        page.order.store(0, Ordering::Relaxed);
        let lock_step = &self.ends.lock_step;
        lock_step.form.store(setting.form, Ordering::Relaxed);
        lock_step
            .prepared
            .store(setting.prepared, Ordering::Relaxed);
        for (word, call) in lock_step.calls.iter().zip(setting.calls) {
            word.store(call.to_word(), Ordering::Relaxed);
        }
        lock_step.file.store(setting.file, Ordering::Relaxed);
        lock_step
            .tidies
            .store(u64::from(setting.tidies), Ordering::Relaxed);
        lock_step.round.store(self.round, Ordering::Release);
    }

    /// Whether both sides stand at their gates.
    pub fn prepared(&self) -> bool {
        self.is_this_round(&self.ends.lock_step.ready)
    }

    /// What a side's call of this round returned: negative for an error number.
    pub fn result(&self, side: usize) -> i64 {
        self.ends.lock_step.result[side]
            .load(Ordering::Acquire)
            .cast_signed()
    }

    /// Whether both calls came back and the guest has tidied up.
    pub fn tidy(&self) -> bool {
        self.ends.lock_step.clean.load(Ordering::Acquire) >= self.round
    }

    fn is_this_round(&self, words: &[std::sync::atomic::AtomicU64; 2]) -> bool {
        words
            .iter()
            .all(|word| word.load(Ordering::Acquire) >= self.round)
    }

    /// Why the last load failed, if it did.
    pub fn load_error(&self) -> Option<u64> {
        let error = self.ends.lock_step.load_error.load(Ordering::Acquire);
        (error != 0).then_some(error)
    }

    /// The address of the module that is loaded.
    pub fn module(&self) -> Option<u64> {
        let address = self.ends.lock_step.module.load(Ordering::Acquire);
        (address != 0).then_some(address)
    }

    /// The address of its code.
    pub fn module_code(&self) -> Option<u64> {
        let address = self.ends.lock_step.code.load(Ordering::Acquire);
        (address != 0).then_some(address)
    }

    /// Asks for a side to be stopped in this round.
    pub fn arm(&self, side: usize, address: u64, pass: u64) {
        let asked = &self.ends.page.sides[side].stop;
        asked.address.store(address, Ordering::Relaxed);
        asked.after.store(0, Ordering::Relaxed);
        asked.pass.store(pass, Ordering::Relaxed);
        asked.passes.store(0, Ordering::Relaxed);
        asked.state.store(stop::ARMED, Ordering::Release);
    }

    /// Has a side begin its call.
    pub fn begin(&self, side: usize) {
        self.ends.page.sides[side]
            .call
            .store(call::EXPECTED, Ordering::Release);
        self.ends.lock_step.begin[side].store(self.round, Ordering::Release);
    }

    /// Lets a side go on, wherever it stands, and asks for no other stop.
    pub fn release(&self, side: usize) {
        let asked = &self.ends.page.sides[side].stop;
        asked.state.store(stop::RELEASED, Ordering::Release);
        sys::wake(&asked.state);
    }

    /// Has a side's CPU kept from it, once it is let go: the guest wakes the task
    /// that does it.
    pub fn keep(&self, side: usize) {
        self.ends.lock_step.keep[side].store(self.round, Ordering::Release);
    }

    /// Whether that task was woken.
    pub fn keeper_woken(&self, side: usize) -> bool {
        self.ends.lock_step.woken[side].load(Ordering::Acquire) == self.round
    }

    /// Whether the side's task was preempted: that task has its CPU, and the side
    /// has not come back.
    pub fn preempted(&self, side: usize) -> bool {
        let kept = self.ends.lock_step.kept[side].load(Ordering::Acquire) == self.round;
        let words = &self.ends.page.sides[side];
        kept && words.running.load(Ordering::Acquire) == 0 && !self.ended(side)
    }

    /// Gives a side its CPU back.
    pub fn give_back(&self, side: usize) {
        self.ends.lock_step.keep[side].store(0, Ordering::Release);
    }

    /// Stops all CPUs for a debugger: those that stand at a point are let go and
    /// stop after the instruction there. False if they do not stop.
    pub fn freeze(&mut self) -> bool {
        if self.vm.stop_cpus().is_err() {
            return false;
        }
        // QEMU's main thread asks each CPU first, then waits for all.
        thread::sleep(FREEZE);
        self.release(LOADER);
        self.release(READER);
        let deadline = Instant::now() + LINGER;
        while Instant::now() < deadline {
            let _asked_again = self.vm.query_status();
            match self.vm.next_event(FREEZE) {
                Some(VmEvent::Qmp(QmpEvent::Status(RunState::Stopped))) => return true,
                None if self.vm.exited().is_some() => return false,
                Some(_) | None => {}
            }
        }
        false
    }

    /// Whether QEMU has ended.
    pub fn gone(&mut self) -> bool {
        self.vm.exited().is_some()
    }

    /// Whether a side stands where it was asked to.
    pub fn stopped(&self, side: usize) -> bool {
        self.ends.page.sides[side]
            .stop
            .state
            .load(Ordering::Acquire)
            == stop::STOPPED
    }

    /// Whether a side's call came back.
    pub fn ended(&self, side: usize) -> bool {
        self.ends.lock_step.ended[side].load(Ordering::Acquire) >= self.round
    }
}
