//! The line check: what a kernel in order may print, and what proves a fault.

use super::*;

struct Bench {
    loader: &'static Slot,
    check: LineCheck,
    slot: Slot,
    examples: Arc<Examples>,
}

fn bench(taints: &str) -> Bench {
    let loader: &'static Slot = Box::leak(Box::default());
    let watched = Watched {
        name: "dummy_module".to_owned(),
        taints: taints.to_owned(),
        loader: Some(loader),
    };
    let examples = Arc::new(Examples::default());
    Bench {
        loader,
        check: LineCheck::new(vec![watched], Arc::clone(&examples)),
        slot: Slot::default(),
        examples,
    }
}

impl Bench {
    fn head(&mut self, text: &str) {
        self.check.before_read();
        self.check.head(text.as_bytes(), &self.slot);
    }

    fn lines(&mut self, text: &str) {
        self.check.before_read();
        self.check.lines(text.as_bytes(), true, &self.slot);
    }

    fn load(&self) {
        self.loader.begin_load();
    }

    /// Near misses, out of order, contradictory, torn, duplicate.
    fn counts(&self) -> [u64; 5] {
        let slot = &self.slot;
        [
            &slot.near_misses,
            &slot.out_of_order,
            &slot.contradictory,
            &slot.torn,
            &slot.duplicate,
        ]
        .map(|counter| counter.load(Ordering::Relaxed))
    }
}

const LOADING: &str = "dummy_module 28672 1 - Loading 0xffff";
const LIVE: &str = "dummy_module 16384 0 - Live 0xffff";
const GOING: &str = "dummy_module 16384 -1 - Unloading 0xff";

#[test]
fn every_load_may_go_through_its_states_again_and_again() {
    let mut bench = bench("");
    for _ in 0..3 {
        bench.load();
        for text in [
            LOADING,
            LOADING,
            LIVE,
            LIVE,
            GOING,
            GOING,
            "other 1 0 - Live 0x0",
        ] {
            bench.head(text);
        }
    }
    assert_eq!(bench.counts(), [0; 5]);
}

#[test]
fn live_with_a_count_of_minus_one_is_a_near_miss() {
    let mut bench = bench("");
    bench.head("dummy_module 16384 -1 - Live 0xffff");
    // Cut inside the state word it proves nothing.
    bench.head("dummy_module 16384 -1 - Live");
    // Another's line is not ours to judge.
    bench.head("other 16384 -1 - Live 0xffff");
    assert_eq!(bench.counts(), [1, 0, 0, 0, 0]);
    assert_eq!(bench.examples.taken()[0].fault, LineFault::NearMiss);
}

#[test]
fn live_after_unloading_is_a_near_miss_only_in_the_same_load() {
    let old_going = "dummy_module 16384 0 - Unloading 0xff";
    let mut bench = bench("");
    bench.load();
    bench.head(old_going);
    bench.head(LIVE);
    assert_eq!(bench.counts(), [1, 0, 0, 0, 0]);
    bench.head(old_going);
    bench.load();
    bench.head(LIVE);
    assert_eq!(bench.counts(), [1, 0, 0, 0, 0]);
}

#[test]
fn a_load_that_begins_during_a_read_may_be_the_one_that_is_shown() {
    let mut bench = bench("");
    bench.load();
    bench.head(GOING);
    bench.check.before_read();
    bench.load();
    bench.check.head(LIVE.as_bytes(), &bench.slot);
    assert_eq!(bench.counts(), [0; 5]);
    // And what it was, the next read does not know either.
    bench.head(LOADING);
    assert_eq!(bench.counts(), [0; 5]);
}

#[test]
fn with_two_loaders_the_order_proves_nothing() {
    let mut bench = bench("");
    bench.check.modules[0].module.loader = None;
    bench.head(GOING);
    bench.head(LIVE);
    assert_eq!(bench.counts(), [0; 5]);
}

#[test]
fn states_that_go_back_and_flags_that_contradict_are_counted() {
    let mut bench = bench("OE");
    bench.load();
    bench.head(LIVE);
    bench.head(LOADING);
    assert_eq!(bench.counts(), [0, 1, 0, 0, 0]);
    for line in [
        "dummy_module 16384 0 - Live 0xffffffffa0000000 (OE+)\n",
        "dummy_module 16384 0 - Live 0xffffffffa0000000 (OE-)\n",
        "dummy_module 16384 0 - Live 0xffffffffa0000000 (O)\n",
        "dummy_module 16384 0 - Live 0xffffffffa0000000\n",
        "dummy_module 16384 -1 - Unloading 0xffffffffa0000000 (OE)\n",
    ] {
        bench.load();
        bench.lines(line);
    }
    bench.load();
    bench.lines("dummy_module 28672 0 - Loading 0xffffffffa0000000 (OE+)\n");
    assert_eq!(bench.counts(), [0, 1, 6, 0, 0]);
    // Each fault keeps its first examples only.
    assert_eq!(bench.examples.taken().len(), 1 + EXAMPLES);
}

#[test]
fn a_module_may_become_live_between_its_word_and_its_flags() {
    let mut bench = bench("OE");
    bench.lines("dummy_module 28672 1 - Loading 0xffffffffa0000000 (OE)\n");
    bench.lines("dummy_module 28672 1 - Loading 0xffffffffa0000000 (OE+)\n");
    bench.lines("dummy_module 28672 1 - Live 0xffffffffa0000000 (OE)\n");
    assert_eq!(bench.counts(), [0; 5]);
}

#[test]
fn torn_and_duplicate_lines_are_counted_where_one_read_gave_them() {
    let twice = "a 1 0 - Live 0x0\nb 1 0 - Live 0x0\na 1 0 - Live 0x0\n";
    let mut bench = bench("");
    bench.lines(twice);
    assert_eq!(bench.counts(), [0, 0, 0, 0, 1]);
    bench.check.lines(twice.as_bytes(), false, &bench.slot);
    assert_eq!(bench.counts(), [0, 0, 0, 0, 1]);
    bench.lines("a 1 0 - Live 0x0\nb 1 0 - Li");
    assert_eq!(bench.counts(), [0, 0, 0, 1, 1]);
}
