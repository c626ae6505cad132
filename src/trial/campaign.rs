//! A campaign: many trials, some at once, each result handed on as soon as it
//! is there. What a trial is, is its caller's business.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use crate::model::{Event, Trial};

/// A trial was stopped before it had an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// A campaign.
#[derive(Debug)]
pub struct Campaign {
    /// Trials to perform.
    pub trials: u32,
    /// How many at once.
    pub jobs: u32,
}

impl Campaign {
    /// Performs the trials on a pool of threads and calls `hear` on the calling
    /// thread with everything that happens. `hear` returning false, or `stop`
    /// being set, ends the campaign: trials under way are given up.
    pub fn run(
        &self,
        stop: &AtomicBool,
        trial: impl Fn(u32, &AtomicBool, &dyn Fn(Event)) -> Result<Trial, Interrupted> + Sync,
        mut hear: impl FnMut(Event) -> bool,
    ) -> Result<(), rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.jobs.clamp(1, self.trials.max(1)) as usize)
            .thread_name(|index| format!("trial/{index}"))
            .build()?;
        let give_up = AtomicBool::new(false);
        let (send, events) = mpsc::channel();
        pool.in_place_scope_fifo(|scope| {
            for index in 0..self.trials {
                let send = send.clone();
                let (trial, give_up) = (&trial, &give_up);
                scope.spawn_fifo(move |_| {
                    if give_up.load(Ordering::Relaxed) {
                        return;
                    }
                    let tell = |event| {
                        let _nobody_listens = send.send(event);
                    };
                    if let Ok(done) = trial(index, give_up, &tell) {
                        tell(Event::Finished(Box::new(done)));
                    }
                });
            }
            drop(send);
            // The channel closes when the last trial has ended.
            loop {
                match events.recv_timeout(std::time::Duration::from_millis(100)) {
                    Ok(event) => {
                        if !hear(event) {
                            give_up.store(true, Ordering::Relaxed);
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                if stop.load(Ordering::Relaxed) {
                    give_up.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(())
    }
}
