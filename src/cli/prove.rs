//! `modrace prove`: every interleaving of the race's two sides on one kernel.

use std::path::PathBuf;

use super::args::MachineArgs;
use super::ui::Ui;
use crate::model::{ExitCode, Who};
use crate::session::kernel_arg::KERNEL_HELP;
use crate::session::prove::OneSchedule;
use crate::session::{Destination, Events, Failure, Request, prove};

/// Force every interleaving of an unload and a read of /proc/modules, one after
/// another: one crashes, or each is run through or shown to be blocked by a lock
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: String,
    /// Force this schedule alone, by its points as a report names them: the side
    /// named first stops first, such as L22,R18 or 22,18
    #[arg(long, value_name = "J,K", value_parser = schedule)]
    schedule: Option<OneSchedule>,
    /// Stop the guest where that schedule stands, for a debugger to attach
    #[arg(long, requires = "schedule")]
    gdb: bool,
    /// Unload this module (.ko), not the dummy module; it must taint the kernel
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
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
    format!("Force them on this kernel, in a disposable VM under TCG: {KERNEL_HELP}")
}

/// `J,K`, `LJ,RK` or `RK,LJ`.
fn schedule(typed: &str) -> Result<(Who, usize, usize), String> {
    let wrong = || format!("`{typed}` is no schedule; one is L22,R19: points from a report");
    let (one, other) = typed.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str, letter: char| -> Option<usize> {
        text.trim()
            .trim_start_matches([letter, letter.to_ascii_lowercase()])
            .parse()
            .ok()
            .filter(|&number| number > 0)
    };
    let loader_first = number(one, 'L').zip(number(other, 'R'));
    let reader_first = number(one, 'R').zip(number(other, 'L'));
    match (loader_first, reader_first) {
        (Some((loader, reader)), _) => Ok((Who::Loader, loader, reader)),
        (None, Some((reader, loader))) => Ok((Who::Reader, loader, reader)),
        (None, None) => Err(wrong()),
    }
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.quiet);
    let mut request = Request {
        module: args.module.clone(),
        report: Destination::typed(args.report.as_deref()),
        ..Request::default()
    };
    args.machine.add_to(&mut request);
    let listener = |event| ui.hear(event);
    if let (true, Some(schedule)) = (args.gdb, args.schedule) {
        prove::debug(request, &args.kernel, schedule, Events::to(&listener))?;
        return Ok(ExitCode::Survived);
    }
    let finished = prove::run(request, &args.kernel, args.schedule, Events::to(&listener))?;
    ui.finished(finished, args.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_says_who_stops_first() {
        assert_eq!(schedule("22,18"), Ok((Who::Loader, 22, 18)));
        assert_eq!(schedule("L22,R18"), Ok((Who::Loader, 22, 18)));
        assert_eq!(schedule("r18,l22"), Ok((Who::Reader, 22, 18)));
        for wrong in ["22", "L22", "L0,R1", "L22,L18", "a,b"] {
            assert!(schedule(wrong).is_err(), "{wrong}");
        }
    }
}
