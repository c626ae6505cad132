//! `modrace states`: what a kernel shows of the module in each of its states.

use std::path::PathBuf;

use super::args::MachineArgs;
use super::ui::Ui;
use crate::model::{ExitCode, Report};
use crate::report::states_text;
use crate::report::write::to_json;
use crate::session::kernel_arg::KERNEL_HELP;
use crate::session::{Destination, Events, Failure, Request, states};

/// Check how a kernel shows a module that is loading, live and unloading
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: Option<String>,
    /// Hold this module (.ko), which needs the dummy module's parameters
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Write the report to this file
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
    format!(
        "Check this kernel in disposable VMs, its list of modules after sysrq-c too: \
         {KERNEL_HELP} [default: the running kernel, as root, without sysrq-c]"
    )
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.quiet);
    let mut request = Request {
        module: args.module.clone(),
        report: args
            .report
            .clone()
            .map_or(Destination::Named, Destination::File),
        ..Request::default()
    };
    args.machine.add_to(&mut request);
    let listener = |event| ui.hear(event);
    let finished = states::run(request, args.kernel.as_deref(), Events::to(&listener))?;
    let (report, exit) = (finished.report.clone(), finished.exit);
    if let Some(path) = finished.close()? {
        ui.note(&format!("report: {}", path.display()));
    }
    show(&report, args.json, ui)?;
    Ok(exit)
}

fn show(report: &Report, json: bool, ui: &Ui) -> Result<(), Failure> {
    if json {
        ui.result(&String::from_utf8_lossy(&to_json(report)?));
        return Ok(());
    }
    let kernel = &report.environment.kernel;
    let release = kernel.release.as_deref().unwrap_or("unknown");
    ui.result(&format!("kernel: {} ({release})\n", kernel.name));
    ui.result(&states_text(&report.states));
    ui.result(&format!("{}\n", report.verdict_reason));
    Ok(())
}
