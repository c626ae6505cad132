//! The matrix: time and cycles to crash of `auto`, of the bug report's own
//! loops and of stress-ng, interleaved in one run, cell by cell; or, with
//! `--ablate`, the near misses of `auto` with one technique left out at a time.
//! Measures only: judges no kernel.
//!
//! cargo bench --bench `time_to_crash` -- [--cells 2-voluntary-150,…]
//! [--trials N] [--as-reported N] [--stress-ng PATH] [--stress-ng-trials N]
//! [--duration S] [--jobs N] [--ablate]

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench has no user interface but this"
)]

mod ablation;
mod stress_ng;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use clap::Parser;
use modrace::kernel::affinity;
use modrace::model::{Report, Trial};

use stress_ng::StressNg;

#[derive(Debug, Parser)]
struct Args {
    /// Cells, as VCPUS-PREEMPTION-MODULES; all unless named
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// Trials of auto in each cell
    #[arg(long, default_value_t = 20)]
    trials: u32,
    /// Trials of as-reported in each cell
    #[arg(long, default_value_t = 3)]
    as_reported: u32,
    /// Trials of stress-ng in each cell
    #[arg(long, default_value_t = 3)]
    stress_ng_trials: u32,
    /// The stress-ng to measure, or a folder from scripts/fetch-stress-ng
    /// [default: the one on PATH]
    #[arg(long, value_name = "PATH")]
    stress_ng: Option<PathBuf>,
    /// Keep the consoles of stress-ng's guests in this folder
    #[arg(long, value_name = "FOLDER")]
    consoles: Option<PathBuf>,
    /// Longest time raced in a trial, seconds
    #[arg(long, default_value_t = 60)]
    duration: u32,
    /// Trials under way at once
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Race the kernels with the fix: nothing may crash
    #[arg(long)]
    fixed: bool,
    /// Leave out one technique at a time
    #[arg(long)]
    ablate: bool,
    /// Name of the reports written to reports/
    #[arg(long, default_value = "time-to-crash")]
    name: String,
    /// The program to measure, if not the one built with the bench
    #[arg(long)]
    program: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Debug)]
struct Cell {
    name: String,
    smp: String,
    kernel: String,
    background: String,
}

/// A way to race.
#[derive(Clone, Debug)]
struct Way {
    name: String,
    options: Vec<String>,
    trials: u32,
    /// Races in modrace's place.
    rival: Option<StressNg>,
}

type Failure = Box<dyn Error + Send + Sync>;

fn cells(fixed: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    let kernel = if fixed { "fixed" } else { "vulnerable" };
    for (smp, models) in [
        ("1", &["full"][..]),
        ("2", &["voluntary", "full"]),
        ("4", &["voluntary", "full"]),
        ("8", &["voluntary", "full"]),
    ] {
        for model in models {
            for background in ["0", "150"] {
                let suffix = if *model == "full" { "-preempt" } else { "" };
                cells.push(Cell {
                    name: format!("{smp}-{model}-{background}"),
                    smp: smp.to_owned(),
                    kernel: format!("lab:{kernel}{suffix}"),
                    background: background.to_owned(),
                });
            }
        }
    }
    cells
}

/// The ways, and why one is missing.
fn ways(args: &Args) -> (Vec<Way>, Option<String>) {
    let way = |name: &str, options: &[&str], trials| Way {
        name: name.to_owned(),
        options: options.iter().map(|&word| word.to_owned()).collect(),
        trials,
        rival: None,
    };
    let mut missing = None;
    let mut ways = vec![way("auto", &["--strategy", "auto"], args.trials)];
    if args.ablate {
        ways = ablation::ways(args.trials);
    } else {
        let options = ["--strategy", "as-reported"];
        ways.push(way("as-reported", &options, args.as_reported));
        match StressNg::find(args.stress_ng.as_deref()) {
            _ if args.stress_ng_trials == 0 => {}
            Ok(rival) => ways.push(Way {
                rival: Some(rival.clone()),
                ..way(&rival.version, &[], args.stress_ng_trials)
            }),
            Err(why) => missing = Some(why),
        }
    }
    (ways, missing)
}

fn race(program: &Path, cell: &Cell, way: &Way, args: &Args) -> Result<Trial, Failure> {
    let duration = args.duration;
    if let Some(rival) = &way.rival {
        return rival.race(program, cell, duration, args.consoles.as_deref());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.json");
    let output = Command::new(program)
        .args(["vm", "--quiet", "--trials", "1", "--jobs", "1"])
        .args(["--kernel", &cell.kernel, "--smp", &cell.smp])
        .args(["--background-modules", &cell.background])
        .args(["--duration", &format!("{duration}s")])
        .arg("--report")
        .arg(&file)
        .args(&way.options)
        .stdout(Stdio::null())
        .output()?;
    let text = std::fs::read(&file)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let report: Report = serde_json::from_slice(&text)?;
    report
        .trials
        .into_iter()
        .next()
        .ok_or_else(|| "no trial".into())
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let all = cells(args.fixed);
    if let Some(unknown) = args
        .cells
        .iter()
        .find(|name| !all.iter().any(|cell| cell.name == **name))
    {
        let known: Vec<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
        return Err(format!("no cell `{unknown}`; known: {}", known.join(", ")).into());
    }
    let cells: Vec<Cell> = all
        .into_iter()
        .filter(|cell| args.cells.is_empty() || args.cells.contains(&cell.name))
        .collect();
    let (ways, missing) = ways(&args);
    // Rounds: every way of every cell once, then again. What the host does
    // meanwhile falls on all of them alike.
    let mut plan = Vec::new();
    for round in 0..ways.iter().map(|way| way.trials).max().unwrap_or(0) {
        for cell in 0..cells.len() {
            plan.extend(
                (0..ways.len())
                    .filter(|&way| round < ways[way].trials)
                    .map(|way| (cell, way)),
            );
        }
    }
    if let Some(why) = &missing {
        eprintln!("stress-ng is missing: {why}");
    }
    let args = Arc::new(args);
    let results = run(&cells, &ways, plan, &args);
    let mut measured = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        for (number, way) in ways.iter().enumerate() {
            let trials: Vec<Trial> = results
                .iter()
                .filter(|(at, _)| *at == (index, number))
                .map(|(_, trial)| trial.clone())
                .collect();
            if !trials.is_empty() {
                measured.push((cell, way, trials));
            }
        }
    }
    let (json, text) = if args.ablate {
        let row = |(cell, way, trials): &(&Cell, &Way, Vec<Trial>)| {
            ablation::row(&cell.name, &way.name, trials)
        };
        let mut rows: Vec<ablation::Row> = measured.iter().map(row).collect();
        ablation::compare(&mut rows);
        (serde_json::to_value(&rows)?, ablation::table(&rows))
    } else {
        let row = |(cell, way, trials): &(&Cell, &Way, Vec<Trial>)| {
            table::row(&cell.name, &way.name, trials)
        };
        let rows: Vec<table::Row> = measured.iter().map(row).collect();
        let text = table::table(&rows, missing.as_deref());
        (serde_json::to_value(&rows)?, text)
    };
    println!("{text}");
    table::write_reports(&args, &json, missing.as_deref(), &text)
}

/// Runs the plan; a trial that could not be run is said, and missing.
fn run(
    cells: &[Cell],
    ways: &[Way],
    plan: Vec<(usize, usize)>,
    args: &Arc<Args>,
) -> Vec<((usize, usize), Trial)> {
    let total = plan.len();
    let plan = Arc::new(plan);
    let next = Arc::new(AtomicUsize::new(0));
    let said = Arc::new(Mutex::new(()));
    let (send, results) = mpsc::channel();
    // Each job on its own share of the host's CPUs: none takes another's.
    let jobs = args.jobs.max(1);
    let cpus = affinity::allowed_cpus().unwrap_or_default();
    let shares: Vec<&[usize]> = cpus.chunks(cpus.len().div_ceil(jobs).max(1)).collect();
    for job in 0..jobs {
        let share = shares.get(job).map(|share| share.to_vec());
        let (plan, next, send) = (Arc::clone(&plan), Arc::clone(&next), send.clone());
        let (cells, ways, said) = (cells.to_vec(), ways.to_vec(), Arc::clone(&said));
        let args = Arc::clone(args);
        let built = || Path::new(env!("CARGO_BIN_EXE_modrace")).to_owned();
        let program = args.program.clone().unwrap_or_else(built);
        std::thread::spawn(move || {
            if let Some(share) = share {
                // Where that fails, the host decides.
                let _ = affinity::restrict_to(&share);
            }
            while let Some(&(cell, way)) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = race(&program, &cells[cell], &ways[way], &args);
                let _guard = said.lock().unwrap_or_else(PoisonError::into_inner);
                let (cell_name, way_name) = (&cells[cell].name, &ways[way].name);
                match outcome {
                    Ok(trial) => {
                        eprintln!(
                            "{cell_name} {way_name}: {} after {} cycles, {:.3} s; {}",
                            trial.outcome.as_str(),
                            trial.cycles,
                            trial.exposure_s,
                            trial.reason
                        );
                        // The receiver is gone once all are in.
                        let _ = send.send(((cell, way), trial));
                    }
                    Err(error) => eprintln!("{cell_name} {way_name}: {error}"),
                }
            }
        });
    }
    drop(send);
    results.into_iter().take(total).collect()
}
