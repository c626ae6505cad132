//! Logs made of pieces of the fixtures, cut, glued, doubled and overwritten:
//! whatever the bytes, no panic, chunks change nothing, and every crash has its
//! place. Runs on any compiler:
//!
//! `cargo test --test scan_fuzz` is a short run. `MODRACE_FUZZ_SECONDS=3600
//! cargo test --release --test scan_fuzz -- --ignored` is a long one;
//! `MODRACE_FUZZ_SEED` begins at another place, as a failure says.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and a long one says how far it came"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use modrace::console::{JournalFormat, JournalReader, parse_line};
use modrace::crash::{ScanEvent, Scanner};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Words that mean something to the scanner, to be put anywhere.
const WORDS: &[&str] = &[
    "BUG: ",
    "WARNING: CPU: 1 PID: 2 at a.c:1 f+0x1/0x2",
    "Oops: 0000 [#1]",
    "[#",
    "Call Trace:",
    " f+0x1/0x2",
    "[<",
    "RIP: 0010:",
    "RIP:",
    "---[ end trace 0 ]---",
    "---[ end Kernel panic - not syncing: x ]---",
    "------------[ cut here ]------------\n",
    "Kernel panic - not syncing: Fatal exception",
    "NMI backtrace for cpu 3\n",
    "CPU: 3 PID: 4 Comm: a b Not tainted 6.1 #1\n",
    "[   12.345678] ",
    "[   12.345678][  T12] ",
    "<4>",
    "(3)[12:x]",
    "Linux version 6.1.0 (",
    "\n",
    "\r\n",
    "\u{a0}",
    "\u{1b}[31m",
    "Panic#1 Part1\n",
];

/// Every line of every fixture.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/console");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Whole lines of a log, from somewhere on.
fn piece<'a>(log: &'a [u8], rng: &mut impl Rng) -> &'a [u8] {
    let lines: Vec<&[u8]> = log.split_inclusive(|&b| b == b'\n').collect();
    if lines.is_empty() {
        return log;
    }
    let from = rng.random_range(0..lines.len());
    let count = rng.random_range(1..=lines.len().min(60));
    let before: usize = lines[..from].iter().map(|line| line.len()).sum();
    let length: usize = lines[from..]
        .iter()
        .take(count)
        .map(|line| line.len())
        .sum();
    &log[before..before + length]
}

/// One log.
fn generate(corpus: &[Vec<u8>], rng: &mut impl Rng) -> Vec<u8> {
    let mut log = Vec::new();
    for _ in 0..rng.random_range(1..6) {
        let source = &corpus[rng.random_range(0..corpus.len())];
        log.extend_from_slice(piece(source, rng));
        if rng.random_bool(0.2) {
            let again = log.len() / 2;
            log.extend_from_within(again..);
        }
    }
    if rng.random_bool(0.3) {
        // Two logs, line by line.
        let other = piece(&corpus[rng.random_range(0..corpus.len())], rng).to_vec();
        let mut mixed = Vec::new();
        let mut theirs = other.split_inclusive(|&b| b == b'\n');
        for line in log.split_inclusive(|&b| b == b'\n') {
            mixed.extend_from_slice(line);
            mixed.extend_from_slice(theirs.next().unwrap_or_default());
        }
        log = mixed;
    }
    for _ in 0..rng.random_range(0..12) {
        if log.is_empty() {
            break;
        }
        let at = rng.random_range(0..log.len());
        match rng.random_range(0..5) {
            0 => log[at] = rng.random(),
            1 => {
                let end = (at + rng.random_range(1..40)).min(log.len());
                log.drain(at..end);
            }
            2 => {
                let word = WORDS[rng.random_range(0..WORDS.len())];
                log.splice(at..at, word.bytes());
            }
            3 => {
                let end = (at + rng.random_range(1..200)).min(log.len());
                let part = log[at..end].to_vec();
                log.splice(at..at, part);
            }
            _ => {
                let bytes: Vec<u8> = (0..rng.random_range(1..9)).map(|_| rng.random()).collect();
                log.splice(at..at, bytes);
            }
        }
    }
    log
}

fn events<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<ScanEvent> {
    let mut scanner = Scanner::new();
    let mut events: Vec<_> = chunks.flat_map(|chunk| scanner.feed(chunk)).collect();
    events.extend(scanner.finish());
    events
}

/// What must hold of any log.
fn check(log: &[u8], chunk: usize) {
    let whole = events(std::iter::once(log));
    assert_eq!(whole, events(log.chunks(chunk)), "chunks of {chunk}");
    let mut signs = Vec::new();
    for event in &whole {
        match event {
            ScanEvent::Sign(sign) => {
                assert!(sign.offset < log.len() as u64);
                signs.push(sign.line);
            }
            ScanEvent::Crash(crash) => {
                assert!(signs.contains(&crash.line), "a crash without its sign");
                assert!(crash.offset < log.len() as u64);
                let before = &log[..usize::try_from(crash.offset).unwrap()];
                let newlines = memchr::memchr_iter(b'\n', before).count() as u64;
                assert_eq!(crash.line, newlines + 1, "line and offset differ");
                assert!(!crash.title.is_empty() && crash.title.len() <= 120);
                assert!(crash.excerpt_line >= 1 && crash.excerpt_line <= crash.line);
                assert!(crash.excerpt.len() <= 8192);
                assert_eq!(crash.corrupted, crash.corrupted_reason.is_some());
                let text = serde_json::to_string(crash).unwrap();
                let back: modrace::model::Crash = serde_json::from_str(&text).unwrap();
                assert_eq!(&back, &**crash, "not the same through JSON");
            }
        }
    }
    let crashes = whole.len() - signs.len();
    assert_eq!(crashes, signs.len(), "signs and crashes do not pair");
    for line in log.split(|&b| b == b'\n') {
        let parsed = parse_line(line);
        assert!(parsed.time_s.is_none_or(f64::is_finite));
    }
    for format in [JournalFormat::Json, JournalFormat::Export] {
        let mut lines = Vec::new();
        let mut reader = JournalReader::new(format);
        reader.feed(log, &mut lines);
        reader.finish(&mut lines);
    }
}

fn run(seed: u64, until: impl Fn(u64) -> bool) {
    let corpus = corpus();
    let mut done = 0;
    while until(done) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed + done);
        let log = generate(&corpus, &mut rng);
        let chunk = rng.random_range(1..=log.len().max(2));
        let failed = std::panic::catch_unwind(|| check(&log, chunk)).is_err();
        if failed {
            let path =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}.log", seed + done));
            fs::write(&path, &log).unwrap();
            panic!(
                "seed {}, chunks of {chunk}: {}",
                seed + done,
                path.display()
            );
        }
        done += 1;
    }
    eprintln!("{done} logs from seed {seed} on");
}

#[test]
fn pieces_of_fixtures_in_any_order_keep_to_the_rules() {
    run(1, |done| done < 150);
}

#[test]
#[ignore = "as long as MODRACE_FUZZ_SECONDS says"]
fn the_same_for_as_long_as_you_like() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect(name))
    };
    let end = Instant::now() + Duration::from_secs(number("MODRACE_FUZZ_SECONDS", 60));
    run(number("MODRACE_FUZZ_SEED", 1_000_000), |_| {
        Instant::now() < end
    });
}
