//! A read counter counts the same whether or not it parses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::race::line_check::Watched;
use crate::race::targets::named;

/// Live, loading, unloading, absent, reads.
pub(in crate::race) fn counts(slot: &Slot) -> [u64; 5] {
    [
        &slot.live,
        &slot.loading,
        &slot.unloading,
        &slot.absent,
        &slot.reads,
    ]
    .map(|count| count.load(Ordering::Relaxed))
}

/// Everything that a read counter counts.
fn tallied(slot: &Slot) -> Vec<u64> {
    let faults = [
        &slot.near_misses,
        &slot.out_of_order,
        &slot.contradictory,
        &slot.torn,
        &slot.duplicate,
    ]
    .map(|count| count.load(Ordering::Relaxed));
    [&counts(slot)[..], &faults].concat()
}

#[test]
fn a_head_that_repeats_the_last_counts_as_if_it_had_been_parsed() {
    const HEADS: [&str; 5] = [
        "dummy_module 16384 0 - Live 0x",
        "dummy_module 16384 -1 - Unloading 0x",
        // Near misses.
        "dummy_module 16384 -1 - Live 0x",
        "other 16384 0 - Live 0x",
        "",
    ];
    const STEPS: usize = 4;
    let names = vec!["dummy_module".to_owned()];
    let loader: &'static Slot = Box::leak(Box::default());
    let check = || {
        let watched = Watched {
            name: names[0].clone(),
            taints: String::new(),
            loader: Some(loader),
        };
        LineCheck::new(vec![watched], Arc::default())
    };
    // Every head, after no load, after one, and with one during the read.
    let choices = HEADS.len() * 3;
    for recovery in 0..choices.pow(u32::try_from(STEPS).unwrap()) {
        let (slot, forgetful_slot) = (Slot::default(), Slot::default());
        let target = named("/proc/modules").unwrap();
        let mut read_counter = ReadCounter::new(target, &names, check(), &slot);
        let mut forgetful = ReadCounter::new(target, &names, check(), &forgetful_slot);
        let mut rest = recovery;
        for _ in 0..STEPS {
            let (head, load) = (rest % choices / 3, rest % 3);
            rest /= choices;
            loader
                .loads
                .fetch_add(u64::from(load == 1), Ordering::Relaxed);
            for read_counter in [&mut read_counter, &mut forgetful] {
                read_counter.begin();
                read_counter.before_read();
            }
            loader
                .loads
                .fetch_add(u64::from(load == 2), Ordering::Relaxed);
            forgetful.head = Head::default();
            for read_counter in [&mut read_counter, &mut forgetful] {
                read_counter.head(HEADS[head].as_bytes());
            }
            assert_eq!(read_counter.end(), forgetful.end(), "recovery {recovery}");
        }
        assert_eq!(
            tallied(&slot),
            tallied(&forgetful_slot),
            "recovery {recovery}"
        );
    }
}
