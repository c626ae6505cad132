//! The matrix: time and cycles to crash of `auto` and of the bug report's own
//! loops, interleaved in one run, cell by cell; or, with `--ablate`, of `auto`
//! with one technique left out at a time. Measures only: judges no kernel.
//!
//! cargo bench --bench `time_to_crash` -- [--cells 2-voluntary-150,…]
//! [--trials N] [--as-reported N] [--duration S] [--jobs N] [--ablate]

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench has no user interface but this"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use clap::Parser;
use modrace::model::{Outcome, Report, Trial};
use modrace::race::chaos::TECHNIQUES;
use serde::Serialize;

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
    program: Option<std::path::PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Cell {
    name: String,
    smp: String,
    kernel: String,
    background: String,
}

/// A way to race.
#[derive(Clone, Debug, Serialize)]
struct Way {
    name: String,
    options: Vec<String>,
    trials: u32,
}

#[derive(Debug, Serialize)]
struct Row {
    cell: String,
    way: String,
    trials: usize,
    crashed: usize,
    /// Trials that gave no result: neither crashed nor survived.
    void: usize,
    median_cycles: Option<u64>,
    p95_cycles: Option<u64>,
    /// Trials without a crash count with all of their time.
    median_s: f64,
    p95_s: f64,
    cycles_per_s: f64,
    reads_per_s: f64,
    cycles: Vec<u64>,
    seconds: Vec<f64>,
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

fn ways(args: &Args) -> Vec<Way> {
    let way = |name: &str, options: &[&str], trials| Way {
        name: name.to_owned(),
        options: options.iter().map(|&word| word.to_owned()).collect(),
        trials,
    };
    let mut ways = vec![way("auto", &["--strategy", "auto"], args.trials)];
    if args.ablate {
        ways.push(way("no chaos", &["--chaos", "none"], args.trials));
        for left_out in TECHNIQUES {
            let rest: Vec<&str> = TECHNIQUES
                .iter()
                .map(|technique| technique.name)
                .filter(|name| *name != left_out.name)
                .collect();
            let name = format!("without {}", left_out.name);
            ways.push(way(&name, &["--chaos", &rest.join(",")], args.trials));
        }
        for arm in modrace::race::ARMS {
            let name = format!("only {}", arm.name);
            ways.push(way(&name, &["--arms", arm.name], args.trials));
        }
    } else {
        let options = ["--strategy", "as-reported"];
        ways.push(way("as-reported", &options, args.as_reported));
    }
    ways
}

fn race(program: &Path, cell: &Cell, way: &Way, duration: u32) -> Result<Trial, Failure> {
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

/// The value below which `share` of the sorted values lie.
fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a short list"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn row(cell: &str, way: &str, trials: &[Trial]) -> Row {
    let valid: Vec<&Trial> = trials
        .iter()
        .filter(|trial| matches!(trial.outcome, Outcome::Crashed | Outcome::Survived))
        .collect();
    let crashed = valid
        .iter()
        .filter(|trial| trial.outcome == Outcome::Crashed)
        .count();
    // A trial without a crash counts as if it had crashed at its end: never in
    // favour of the engine, since that end came later than any crash.
    let mut cycles: Vec<u64> = valid
        .iter()
        .map(|trial| trial.cycles_to_crash.unwrap_or(trial.cycles))
        .collect();
    cycles.sort_unstable();
    let mut seconds: Vec<f64> = valid
        .iter()
        .map(|trial| trial.time_to_crash_s.unwrap_or(trial.exposure_s))
        .collect();
    seconds.sort_by(f64::total_cmp);
    let exposure: f64 = valid.iter().map(|trial| trial.exposure_s).sum();
    let sum = |field: fn(&Trial) -> u64| valid.iter().map(|trial| field(trial)).sum::<u64>() as f64;
    Row {
        cell: cell.to_owned(),
        way: way.to_owned(),
        trials: valid.len(),
        crashed,
        void: trials.len() - valid.len(),
        median_cycles: percentile(&cycles, 0.5),
        p95_cycles: percentile(&cycles, 0.95),
        median_s: percentile(&seconds, 0.5).unwrap_or(f64::NAN),
        p95_s: percentile(&seconds, 0.95).unwrap_or(f64::NAN),
        cycles_per_s: sum(|trial| trial.cycles) / exposure,
        reads_per_s: sum(|trial| trial.reads) / exposure,
        cycles,
        seconds,
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| cell | way | trials | crashed | void | median cycles | p95 cycles | median s | p95 s | cycles/s | reads/s | times slower than auto |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let auto = rows
            .iter()
            .find(|other| other.cell == row.cell && other.way == "auto");
        let ratio = auto.map_or(f64::NAN, |auto| row.median_s / auto.median_s);
        let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let _to_memory = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {:.3} | {:.3} | {:.0} | {:.0} | {:.1} |",
            row.cell,
            row.way,
            row.trials,
            row.crashed,
            row.void,
            count(row.median_cycles),
            count(row.p95_cycles),
            row.median_s,
            row.p95_s,
            row.cycles_per_s,
            row.reads_per_s,
            ratio
        );
    }
    text
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
    let ways = ways(&args);
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
    let results = run(&cells, &ways, plan, &args);
    let mut rows = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        for (number, way) in ways.iter().enumerate() {
            let trials: Vec<Trial> = results
                .iter()
                .filter(|(at, _)| *at == (index, number))
                .map(|(_, trial)| trial.clone())
                .collect();
            if !trials.is_empty() {
                rows.push(row(&cell.name, &way.name, &trials));
            }
        }
    }
    let table = table(&rows);
    println!("{table}");
    write_reports(&args, &rows, &table)
}

/// Runs the plan; a trial that could not be run is said, and missing.
fn run(
    cells: &[Cell],
    ways: &[Way],
    plan: Vec<(usize, usize)>,
    args: &Args,
) -> Vec<((usize, usize), Trial)> {
    let total = plan.len();
    let plan = Arc::new(plan);
    let next = Arc::new(AtomicUsize::new(0));
    let said = Arc::new(Mutex::new(()));
    let (send, results) = mpsc::channel();
    for _ in 0..args.jobs.max(1) {
        let (plan, next, send) = (Arc::clone(&plan), Arc::clone(&next), send.clone());
        let (cells, ways, said) = (cells.to_vec(), ways.to_vec(), Arc::clone(&said));
        let duration = args.duration;
        let built = || Path::new(env!("CARGO_BIN_EXE_modrace")).to_owned();
        let program = args.program.clone().unwrap_or_else(built);
        std::thread::spawn(move || {
            while let Some(&(cell, way)) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = race(&program, &cells[cell], &ways[way], duration);
                let _one_line_at_a_time = said.lock().unwrap_or_else(PoisonError::into_inner);
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
                        let _nobody_waits = send.send(((cell, way), trial));
                    }
                    Err(error) => eprintln!("{cell_name} {way_name}: {error}"),
                }
            }
        });
    }
    drop(send);
    results.into_iter().take(total).collect()
}

fn write_reports(args: &Args, rows: &[Row], table: &str) -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports");
    std::fs::create_dir_all(&root)?;
    // What the program was called when it was measured says nothing later.
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let Some(at) = words.iter().position(|word| word == "--program") {
        words.drain(at..(at + 2).min(words.len()));
    }
    let command = format!("cargo bench --bench time_to_crash -- {}", words.join(" "));
    let json = serde_json::json!({ "command": command, "rows": rows });
    std::fs::write(
        root.join(format!("{}.json", args.name)),
        serde_json::to_vec_pretty(&json)?,
    )?;
    let text = format!(
        "# {}\n\n`{command}`\n\nA trial without a crash counts with all of its time. Void trials gave no result. \
         stress-ng is not among the ways: this bench does not pack it.\n\n{table}",
        args.name
    );
    std::fs::write(root.join(format!("{}.md", args.name)), text)?;
    Ok(())
}
