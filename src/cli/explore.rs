//! `modrace explore`: a search for races that nobody has named.

use std::path::PathBuf;
use std::time::Duration;

use super::args::{MachineArgs, ReadArgs, race};
use super::ui::Ui;
use crate::model::{DEFAULT_RACE, ExitCode};
use crate::race::races::RaceRow;
use crate::session::explore::{self, OneOrder};
use crate::session::kernel_arg::KERNEL_HELP;
use crate::session::{Destination, Events, Failure, Request};

/// Search a driver's files, or a known race, for orders of calls and of single
/// instructions that crash the kernel
///
/// Whole calls in every order first; then one side is stopped at each
/// instruction that could matter while the other makes its call; then both,
/// where they touch the same memory. Exit code 1: something was found. 5:
/// nothing was, which is no proof.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: String,
    /// A race of `modrace list races`: its module and its files
    #[arg(long, value_name = "NAME", value_parser = race, default_value = DEFAULT_RACE)]
    race: &'static RaceRow,
    /// Of a driver's mistake, take the module with it mended
    #[arg(long)]
    mended: bool,
    /// The module, a .ko file, whose files are searched
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// How long to search
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5m")]
    budget: Duration,
    /// Force this schedule alone, as a report tells it
    #[arg(long, value_name = "SCHEDULE", value_parser = OneOrder::parse)]
    schedule: Option<OneOrder>,
    /// Where the report goes; - for stdout
    /// [default: reports/<utc>-<kernel>-<verdict>.json]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report as JSON on stdout, not the summary
    #[arg(long)]
    json: bool,
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

fn kernel_help() -> String {
    format!("Search on this kernel, in a disposable VM under TCG: {KERNEL_HELP}")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.quiet);
    let mut request = Request {
        module: args.module.clone(),
        mended: args.mended,
        report: Destination::typed(args.report.as_deref()),
        ..Request::of_race(args.race)
    };
    request.read(args.read.request())?;
    args.machine.add_to(&mut request);
    let listener = |event| ui.hear(event);
    let finished = explore::run(
        request,
        &args.kernel,
        args.budget,
        args.schedule.as_ref(),
        Events::to(&listener),
    )?;
    ui.finished(finished, args.json)
}
