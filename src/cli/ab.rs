//! `modrace ab`: a kernel without a fix against one with it.

use super::args::{MachineArgs, RaceArgs};
use super::ui::Ui;
use crate::model::ExitCode;
use crate::race::races::LabPair;
use crate::session::kernel_arg::KERNEL_HELP;
use crate::session::paired::{self, DEFAULT_CRASHES, PairedRequest};
use crate::session::request::DEFAULT_CONFIDENCE;
use crate::session::{Events, Failure};

/// Compare a kernel without a fix with one that has it
///
/// Exit code 0: the fix is confirmed. 1: the candidate crashed, hung or warned. 5: not enough was shown; the verdict says what is missing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kernel without the fix
    #[arg(long, value_name = "KERNEL", help = help("without"))]
    baseline: Option<String>,
    /// The kernel with the fix
    #[arg(long, value_name = "KERNEL", help = help("with"))]
    candidate: Option<String>,
    /// Crashes of the baseline to wait for
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CRASHES)]
    crashes: u32,
    /// How sure to be, between 0.5 and 0.999999
    #[arg(long, value_name = "LEVEL", default_value_t = DEFAULT_CONFIDENCE)]
    confidence: f64,
    /// The most exposure that either kernel gets
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    max_exposure: std::time::Duration,
    /// How long the trials may take in all: what is left of it once the fix is
    /// confirmed lowers the bound on how rare the crash may still be
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    budget: Option<std::time::Duration>,
    /// Do not look at the candidate's module states first
    #[arg(long)]
    no_states: bool,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    race: RaceArgs,
}

fn help(which: &str) -> String {
    format!("The kernel {which} the fix: {KERNEL_HELP} [default: of the race's lab pair]")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    let mut request = args.race.request()?;
    if args.race.duration.is_none() {
        request.settings.duration_s = paired::DEFAULT_DURATION_S;
    }
    args.machine.add_to(&mut request);
    let (without, with) = kernels(args);
    let pair = PairedRequest {
        crashes: args.crashes,
        confidence: args.confidence,
        max_exposure_s: args.max_exposure.as_secs_f64(),
        budget_s: args.budget.map(|budget| budget.as_secs_f64()),
        cap: args.race.trials,
        states: !args.no_states,
        ..PairedRequest::new(without, with)
    };
    let listener = |event| ui.hear(event);
    let finished = paired::run(request, &pair, Events::to(&listener))?;
    ui.finished(finished, args.race.json)
}

/// The two kernels: those named, or the race's lab pair.
fn kernels(args: &Args) -> (String, String) {
    let (without, with) = match args.race.race.pair {
        LabPair::Kernels(without, with) => (without, with),
        LabPair::Modules(kernel) => (kernel, kernel),
    };
    let named = |typed: &Option<String>, lab| typed.clone().unwrap_or_else(|| format!("lab:{lab}"));
    (named(&args.baseline, without), named(&args.candidate, with))
}
