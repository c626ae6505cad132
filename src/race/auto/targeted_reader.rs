//! The reader of `auto`: reads at each unload as the schedule says, and keeps
//! away from the module list otherwise, so that loads cost what they cost
//! without a reader.
//!
//! What happens in an unload, and who holds `module_mutex` (6.1):
//! `delete_module` takes it for a moment and sets `GOING`; `del_usage_links()`
//! takes it for a moment; sysfs forgets the module's attributes one by one,
//! its sections and itself; then comes the unlocked store of `UNFORMED`; then
//! the mutex once more to take the module off the list. A reader that contends
//! for the two unload clock puts the loader to sleep and then sleeps itself while
//! the loader stores. A reader that comes between them and the store is in
//! `m_show()` for most of its time, and the store falls into its window about
//! as often as that.

use std::sync::atomic::{AtomicBool, Ordering};

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::delay_estimator::DelayEstimator;
use super::read_policy::{READ_POLICIES, Schedule, Shape, Start};
use super::targeted_reads::TargetedReads;
use super::uevent::Removal;
use super::unload_clock::{READER_PRIORITY, Unload, UnloadClock};
use crate::kernel::clock;
use crate::kernel::priority::RealTime;
use crate::procfs::modules::State;
use crate::race::target_reader::TargetReader;
use crate::recorder::{Slot, Stage};

/// Longest targeted read where the loader cannot go on meanwhile, ns.
const LONGEST_READ_NS: u64 = 3_000_000;
/// Looks of a reader that came too early.
const LOOKS: u32 = 20;
/// Longest wait between two of them, ns.
const LONGEST_WAIT_NS: u64 = 60_000;

/// What a targeted reader is given.
pub(in crate::race) struct TargetedReader<'a> {
    /// The clock of its loader.
    pub(in crate::race) unload_clock: &'a UnloadClock,
    /// Whom its reads are announced to.
    pub(in crate::race) targeted_reads: &'a TargetedReads,
    /// Which arm when.
    pub(in crate::race) schedule: &'a Schedule,
    /// Name of the loader's module.
    pub(in crate::race) module: &'a str,
    /// Whether it and its loader are on one CPU.
    pub(in crate::race) shares_cpu: bool,
    /// The race's seed, which decides about arms.
    pub(in crate::race) race_seed: u64,
    /// Seed of its own choices.
    pub(in crate::race) seed: u64,
    /// Its counts.
    pub(in crate::race) slot: &'a Slot,
}

impl TargetedReader<'_> {
    /// `TargetedReads` at every unload until told to stop.
    pub(in crate::race) fn run(
        &self,
        target_reader: &mut TargetReader<'_>,
        cycles: &dyn Fn() -> u64,
        stop: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut aim = DelayEstimator::default();
        let mut last = None;
        // Without the right to it the reader waits for its turn instead.
        let _raised = (self.shares_cpu).then(|| RealTime::take(READER_PRIORITY));
        let removal = (self.shares_cpu.then(|| Removal::of(self.module))).and_then(Result::ok);
        while let Some(unload) = self.unload_clock.next(last, self.shares_cpu, stop) {
            last = Some(unload);
            let index = self.schedule.arm(self.race_seed, unload.number());
            let arm = &READ_POLICIES[index];
            self.slot.arm.store(index as u64 + 1, Ordering::Relaxed);
            let unload_ns = self.unload_clock.shortest_ns();
            let delay_ns = match arm.start {
                Start::AtOnce | Start::Uevent if !self.shares_cpu => 0,
                _ => aim.delay_ns(unload_ns, &mut rng),
            };
            let read_at_ns = unload.began_ns + delay_ns;
            let uevent = removal.as_ref().filter(|_| arm.start == Start::Uevent);
            let (seen, at_ns) = if self.shares_cpu {
                self.read_on_shared_cpu(target_reader, arm.shape, read_at_ns, uevent, &mut rng)?
            } else {
                (
                    self.read_at(target_reader, arm.shape, unload, read_at_ns)?,
                    read_at_ns,
                )
            };
            if uevent.is_none() {
                aim.saw(at_ns - unload.began_ns, seen);
            }
            self.slot
                .learned_ns
                .store(aim.learned_ns().unwrap_or(0), Ordering::Relaxed);
            self.slot.unload_ns.store(unload_ns, Ordering::Relaxed);
            target_reader.reopen_if_empty()?;
            target_reader.reopen_if_stale(seen.is_some(), cycles())?;
        }
        self.slot.enter(Stage::Ended);
        Ok(())
    }

    /// One targeted read: what its first read showed.
    fn read_at(
        &self,
        target_reader: &mut TargetReader<'_>,
        shape: Shape,
        unload: Unload,
        read_at_ns: u64,
    ) -> std::io::Result<Option<State>> {
        while clock::monotonic_ns() < read_at_ns {}
        self.targeted_reads.announce(read_at_ns);
        let first = target_reader.read(shape)?;
        let mut state = first;
        // Once it is gone the store has been made: what is left of the unload
        // is the loader's, and the mutex with it.
        while state.is_some() && self.unload_clock.lasts(unload) {
            state = target_reader.read(shape)?;
        }
        Ok(first)
    }

    /// The same where the loader stands still while the reader reads: the
    /// preempter has to interrupt the reader in its window. What the last look
    /// before that showed, and for when that look was set.
    fn read_on_shared_cpu(
        &self,
        target_reader: &mut TargetReader<'_>,
        shape: Shape,
        read_at_ns: u64,
        uevent: Option<&Removal>,
        rng: &mut impl Rng,
    ) -> std::io::Result<(Option<State>, u64)> {
        match uevent {
            Some(removal) => {
                removal.drain();
                removal.wait();
            }
            None => clock::sleep_until(read_at_ns),
        }
        let mut set_ns = read_at_ns;
        let mut state = target_reader.read(shape)?;
        // Too early: the loader gets a little further before the next look.
        for _ in 0..LOOKS {
            if !matches!(state, Some(State::Live | State::Loading)) {
                break;
            }
            set_ns = clock::monotonic_ns() + rng.random_range(0..LONGEST_WAIT_NS);
            clock::sleep_until(set_ns);
            state = target_reader.read(shape)?;
        }
        let seen = state;
        // The preempter is called only now that the reader has this CPU:
        // before, it would hold back a reader that has not begun.
        let now = clock::monotonic_ns();
        if state.is_some() {
            self.targeted_reads.announce(now);
        }
        while state.is_some() && clock::monotonic_ns() < now + LONGEST_READ_NS {
            state = target_reader.read(shape)?;
        }
        Ok((seen, set_ns))
    }
}
