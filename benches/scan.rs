//! Throughput of the scanner on a generated log of 1 GiB, beside ripgrep's on
//! the same log with one regular expression of the same markers; then on logs
//! that make as much work as a log can.
//!
//! `cargo bench --bench scan`. `MODRACE_BENCH_MIB` changes the size,
//! `MODRACE_BENCH_FLOOD_MIB` that of the floods.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints a table and may fail"
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use modrace::crash::{MARKERS, ScanEvent, Scanner};

/// Lines of a healthy machine; the scanner must not stop at them.
const QUIET: &[&str] = &[
    "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
    "EXT4-fs (vda1): mounted filesystem with ordered data mode. Quota mode: none.",
    "audit: type=1400 audit(1700000000.123:45): apparmor=\"STATUS\" operation=\"profile_load\"",
    "systemd[1]: Started Journal Service.",
    "e1000 0000:00:03.0 eth0: (PCI:33MHz:32-bit) 52:54:00:12:34:56",
    "IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready",
    "random: crng init done",
    "nvme nvme0: 8/0/0 default/read/poll queues",
    "app[4711]: DEBUG: cache miss for key 0123456789abcdef, 42 left",
    "perf: interrupt took too long (2501 > 2500), lowering kernel.perf_event_max_sample_rate to 79750",
];

/// One crash, as the mail of the bug report has it but for its numbers.
const CRASH: &str = include_str!("../fixtures/console/target-6.1-shell-loops.log");

/// A crash every so many MiB: a log that somebody has reason to scan.
const CRASH_EVERY_MIB: usize = 64;

fn generate(path: &Path, mib: usize) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let mut time_us = 0_u64;
    let mut lines = 0;
    let mut line = String::new();
    for block in 0..mib {
        let mut left = 1_usize << 20;
        while left > 0 {
            line.clear();
            // A cheap mixture; the same on every run.
            time_us += 1 + (time_us * 7919 + 13) % 997;
            let text = QUIET[lines % QUIET.len()];
            lines += 1 + usize::from(time_us.is_multiple_of(7));
            let (s, us) = (time_us / 1_000_000, time_us % 1_000_000);
            writeln!(line, "[{s:>5}.{us:06}] {text}").expect("a string");
            out.write_all(line.as_bytes()).expect("disk space");
            left = left.saturating_sub(line.len());
        }
        if block % CRASH_EVERY_MIB == CRASH_EVERY_MIB - 1 {
            out.write_all(CRASH.as_bytes()).expect("disk space");
        }
    }
    out.flush().expect("disk space");
}

fn scan(path: &Path) -> (Duration, usize) {
    let begun = Instant::now();
    let mut file = File::open(path).expect("the log");
    let mut scanner = Scanner::new();
    let mut chunk = vec![0; 1 << 20];
    let mut crashes = 0;
    let count = |events: Vec<ScanEvent>| {
        events
            .iter()
            .filter(|event| matches!(event, ScanEvent::Crash(_)))
            .count()
    };
    loop {
        let got = file.read(&mut chunk).expect("the log");
        if got == 0 {
            break;
        }
        crashes += count(scanner.feed(&chunk[..got]));
    }
    crashes += count(scanner.finish());
    (begun.elapsed(), crashes)
}

/// ripgrep's time, if there is a ripgrep. One thread, like the scanner.
fn ripgrep(path: &Path, regex: &str) -> Option<Duration> {
    let begun = Instant::now();
    let status = Command::new("rg")
        .args([
            "--threads",
            "1",
            "--no-mmap",
            "--text",
            "--line-number",
            "--regexp",
            regex,
        ])
        .arg(path)
        .stdout(Stdio::null())
        .status()
        .ok()?;
    status.success().then(|| begun.elapsed())
}

fn main() {
    let mib = std::env::var("MODRACE_BENCH_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1024);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&dir).expect("a folder below target");
    let path = dir.join("scan-bench.log");
    generate(&path, mib);
    let size = std::fs::metadata(&path).expect("the log").len() as f64 / f64::from(1 << 20);
    let regex = MARKERS
        .iter()
        .map(|marker| regex::escape(marker))
        .collect::<Vec<_>>()
        .join("|");

    // In turns, and the best of each: a busy machine must not hit only one.
    let mut ours = Duration::MAX;
    let mut theirs = None;
    let mut crashes = 0;
    for _ in 0..5 {
        let (time, found) = scan(&path);
        ours = ours.min(time);
        crashes = found;
        if let Some(time) = ripgrep(&path, &regex) {
            theirs = Some(theirs.map_or(time, |best: Duration| best.min(time)));
        }
    }
    println!(
        "modrace  {:>8.0} MiB/s  ({crashes} crashes in {size:.0} MiB)",
        size / ours.as_secs_f64()
    );
    if let Some(theirs) = theirs {
        println!("ripgrep  {:>8.0} MiB/s", size / theirs.as_secs_f64());
        println!(
            "ratio    {:>8.2}  (at least 0.90 is wanted)",
            theirs.as_secs_f64() / ours.as_secs_f64()
        );
    } else {
        println!("ripgrep  not installed: no ratio");
    }
    // Kept if it is locked.
    let _ = std::fs::remove_file(&path);
    floods();
}

/// Logs that make as much work as a log can.
const FLOODS: &[(&str, &str)] = &[
    ("BUG: lines", "[    1.000000] BUG: something or other\n"),
    ("BUG: lines, bare", "BUG: something or other\n"),
    (
        "cut here lines",
        "[    1.000000] ------------[ cut here ]------------\n",
    ),
    (
        "a warning each line",
        "WARNING: CPU: 1 PID: 2 at a/b.c:12 f+0x1/0x2\n",
    ),
    ("one endless line", "x"),
    ("one endless BUG: line", "BUG: KASAN: x in f+0x1/0x2 "),
];

fn floods() {
    let mib = std::env::var("MODRACE_BENCH_FLOOD_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100);
    for (name, text) in FLOODS {
        let block = text.repeat((1 << 20) / text.len());
        let begun = Instant::now();
        let mut scanner = Scanner::new();
        let (mut crashes, mut most) = (0, 0);
        for _ in 0..mib {
            crashes += scanner.feed(block.as_bytes()).len();
            most = most.max(scanner.retained_bytes());
        }
        crashes += scanner.finish().len();
        println!(
            "{name:22} {mib} MiB in {:>6.1} s, {} events, {} KiB held",
            begun.elapsed().as_secs_f64(),
            crashes,
            most >> 10
        );
    }
}
