//! The reader of `auto`: strikes at each unload as the schedule says, and keeps
//! away from the module list otherwise, so that loads cost what they cost
//! without a reader.
//!
//! What happens in an unload, and who holds `module_mutex` (6.1):
//! `delete_module` takes it for a moment and sets `GOING`; `del_usage_links()`
//! takes it for a moment; sysfs forgets the module's attributes one by one,
//! its sections and itself; then comes the unlocked store of `UNFORMED`; then
//! the mutex once more to take the module off the list. A reader that contends
//! for the two moments puts the loader to sleep and then sleeps itself while
//! the loader stores. A reader that comes between them and the store is in
//! `m_show()` for most of its time, and the store falls into its window about
//! as often as that.

use std::sync::atomic::{AtomicBool, Ordering};

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::aim::Aim;
use super::arms::{ARMS, Schedule, Shape, Start};
use super::moments::{Moments, READER_PRIORITY, Unload};
use super::reader::Listing;
use super::strikes::Strikes;
use super::uevent::Removal;
use crate::kernel::clock;
use crate::kernel::priority::RealTime;
use crate::procfs::modules::State;
use crate::recorder::{Slot, Stage};

/// Longest strike where the loader cannot go on meanwhile, ns.
const LONGEST_STRIKE_NS: u64 = 3_000_000;
/// Looks of a reader that came too early.
const LOOKS: u32 = 20;
/// Longest wait between two of them, ns.
const LONGEST_WAIT_NS: u64 = 60_000;

/// What a striker is given.
pub(super) struct Striker<'a> {
    /// The clock of its loader.
    pub(super) moments: &'a Moments,
    /// Whom its strikes are announced to.
    pub(super) strikes: &'a Strikes,
    /// Which arm when.
    pub(super) schedule: &'a Schedule,
    /// Name of the loader's module.
    pub(super) module: &'a str,
    /// Whether it and its loader are on one CPU.
    pub(super) shares_cpu: bool,
    /// The race's seed, which decides about arms.
    pub(super) race_seed: u64,
    /// Seed of its own choices.
    pub(super) seed: u64,
    /// Its counts.
    pub(super) slot: &'a Slot,
}

impl Striker<'_> {
    /// Strikes at every unload until told to stop.
    pub(super) fn run(
        &self,
        listing: &mut Listing<'_>,
        cycles: &dyn Fn() -> u64,
        stop: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut aim = Aim::default();
        let mut last = None;
        // Without the right to it the reader waits for its turn instead.
        let _raised = (self.shares_cpu).then(|| RealTime::take(READER_PRIORITY));
        let removal = (self.shares_cpu.then(|| Removal::of(self.module))).and_then(Result::ok);
        while let Some(unload) = self.moments.next(last, self.shares_cpu, stop) {
            last = Some(unload);
            let index = self.schedule.arm(self.race_seed, unload.number());
            let arm = &ARMS[index];
            self.slot.arm.store(index as u64 + 1, Ordering::Relaxed);
            let unload_ns = self.moments.shortest_ns();
            let delay_ns = match arm.start {
                Start::AtOnce | Start::Uevent if !self.shares_cpu => 0,
                _ => aim.delay_ns(unload_ns, &mut rng),
            };
            let strike_ns = unload.began_ns + delay_ns;
            let uevent = removal.as_ref().filter(|_| arm.start == Start::Uevent);
            let (seen, at_ns) = if self.shares_cpu {
                self.strike_on_shared_cpu(listing, arm.shape, strike_ns, uevent, &mut rng)?
            } else {
                (
                    self.strike(listing, arm.shape, unload, strike_ns)?,
                    strike_ns,
                )
            };
            if uevent.is_none() {
                aim.saw(at_ns - unload.began_ns, seen);
            }
            self.slot
                .learned_ns
                .store(aim.learned_ns().unwrap_or(0), Ordering::Relaxed);
            self.slot.unload_ns.store(unload_ns, Ordering::Relaxed);
            listing.doubt(seen.is_some(), cycles())?;
        }
        self.slot.enter(Stage::Ended);
        Ok(())
    }

    /// One strike: what its first read showed.
    fn strike(
        &self,
        listing: &mut Listing<'_>,
        shape: Shape,
        unload: Unload,
        strike_ns: u64,
    ) -> std::io::Result<Option<State>> {
        while clock::monotonic_ns() < strike_ns {}
        self.strikes.announce(strike_ns);
        let first = listing.read(shape)?;
        let mut state = first;
        // Once it is gone the store has been made: what is left of the unload
        // is the loader's, and the mutex with it.
        while state.is_some() && self.moments.lasts(unload) {
            state = listing.read(shape)?;
        }
        Ok(first)
    }

    /// The same where the loader stands still while the reader reads: the
    /// preempter has to interrupt the reader in its window. What the last look
    /// before that showed, and for when that look was set.
    fn strike_on_shared_cpu(
        &self,
        listing: &mut Listing<'_>,
        shape: Shape,
        strike_ns: u64,
        uevent: Option<&Removal>,
        rng: &mut impl Rng,
    ) -> std::io::Result<(Option<State>, u64)> {
        match uevent {
            Some(removal) => {
                removal.drain();
                removal.wait();
            }
            None => clock::sleep_until(strike_ns),
        }
        let mut set_ns = strike_ns;
        let mut state = listing.read(shape)?;
        // Too early: the loader gets a little further before the next look.
        for _ in 0..LOOKS {
            if !matches!(state, Some(State::Live | State::Loading)) {
                break;
            }
            set_ns = clock::monotonic_ns() + rng.random_range(0..LONGEST_WAIT_NS);
            clock::sleep_until(set_ns);
            state = listing.read(shape)?;
        }
        let seen = state;
        // The preempter is called only now that the reader has this CPU:
        // before, it would hold back a reader that has not begun.
        let now = clock::monotonic_ns();
        if state.is_some() {
            self.strikes.announce(now);
        }
        while state.is_some() && clock::monotonic_ns() < now + LONGEST_STRIKE_NS {
            state = listing.read(shape)?;
        }
        Ok((seen, set_ns))
    }
}
