//! `modrace check`: every known race against one kernel.

use std::path::PathBuf;
use std::time::Duration;

use super::args::race;
use super::ui::Ui;
use crate::model::ExitCode;
use crate::race::races::{RACES, RaceRow};
use crate::report::show_check;
use crate::report::write::to_json;
use crate::session::check::{self, CheckRequest};
use crate::session::kernel_arg::KERNEL_HELP;
use crate::session::request::new_seed;
use crate::session::{Events, Failure};

/// Run every known race against one kernel, each beside a control that crashes
///
/// The controls are lab kernels without the fix, or the driver's module with its
/// mistake; they are built and measured once and kept. Exit code: that of the
/// worst race.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kernel
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: String,
    /// Take a few minutes, and be less sure: 6 s for each race, 90 %
    #[arg(long)]
    quick: bool,
    /// Only these races, from `modrace list races`
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = race)]
    races: Vec<&'static RaceRow>,
    /// Longest trial [default: 30s; --quick: 6s]
    #[arg(short, long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// The most exposure of the kernel in each race [default: 10m; --quick: 6s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_exposure: Option<Duration>,
    /// How sure to be, between 0.5 and 1 [default: 0.999; --quick: 0.9]
    #[arg(long, value_name = "LEVEL")]
    confidence: Option<f64>,
    /// Trials under way at once [default: host CPUs / virtual CPUs]
    #[arg(short, long, value_name = "N")]
    jobs: Option<u32>,
    /// Seed of everything random; a new one each time unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The QEMU program [default: qemu-system-x86_64 on PATH]
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    /// Write the report to this file; `modrace report render` makes KTAP and
    /// HTML of it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report as JSON on stdout, not the table
    #[arg(long)]
    json: bool,
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
}

fn kernel_help() -> String {
    format!("The kernel: {KERNEL_HELP}")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.quiet);
    let chosen = |row: &&RaceRow| {
        args.races.is_empty() || args.races.iter().any(|wanted| wanted.name == row.name)
    };
    let races = RACES.iter().filter(chosen).collect();
    let mut asked = CheckRequest::thorough(&args.kernel, races);
    if args.quick {
        asked = asked.quick();
    }
    if let Some(duration) = args.duration {
        asked.duration_s = duration.as_secs_f64();
        asked.max_exposure_s = asked.max_exposure_s.max(asked.duration_s);
    }
    if let Some(most) = args.max_exposure {
        asked.max_exposure_s = most.as_secs_f64();
    }
    asked.confidence = args.confidence.unwrap_or(asked.confidence);
    asked.jobs = args.jobs;
    asked.seed = args.seed.map_or_else(new_seed, Ok)?;
    asked.qemu.clone_from(&args.qemu);
    asked.report.clone_from(&args.report);
    let listener = |event| ui.hear(event);
    let (check, exit) = check::run(&asked, Events::to(&listener))?;
    if args.json {
        ui.result(&String::from_utf8_lossy(&to_json(&check)?));
    } else {
        ui.result(&show_check(&check));
    }
    if let Some(path) = &args.report {
        ui.note(&format!("report: {}", path.display()));
    }
    Ok(exit)
}
