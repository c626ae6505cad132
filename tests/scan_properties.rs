//! What must hold for any bytes: no panic, chunks change nothing, a crash is
//! found wherever it stands, time grows with the log and not faster.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use modrace::console::parse_line;
use modrace::crash::{ScanEvent, Scanner, scan};
use proptest::prelude::*;

const TARGET: &[u8] = include_bytes!("../fixtures/console/target-6.1-shell-loops.log");
const MANY: &[u8] = include_bytes!("../fixtures/console/debug-sleep-in-atomic.log");

/// All events of a log that comes in these chunks.
fn events(chunks: &[&[u8]]) -> Vec<ScanEvent> {
    let mut scanner = Scanner::new();
    let mut events: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| scanner.feed(chunk))
        .collect();
    events.extend(scanner.finish());
    events
}

/// The log cut at these places.
fn cut<'a>(log: &'a [u8], at: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = at.iter().map(|place| place % (log.len() + 1)).collect();
    places.sort_unstable();
    let mut chunks = Vec::new();
    let mut from = 0;
    for place in places {
        chunks.push(&log[from..place]);
        from = place;
    }
    chunks.push(&log[from..]);
    chunks
}

/// Pieces of real reports, in any order and cut anywhere.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"[    1.000000] BUG: KASAN: use-after-free in f+0x1/0x2\n".to_vec()),
        Just(b"[    1.000001][  T12] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n".to_vec()),
        Just(b"[    1.000002][   C1] Call Trace:\n".to_vec()),
        Just(b"[    1.000003] RIP: 0010:f+0x1/0x2\n g+0x3/0x4\n".to_vec()),
        Just(b"Kernel panic - not syncing: Fatal exception\n".to_vec()),
        Just(b"---[ end trace 0 ]---\r\n".to_vec()),
        Just(b"BUG: \xff[<\n\nffffffff81000000>] h+0x1/0x2\n".to_vec()),
        Just(b"\x1b[31m** 9 printk messages dropped **".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..80),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_scanned_without_a_panic(log in fragments()) {
        for crash in scan(&log) {
            prop_assert!(crash.line > 0);
            prop_assert!(crash.title.len() <= 120);
            prop_assert!(crash.offset < log.len() as u64);
        }
    }

    #[test]
    fn any_line_is_parsed_without_a_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let parsed = parse_line(&line);
        prop_assert!(!parsed.text.contains('\n') || line.contains(&b'\n'));
    }

    #[test]
    fn chunks_never_change_the_events(log in fragments(), at in proptest::collection::vec(any::<usize>(), 0..9)) {
        prop_assert_eq!(events(&cut(&log, &at)), events(&[&log]));
    }

    #[test]
    fn chunks_of_a_real_log_never_change_its_events(at in proptest::collection::vec(any::<usize>(), 0..40)) {
        prop_assert_eq!(events(&cut(MANY, &at)), events(&[MANY]));
    }

    #[test]
    fn a_crash_in_noise_is_found_wherever_it_stands(
        before in proptest::collection::vec(any::<u8>(), 0..3000),
        after in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let log = [&before, &b"\n"[..], TARGET, &after].concat();
        let crashes = scan(&log);
        prop_assert!(
            crashes.iter().any(|crash| crash.title == "kernel BUG in module_flags"),
            "{:?}",
            crashes
        );
    }
}

#[test]
fn one_byte_at_a_time_is_a_chunk_like_any_other() {
    let bytes: Vec<&[u8]> = MANY.chunks(1).collect();
    assert_eq!(events(&bytes), events(&[MANY]));
}

#[test]
fn a_crash_behind_100_mb_of_boot_log_has_its_line_number() {
    let quiet = b"[    1.000000] usb 1-1: new high-speed USB device\n";
    let mut scanner = Scanner::new();
    let block = quiet.repeat(20_000);
    for _ in 0..100 {
        assert_eq!(scanner.feed(&block), []);
        assert!(scanner.retained_bytes() < 8 << 20, "memory is not bounded");
    }
    let mut events = scanner.feed(TARGET);
    events.extend(scanner.finish());
    let first = scan(TARGET)[0].line;
    let ScanEvent::Sign(sign) = &events[0] else {
        panic!("no sign: {events:?}");
    };
    assert_eq!(sign.line, 2_000_000 + first);
    assert_eq!(
        sign.offset,
        block.len() as u64 * 100 + scan(TARGET)[0].offset
    );
}

#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    let mut scanner = Scanner::new();
    let noise = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        scanner.feed(&noise);
        assert!(scanner.retained_bytes() < 8 << 20, "memory is not bounded");
    }
    let events = scanner.feed(&[b"\n", TARGET].concat());
    assert!(matches!(events.first(), Some(ScanEvent::Sign(_))));
}

/// Bytes parsed, most bytes held, and crashes found of a log of so many times
/// 256 KiB of this text.
fn work(text: &[u8], blocks: u64) -> (u64, usize, usize) {
    let block = text.repeat((256 << 10) / text.len());
    let mut scanner = Scanner::new();
    let (mut most, mut crashes) = (0, 0);
    let mut count = |events: Vec<ScanEvent>| {
        crashes += events
            .iter()
            .filter(|event| matches!(event, ScanEvent::Crash(_)))
            .count();
    };
    for _ in 0..blocks {
        count(scanner.feed(&block));
        most = most.max(scanner.retained_bytes());
    }
    count(scanner.finish());
    (scanner.parsed_bytes(), most, crashes)
}

/// Logs that make as much work as a log can.
const FLOODS: &[&[u8]] = &[
    b"BUG: something or other\n",
    b"[    1.000000] BUG: something or other\n",
    b"[    1.000000] BUG: KASAN: use-after-free in f+0x1/0x2\n",
    b"[    1.000000] ------------[ cut here ]------------\n",
    b"WARNING: CPU: 1 PID: 2 at a/b.c:12 f+0x1/0x2\n",
    b"INFO: task a:1 blocked for more than 120 seconds.\nBUG: soft lockup - CPU#1 stuck for 22s! [a:1]\n",
    b"EIP is at foo+0x1/0x2\n",
    b"one line without an end ",
    b"BUG: KASAN: x in f+0x1/0x2 on one line without an end ",
];

#[test]
fn work_grows_with_the_log_and_not_faster() {
    for flood in FLOODS {
        let (short, _, _) = work(flood, 1);
        let (long, most, crashes) = work(flood, 4);
        let name = String::from_utf8_lossy(flood);
        assert!(
            long <= short * 9 / 2 + (1 << 20),
            "{name}: {short}, then {long}"
        );
        // Each byte is a line's once, and before other lines a few times.
        assert!(
            long <= 8 * (4 << 20),
            "{name}: {long} bytes parsed of 4 MiB"
        );
        assert!(most < 8 << 20, "{name}: {most} bytes held");
        assert!(
            crashes <= (1 << 20) / flood.len().min(24),
            "{name}: {crashes}"
        );
    }
}

#[test]
fn a_flood_at_one_time_is_one_event() {
    let (_, _, crashes) = work(FLOODS[2], 1);
    assert_eq!(crashes, 1);
}
