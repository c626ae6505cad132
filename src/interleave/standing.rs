//! Whether a side stands still, from what is seen of it. It does when it is in
//! a wait that cannot end before the other side, which is stopped, goes on: for
//! a lock whose owner is the stopped task, or for a CPU that is stopped. No
//! progress alone shows nothing: a side that sleeps and tries again makes none
//! either for a while. Pure.

use std::time::Duration;

use super::arch::{Arch, WaitKind, Waiting};
use super::noise::is_noise;
use crate::decode::symbols::Symbols;

/// Bits of a lock's owner word that are no part of the pointer: three in
/// kernel/locking/mutex.c, the same in rwsem.c.
const OWNER_FLAGS: u64 = 7;
/// How long a wait for every CPU must have lasted without a wake-up: a grace
/// period that needs the stopped CPU no more ends within it.
pub const EVERY_CPU_QUIET_S: f64 = 0.2;

/// How long a side must have been quiet for what is concluded from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// In a wait for every CPU, until that counts as standing still, seconds.
    pub every_cpu_s: f64,
    /// In a wait of which it is not shown who could end it, until it is left.
    /// None: the limit of all waits.
    pub waits: Option<Duration>,
}

impl Patience {
    /// Where nothing may be concluded that is not shown.
    pub const PROOF: Self = Self {
        every_cpu_s: EVERY_CPU_QUIET_S,
        waits: None,
    };
    /// Where much is to be tried, and nothing is concluded from a side that
    /// does not come. A grace period or an interprocessor call that began after
    /// a CPU was stopped cannot end before it goes on.
    pub const SEARCH: Self = Self {
        every_cpu_s: 0.008,
        waits: Some(Duration::from_millis(15)),
    };
}

/// What is seen of a side while the other one is stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its task runs on a CPU.
    pub running: bool,
    /// The last block of the kernel that it ran.
    pub block: u64,
    /// Return addresses on its stack, innermost first, where it is switched
    /// out.
    pub stack: Vec<u64>,
    /// The lock function that it entered last.
    pub lock_function: u64,
    /// Words touched in that function: address and present value.
    pub lock_words: Vec<(u64, u64)>,
    /// The stopped side's task.
    pub stopped_task: u64,
    /// How long nothing was seen to change, seconds.
    pub quiet_s: f64,
    /// How long that must be in a wait for every CPU, seconds.
    pub every_cpu_s: f64,
}

/// Why a side stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// For what it waits.
    pub kind: WaitKind,
    /// The function that waits.
    pub function: String,
    /// Who called it, as far as it is known.
    pub caller: Option<String>,
    /// The lock: its owner word's address, or its symbol.
    pub lock: Option<String>,
}

/// The task that a lock's owner word names.
pub fn owner_of(word: u64) -> u64 {
    word & !OWNER_FLAGS
}

/// Whether code there waits for every CPU.
pub fn waits_for_every_cpu(place: u64, arch: &Arch, symbols: &Symbols) -> bool {
    symbols.at(place).is_some_and(|(name, _)| {
        arch.waiting
            .iter()
            .any(|row| row.kind == WaitKind::EveryCpu && name.starts_with(row.prefix))
    })
}

/// Whether code there turns in a loop until a lock is free.
pub fn spins(place: u64, arch: &Arch, symbols: &Symbols) -> bool {
    symbols
        .at(place)
        .is_some_and(|(name, _)| arch.spins.iter().any(|prefix| name.starts_with(prefix)))
}

/// The reason, if it is shown.
pub fn standing(seen: &Seen, arch: &Arch, symbols: &Symbols) -> Option<Standing> {
    // Where the side is, innermost first.
    let places: Vec<u64> = if seen.running {
        vec![seen.block]
    } else {
        seen.stack.clone()
    };
    let (depth, kind, function) = places.iter().enumerate().find_map(|(depth, &place)| {
        let (name, _) = symbols.at(place)?;
        let row = arch
            .waiting
            .iter()
            .find(|row| name.starts_with(row.prefix))?;
        Some((depth, row.kind, name.to_owned()))
    })?;
    // Stacks are looked through for whatever follows a call: what is left of
    // earlier ones is the scheduler's.
    let in_a_wait = |place: u64| {
        symbols.at(place).is_some_and(|(name, _)| {
            let waits = |row: &Waiting| row.kind == kind && name.starts_with(row.prefix);
            let locks = || {
                arch.takes_lock
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            };
            is_noise(name) || arch.waiting.iter().any(waits) || locks()
        })
    };
    let caller = places[depth..]
        .iter()
        .find(|&&place| !in_a_wait(place))
        .map(|&place| symbols.show(place))
        .filter(|_| !seen.running);
    match kind {
        WaitKind::Lock => {
            // The lock is the word, of those that this wait looked at, that
            // names the stopped task as its owner.
            let (address, _) = seen.lock_words.iter().find(|(_, value)| {
                seen.stopped_task != 0 && owner_of(*value) == seen.stopped_task
            })?;
            let entered = symbols.at(seen.lock_function).map(|(name, _)| name);
            Some(Standing {
                kind: WaitKind::Lock,
                function: entered.unwrap_or(&function).to_owned(),
                caller,
                lock: Some(symbols.show(*address)),
            })
        }
        WaitKind::EveryCpu => (seen.quiet_s >= seen.every_cpu_s).then_some(Standing {
            kind: WaitKind::EveryCpu,
            caller,
            function,
            lock: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::arch::X86_64;
    use super::*;

    const MAP: &str = "ffffffff81001000 T free_module\n\
        ffffffff81002000 T mutex_lock\n\
        ffffffff81002100 t __mutex_lock.constprop.0\n\
        ffffffff81002300 T mutex_trylock\n\
        ffffffff81002400 T usleep_range_state\n\
        ffffffff81002500 T schedule\n\
        ffffffff81002600 t mutex_spin_on_owner\n\
        ffffffff81002700 T synchronize_rcu\n\
        ffffffff81002800 T wait_for_completion\n\
        ffffffff82000000 D module_mutex\n\
        ffffffff82000040 D other_mutex\n";
    const READER: u64 = 0xffff_8880_0123_4000;

    fn asleep(stack: &[u64]) -> Seen {
        Seen {
            running: false,
            block: 0xffff_ffff_8100_2500,
            stack: stack.to_vec(),
            lock_function: 0xffff_ffff_8100_2000,
            lock_words: vec![(0xffff_ffff_8200_0000, READER | 1)],
            stopped_task: READER,
            quiet_s: 0.0,
            every_cpu_s: EVERY_CPU_QUIET_S,
        }
    }

    const IN_MUTEX: [u64; 4] = [
        0xffff_ffff_8100_2510,
        0xffff_ffff_8100_2110,
        0xffff_ffff_8100_2010,
        0xffff_ffff_8100_1020,
    ];

    fn judge(seen: &Seen) -> Option<Standing> {
        standing(seen, &X86_64, &Symbols::of_text(MAP))
    }

    #[test]
    fn asleep_on_a_mutex_of_the_stopped_task_is_standing_still() {
        assert_eq!(
            judge(&asleep(&IN_MUTEX)),
            Some(Standing {
                kind: WaitKind::Lock,
                function: "mutex_lock".to_owned(),
                caller: Some("free_module+0x20".to_owned()),
                lock: Some("module_mutex".to_owned()),
            })
        );
    }

    #[test]
    fn spinning_on_the_owner_is_standing_still_too() {
        let seen = Seen {
            running: true,
            block: 0xffff_ffff_8100_2610,
            ..asleep(&[])
        };
        assert!(judge(&seen).is_some());
    }

    #[test]
    fn a_mutex_of_somebody_else_is_not() {
        let seen = Seen {
            lock_words: vec![(0xffff_ffff_8200_0040, READER + 0x4000)],
            quiet_s: 10.0,
            ..asleep(&IN_MUTEX)
        };
        assert_eq!(judge(&seen), None);
    }

    #[test]
    fn asleep_between_two_tries_is_not_however_long() {
        let seen = Seen {
            quiet_s: 10.0,
            ..asleep(&[
                0xffff_ffff_8100_2510,
                0xffff_ffff_8100_2410,
                0xffff_ffff_8100_1020,
            ])
        };
        assert_eq!(judge(&seen), None);
    }

    #[test]
    fn trying_the_lock_is_not() {
        let seen = Seen {
            running: true,
            block: 0xffff_ffff_8100_2310,
            quiet_s: 10.0,
            ..asleep(&[])
        };
        assert_eq!(judge(&seen), None);
    }

    #[test]
    fn a_grace_period_has_to_be_long_before_it_counts() {
        let stack = [
            0xffff_ffff_8100_2510,
            0xffff_ffff_8100_2810,
            0xffff_ffff_8100_2710,
            0xffff_ffff_8100_1020,
        ];
        let mut seen = Seen {
            lock_words: Vec::new(),
            quiet_s: 0.01,
            ..asleep(&stack)
        };
        assert_eq!(judge(&seen), None);
        seen.quiet_s = 1.0;
        let found = judge(&seen).map(|found| (found.function, found.caller));
        assert_eq!(
            found,
            Some((
                "synchronize_rcu".to_owned(),
                Some("free_module+0x20".to_owned())
            ))
        );
    }
}
