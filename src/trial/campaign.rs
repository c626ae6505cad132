//! A campaign: many trials, some at once, each result handed on as soon as it
//! is there. Which trial comes next, and when it is over, is the schedule's to
//! say; what a trial is, its caller's.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use crate::model::Trial;
use crate::trial::Event;

/// Longest time that a signal goes unnoticed.
const TURN: Duration = Duration::from_millis(100);

/// A trial was stopped before it had an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// What a schedule wants now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<Key> {
    /// Another trial.
    Start(Key),
    /// What is under way.
    Wait,
    /// Nothing more.
    Stop,
}

/// Says which trial comes next, and is told what happens, on the thread that
/// runs the campaign.
pub trait Schedule {
    /// What tells one trial from another.
    type Key: Copy + Send;

    /// What to do while a place is free. Never `Wait` with nothing under way.
    fn next(&mut self) -> Turn<Self::Key>;

    /// Something happened in a trial. False gives up all that is under way.
    fn hear(&mut self, key: Self::Key, event: Event) -> bool;
}

/// Performs trials on `jobs` threads until the schedule stops or `stop` is set;
/// then trials under way are given up. A panic in a trial gives up the others as
/// well, and goes on in the caller once they have ended.
pub fn run<S: Schedule>(
    jobs: u32,
    stop: &AtomicBool,
    schedule: &mut S,
    trial: impl Fn(S::Key, &AtomicBool, &dyn Fn(Event)) -> Result<Trial, Interrupted> + Sync,
) -> Result<(), rayon::ThreadPoolBuildError> {
    let jobs = jobs.max(1) as usize;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .thread_name(|index| format!("trial/{index}"))
        .build()?;
    let give_up = AtomicBool::new(false);
    let (send, news) = mpsc::channel::<(S::Key, Option<Event>)>();
    pool.in_place_scope_fifo(|scope| {
        let mut under_way = 0;
        loop {
            if stop.load(Ordering::Relaxed) {
                give_up.store(true, Ordering::Relaxed);
            }
            while under_way < jobs && !give_up.load(Ordering::Relaxed) {
                let Turn::Start(key) = schedule.next() else {
                    break;
                };
                under_way += 1;
                let place = Place {
                    key,
                    news: send.clone(),
                    give_up: &give_up,
                };
                let trial = &trial;
                scope.spawn_fifo(move |_| {
                    let tell = |event| place.tell(Some(event));
                    if let Ok(done) = trial(key, place.give_up, &tell) {
                        tell(Event::Finished(Box::new(done)));
                    }
                });
            }
            if under_way == 0 {
                return;
            }
            match news.recv_timeout(TURN) {
                Ok((key, Some(event))) => {
                    if !schedule.hear(key, event) {
                        give_up.store(true, Ordering::Relaxed);
                    }
                }
                Ok((_, None)) => under_way -= 1,
                // The sender is ours: it never disconnects.
                Err(_) => {}
            }
        }
    });
    Ok(())
}

/// Does a trial's work. A panic in it is a fault of modrace and breaks this
/// trial alone: it comes back as a reason.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // What the work had half changed is its own and is dropped with it.
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        format!(
            "modrace itself failed, please report it: panic: {}",
            text.unwrap_or("without a message")
        )
    })
}

/// The place of a trial under way. Dropping it says that the trial is over,
/// however it ended: a panic must not leave the campaign waiting for it.
struct Place<'a, Key: Copy> {
    key: Key,
    news: Sender<(Key, Option<Event>)>,
    give_up: &'a AtomicBool,
}

impl<Key: Copy> Place<'_, Key> {
    fn tell(&self, event: Option<Event>) {
        // The receiver outlives the threads.
        let _ = self.news.send((self.key, event));
    }
}

impl<Key: Copy> Drop for Place<'_, Key> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.give_up.store(true, Ordering::Relaxed);
        }
        self.tell(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wants trials 0 to `last`, and gives up when it hears of `end_at`.
    struct Counting {
        next: u32,
        last: u32,
        end_at: Option<u32>,
        heard: Vec<u32>,
    }

    impl Schedule for Counting {
        type Key = u32;

        fn next(&mut self) -> Turn<u32> {
            if self.next > self.last {
                return Turn::Stop;
            }
            self.next += 1;
            Turn::Start(self.next - 1)
        }

        fn hear(&mut self, key: u32, _: Event) -> bool {
            self.heard.push(key);
            self.end_at != Some(key)
        }
    }

    fn heard(jobs: u32, end_at: Option<u32>, stop: bool) -> Vec<u32> {
        let mut schedule = Counting {
            next: 0,
            last: 9,
            end_at,
            heard: Vec::new(),
        };
        let trial = |key, _: &AtomicBool, tell: &dyn Fn(Event)| {
            tell(Event::Started { index: key });
            Err(Interrupted)
        };
        run(jobs, &AtomicBool::new(stop), &mut schedule, trial).unwrap();
        schedule.heard.sort_unstable();
        schedule.heard
    }

    #[test]
    fn every_trial_is_made_once_however_many_at_a_time() {
        for jobs in [1, 3, 20] {
            assert_eq!(
                heard(jobs, None, false),
                (0..10).collect::<Vec<_>>(),
                "{jobs} jobs"
            );
        }
    }

    #[test]
    fn a_panic_in_guarded_work_is_a_reason_with_its_message() {
        let reason = guarded(|| panic!("number {}", 7)).err().unwrap();
        assert!(reason.ends_with("panic: number 7"), "{reason}");
        assert_eq!(guarded(|| 5), Ok(5));
    }

    #[test]
    fn a_panic_in_a_trial_ends_the_campaign_and_goes_on_in_the_caller() {
        let mut schedule = Counting {
            next: 0,
            last: 9,
            end_at: None,
            heard: Vec::new(),
        };
        let trial = |key, give_up: &AtomicBool, _: &dyn Fn(Event)| {
            assert!(key != 1, "made to panic");
            while key == 0 && !give_up.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Interrupted)
        };
        let stop = AtomicBool::new(false);
        let ran = AssertUnwindSafe(|| run(2, &stop, &mut schedule, trial));
        assert!(panic::catch_unwind(ran).is_err());
        assert!(schedule.next < 10, "the others were not given up");
    }

    #[test]
    fn giving_up_starts_no_more() {
        assert_eq!(heard(1, Some(3), false), [0, 1, 2, 3]);
        assert_eq!(heard(2, None, true), Vec::<u32>::new());
    }
}
