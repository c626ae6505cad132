//! Where time goes: a boot, a template, a clone, a trial, a verdict, beside QEMU
//! booting the same kernel and initramfs by hand and, where virtme-ng is
//! installed, `vng` running `true`. Or, with `--distribution`, whether trials by
//! boot and by clone crash after the same time. Measures only: judges no kernel.
//!
//! cargo bench --bench turnaround -- [--rounds N] [--trials N] [--no-ab]
//! [--distribution N --cells KERNEL:VCPUS,…]

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench has no user interface but this"
)]

mod distribution;
mod kernel;
mod machines;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use modrace::model::{Report, StartChoice, StartedBy, Trial};

use kernel::Kernel;

/// The program that is measured; also the init of its guests.
const MODRACE: &str = env!("CARGO_BIN_EXE_modrace");

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Args {
    /// Machines of each kind
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Crashing trials of each kind
    #[arg(long, default_value_t = 60)]
    trials: u32,
    /// Leave out the verdicts
    #[arg(long)]
    no_ab: bool,
    /// Compare so many boots with as many clones, in turn
    #[arg(long, value_name = "N")]
    distribution: Option<u32>,
    /// The cells compared, as KERNEL:VCPUS
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "lab:vulnerable:4,lab:vulnerable:2"
    )]
    cells: Vec<String>,
    /// Cargo says it to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    println!("{}", host());
    if let Some(trials) = args.distribution {
        for cell in &args.cells {
            distribution::compare(cell, trials)?;
        }
        return Ok(());
    }
    let kernel = Kernel::prepare("lab:vulnerable", 4, StartChoice::Boot)?;
    println!("\n| what | median | fastest | slowest | n |\n|---|---|---|---|---|");
    row(
        "QEMU by hand, to init's end",
        &machines::by_hand(&kernel, args.rounds)?,
    );
    match machines::vng(&kernel, args.rounds)? {
        Some(times) => row("vng, running true", &times),
        None => println!("| vng, running true | not installed | | | |"),
    }
    row(
        "modrace's guest, to init's end",
        &machines::boots(&kernel, args.rounds)?,
    );
    let made = machines::templates(&kernel, args.rounds)?;
    row("a template, to the gate", &made.at_gate);
    row("saving it", &made.saved);
    row("a clone, to its first instruction", &made.clones);
    println!();
    trials(&args)?;
    if !args.no_ab {
        verdicts()?;
    }
    println!("\n{}", host());
    Ok(())
}

/// The host and how busy it is.
fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("{cpus} CPUs, load {}", load.join(" "))
}

fn row(what: &str, seconds: &[f64]) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    if let (Some(fastest), Some(slowest)) = (sorted.first(), sorted.last()) {
        let median = sorted[sorted.len() / 2];
        let n = sorted.len();
        println!("| {what} | {median:.3} s | {fastest:.3} s | {slowest:.3} s | {n} |");
    }
}

/// Crashing trials per minute, by the program itself.
fn trials(args: &Args) -> Result<(), Failure> {
    println!("| crashing trials | jobs | per minute | a trial | cycles, median (max) | prepared |");
    println!("|---|---|---|---|---|---|");
    for (start, jobs) in [("boot", 1), ("boot", 2), ("clone", 1), ("clone", 2)] {
        let number = match start {
            "boot" => (args.trials / 10).max(2 * jobs),
            _ => args.trials,
        };
        let (report, wall_s) = modrace(&[
            "vm",
            "--kernel",
            "lab:vulnerable",
            "--start",
            start,
            "--jobs",
            &jobs.to_string(),
            "--trials",
            &number.to_string(),
            "--duration",
            "60s",
        ])?;
        let trials = &report.trials;
        // What a run costs once, the build of the module and the first template,
        // is left out: trials as they follow each other.
        let later = trials.iter().filter(|trial| !is_first(trial, trials));
        let busy_s: f64 = later.clone().map(|trial| trial.wall_s).sum();
        let per_minute = 60.0 * f64::from(jobs) * later.count() as f64 / busy_s;
        let mut cycles: Vec<u64> = trials
            .iter()
            .filter_map(|trial| trial.cycles_to_crash)
            .collect();
        cycles.sort_unstable();
        let stats = report
            .stats
            .starts
            .as_ref()
            .ok_or("a report without starts")?;
        println!(
            "| by {start} | {jobs} | {per_minute:.0} ({:.0} with all that a run costs once) | \
             {:.3} s | {} ({}) | {:.2} s |",
            60.0 * trials.len() as f64 / wall_s,
            busy_s / (trials.len() as f64 - 1.0),
            cycles.get(cycles.len() / 2).copied().unwrap_or(0),
            cycles.last().copied().unwrap_or(0),
            stats.prepared_s.unwrap_or(0.0),
        );
    }
    Ok(())
}

/// Whether a trial waited for its template.
fn is_first(trial: &Trial, trials: &[Trial]) -> bool {
    let template = |trial: &Trial| {
        let start = trial.start.as_ref()?;
        (start.how == StartedBy::Clone).then_some(start.template)?
    };
    let Some(number) = template(trial) else {
        return false;
    };
    let first = trials
        .iter()
        .filter(|other| template(other) == Some(number));
    first.map(|other| other.index).min() == Some(trial.index)
}

fn verdicts() -> Result<(), Failure> {
    println!("\n| verdict | wall | crashes of the baseline | clean trials, cycles |");
    println!("|---|---|---|---|");
    for (what, candidate) in [
        ("lab:vulnerable against lab:fixed", "lab:fixed"),
        ("lab:vulnerable against itself", "lab:vulnerable"),
    ] {
        let (report, wall_s) = modrace(&[
            "ab",
            "--baseline",
            "lab:vulnerable",
            "--candidate",
            candidate,
        ])?;
        let baseline = report
            .baseline
            .as_ref()
            .ok_or("a comparison has a baseline")?;
        println!(
            "| {what}: {} | {wall_s:.1} s | {} | {}, {} |",
            report.verdict.as_str(),
            baseline.stats.crashes,
            report.stats.survived,
            report.stats.cycles
        );
    }
    Ok(())
}

/// Runs the program; its report and the time that it took, seconds.
fn modrace(arguments: &[&str]) -> Result<(Report, f64), Failure> {
    let start = Instant::now();
    let output = Command::new(MODRACE)
        .args(arguments)
        .args(["--quiet", "--report", "-", "--accel", "tcg"])
        .output()?;
    let wall_s = start.elapsed().as_secs_f64();
    let report = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((report, wall_s))
}

/// The init of the guests.
fn init() -> &'static Path {
    Path::new(MODRACE)
}
