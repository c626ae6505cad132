//! Any bytes, in any chunks: no panic, and the chunks change nothing. The
//! first byte says how long the chunks are. `cargo +nightly fuzz run scan
//! fuzz/corpus/scan fixtures/console`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use modrace::crash::{ScanEvent, Scanner};

fn events<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<ScanEvent> {
    let mut scanner = Scanner::new();
    let mut events: Vec<_> = chunks.flat_map(|chunk| scanner.feed(chunk)).collect();
    events.extend(scanner.finish());
    events
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, log)) = bytes.split_first() else {
        return;
    };
    let whole = events(std::iter::once(log));
    let pieces = events(log.chunks(usize::from(length).max(1)));
    assert_eq!(whole, pieces);
});
