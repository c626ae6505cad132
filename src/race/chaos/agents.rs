//! Agents: the threads of a technique, each on a CPU of its own choice, each
//! with its own seeded generator, perturbing round after round until disarmed.
//! Knows nothing of what they do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::TechniqueGuard;
use crate::kernel::{affinity, sys};
use crate::model::{Domain, Tunable, derive};
use crate::race::gate::RaceSeed;

/// Longest wait for agents to end: longer than any of them sleeps.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest pause between two perturbations, ns.
const LONGEST_PAUSE_NS: u64 = 200_000;

/// What an agent is given.
pub(super) struct Agent {
    /// Its number, from 0.
    pub(super) index: usize,
    seed: RaceSeed,
    rng: Option<Xoshiro256PlusPlus>,
    /// Set when it has to end; who sleeps long looks at it.
    pub(super) stop: Arc<AtomicBool>,
}

impl Agent {
    /// Its generator. Its seed is that of the race, so before that nobody gets
    /// anything random.
    pub(super) fn rng(&mut self) -> &mut Xoshiro256PlusPlus {
        self.rng.get_or_insert_with(|| {
            let seed = derive(self.seed.wait(), Domain::Agent, self.index as u64);
            Xoshiro256PlusPlus::seed_from_u64(seed)
        })
    }

    /// Sleeps for a random time between two perturbations.
    pub(super) fn pause(&mut self) {
        let ns = self.rng().random_range(0..LONGEST_PAUSE_NS);
        thread::sleep(Duration::from_nanos(ns));
    }
}

/// One round of an agent.
pub(super) type Round = Box<dyn FnMut()>;

/// Agents at work. Dropping them ends them, and waits until they have.
pub(super) struct Agents {
    stop: Arc<AtomicBool>,
    ended: Receiver<io::Result<()>>,
}

impl Agents {
    /// Starts one agent on each of `cpus`. `set_up` runs on the agent's own
    /// thread and gives its rounds, which begin with the race; the first error
    /// ends all of them.
    pub(super) fn start(
        name: &str,
        cpus: &[usize],
        seed: &RaceSeed,
        set_up: impl Fn(Agent) -> io::Result<Round> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (say, said) = mpsc::channel();
        let agents = Self {
            stop: Arc::clone(&stop),
            ended: said,
        };
        for (index, &cpu) in cpus.iter().enumerate() {
            let agent = Agent {
                index,
                seed: seed.clone(),
                rng: None,
                stop: Arc::clone(&stop),
            };
            let (stop, seed) = (Arc::clone(&stop), seed.clone());
            let (say, set_up) = (say.clone(), set_up.clone());
            thread::Builder::new()
                .name(format!("{name}/{cpu}"))
                .spawn(move || {
                    sys::exact_timers();
                    let round = affinity::pin_to(cpu)
                        .map_err(io::Error::from)
                        .and_then(|()| set_up(agent));
                    match round {
                        Ok(mut round) => {
                            // The starter may have given up.
                            let _ = say.send(Ok(()));
                            seed.wait();
                            while !stop.load(Ordering::Relaxed) {
                                round();
                            }
                        }
                        Err(error) => drop(say.send(Err(error))),
                    }
                })?;
        }
        drop(say);
        for _ in cpus {
            agents
                .ended
                .recv()
                .map_err(|_| io::Error::other("an agent died"))??;
        }
        Ok(agents)
    }
}

impl TechniqueGuard for Agents {
    fn disarm(self: Box<Self>) -> Vec<Tunable> {
        Vec::new()
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The channel closes when the last agent has let go of it.
        while self.ended.recv_timeout(PATIENCE).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn agents_go_round_until_dropped_and_not_after() {
        let cpu = affinity::allowed_cpus().unwrap()[0];
        let (rounds, seed) = (Arc::new(AtomicU64::new(0)), RaceSeed::default());
        let counted = Arc::clone(&rounds);
        let agents = Agents::start("test", &[cpu, cpu], &seed, move |mut agent| {
            let counted = Arc::clone(&counted);
            Ok(Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                agent.pause();
            }))
        })
        .unwrap();
        thread::sleep(Duration::from_millis(5));
        assert_eq!(rounds.load(Ordering::Relaxed), 0, "the race has not begun");
        seed.set(7);
        while rounds.load(Ordering::Relaxed) < 4 {
            thread::yield_now();
        }
        drop(agents);
        let after = rounds.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(5));
        assert_eq!(rounds.load(Ordering::Relaxed), after);
    }

    #[test]
    fn one_that_cannot_be_set_up_is_an_error() {
        let cpu = affinity::allowed_cpus().unwrap()[0];
        let failed = Agents::start("test", &[cpu], &RaceSeed::default(), |_| {
            Err(io::Error::other("cannot"))
        });
        assert_eq!(failed.err().unwrap().to_string(), "cannot");
    }
}
