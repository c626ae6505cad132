//! The stop at the gate: a guest that is to be saved says on its page that it
//! stands there, and waits for the word to go, which its clones find on pages
//! of their own. All that tells one clone from another comes with that word.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::layout::Recorder;

/// Words of [`Recorder::hold`].
const HELD: u64 = 1;
const GO: u64 = 2;
/// Time between two looks of the guest.
const LOOK: Duration = Duration::from_micros(200);

/// What a clone is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Go {
    /// The trial's seed.
    pub seed: u64,
    /// Longest time raced.
    pub duration: Duration,
    /// What to do, where that is not settled before: a word of `vm::protocol`.
    pub task: u64,
}

impl Recorder {
    /// The guest: waits for the word to go. `held` is called once it waits.
    pub fn hold(&self, held: impl FnOnce()) -> Go {
        self.hold.store(HELD, Ordering::Release);
        held();
        while self.hold.load(Ordering::Acquire) != GO {
            thread::sleep(LOOK);
        }
        Go {
            seed: self.go_seed.load(Ordering::Relaxed),
            duration: Duration::from_nanos(self.go_duration_ns.load(Ordering::Relaxed)),
            task: self.go_task.load(Ordering::Relaxed),
        }
    }

    /// The host: gives the word.
    pub fn go(&self, go: Go) {
        let duration_ns = u64::try_from(go.duration.as_nanos()).unwrap_or(u64::MAX);
        self.go_seed.store(go.seed, Ordering::Relaxed);
        self.go_duration_ns.store(duration_ns, Ordering::Relaxed);
        self.go_task.store(go.task, Ordering::Relaxed);
        self.hold.store(GO, Ordering::Release);
    }

    /// The host: whether a guest waits here.
    pub fn is_held(&self) -> bool {
        self.hold.load(Ordering::Acquire) == HELD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_held_goes_with_what_the_word_says() {
        let page: &'static Recorder = Box::leak(Recorder::new());
        let word = Go {
            seed: 7,
            duration: Duration::from_millis(1500),
            task: 3,
        };
        assert!(!page.is_held());
        let told = page.hold(|| {
            assert!(page.is_held());
            page.go(word);
        });
        assert_eq!(told, word);
        assert!(!page.is_held());
    }
}
