//! A timer whose interrupt is long: a timerfd with very many epoll waiters,
//! each of which `timerfd_tmrproc()` wakes in interrupt context on the reader's
//! CPU. An interrupt that lands in the window keeps it open as long.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rand::RngExt;

use super::agents::{Agent, Agents, Round};
use super::{Arena, Armed, Auto, Technique};
use crate::kernel::sys;
use crate::model::Knob;
use crate::race::moments::PREEMPTER_PRIORITY;

pub(super) const TECHNIQUE: Technique = Technique {
    name: "timer-storm",
    help: "timers on the reader's CPU whose interrupt wakes thousands of waiters",
    needs: "timerfd and epoll, and the right to some thousand descriptors",
    side: super::Side::Kernel,
    auto: Auto::Named,
    arm,
};

/// Waiters of each timer.
const WAITERS: usize = 2000;
/// Descriptors that the rest of the process may need.
const SPARE: u64 = 256;
/// Longest time to the next interrupt, ns.
const LATEST_NS: u64 = 500_000;

/// The storms, and the limit to be put back.
struct Storms {
    agents: Option<Agents>,
    limit: (u64, u64),
}

fn arm(arena: &Arena) -> io::Result<Box<dyn Armed>> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = (WAITERS as u64 + 2) * arena.reader_cpus.len() as u64 + SPARE;
    if wanted > limit.0 {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, limit.1.max(wanted))?;
    }
    let mut storms = Storms {
        agents: None,
        limit,
    };
    let cpus = &arena.reader_cpus;
    storms.agents = Some(Agents::start("timer-storm", cpus, arena.seed, storm)?);
    Ok(Box::new(storms))
}

fn storm(mut agent: Agent) -> io::Result<Round> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty())?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    // One epoll watches the same timer as often as it has other names.
    let mut waiters = Vec::with_capacity(WAITERS);
    for _ in 0..WAITERS {
        let waiter: OwnedFd = std::os::fd::AsFd::as_fd(&timer).try_clone_to_owned()?;
        epoll.add(
            &waiter,
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0),
        )?;
        waiters.push(waiter);
    }
    // Who re-arms the timer has to run for a moment on the reader's CPU.
    let _waits_for_its_turn = sys::set_priority(0, Some(PREEMPTER_PRIORITY));
    Ok(Box::new(move || {
        let _held_until_the_end = (&epoll, &waiters);
        let delay = TimeSpec::from(Duration::from_nanos(
            agent.rng.random_range(1_000..LATEST_NS),
        ));
        let set = timer.set(Expiration::OneShot(delay), TimerSetTimeFlags::empty());
        if set.and_then(|()| timer.wait()).is_err() {
            agent.pause();
        }
    }))
}

impl Armed for Storms {
    fn disarm(self: Box<Self>) -> Vec<Knob> {
        Vec::new()
    }
}

impl Drop for Storms {
    fn drop(&mut self) {
        drop(self.agents.take());
        let _a_higher_limit_is_no_harm =
            setrlimit(Resource::RLIMIT_NOFILE, self.limit.0, self.limit.1);
    }
}
