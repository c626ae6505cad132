//! `modrace vm`: races a kernel inside disposable virtual machines.

use clap::ValueEnum;

use super::args::{ControlArgs, MachineArgs, RaceArgs};
use super::ui::Ui;
use crate::model::ExitCode;
use crate::session::kernel_arg::KERNEL_HELP;
use crate::session::{Events, Failure, VmcoreChoice, repeated};

/// Race a kernel inside disposable virtual machines
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kernel under test
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: String,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    race: RaceArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Which crashes leave the guest's memory beside the report, for crash(8)
    /// and drgn
    #[arg(long, value_enum, default_value_t = VmcoreArg::First)]
    vmcore: VmcoreArg,
    /// Make one trial, and hold its guest at the crash for a debugger
    #[arg(long, conflicts_with_all = ["trials", "jobs"])]
    gdb: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VmcoreArg {
    First,
    All,
    None,
}

impl From<VmcoreArg> for VmcoreChoice {
    fn from(typed: VmcoreArg) -> Self {
        match typed {
            VmcoreArg::First => Self::First,
            VmcoreArg::All => Self::All,
            VmcoreArg::None => Self::None,
        }
    }
}

fn kernel_help() -> String {
    format!("The kernel under test: {KERNEL_HELP}")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    let mut request = args.race.request()?;
    args.machine.add_to(&mut request);
    request.vmcore = args.vmcore.into();
    request.debugger = args.gdb;
    if args.gdb {
        request.settings.trials = 1;
    }
    let control = args.control.request();
    let listener = |event| ui.hear(event);
    let finished = repeated::run(request, &args.kernel, &control, Events::to(&listener))?;
    ui.finished(finished, args.race.json)
}
