//! `modrace run`: races the kernel that it runs on.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::args::{ControlArgs, RaceArgs};
use super::recover;
use super::ui::Ui;
use crate::model::ExitCode;
use crate::session::bare::{self, BareRequest, JOURNAL_FOLDER};
use crate::session::{Events, Failure};

/// Race the kernel that this machine runs: meant to crash it
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
#[command(mut_arg("trials", |arg| {
    arg.default_value("1").help("Trials, each from a clean state")
}))]
#[command(mut_arg("duration", |arg| {
    arg.default_value("60s").help("Longest time raced in one trial, such as 30s, 5m or 1h")
}))]
pub(super) struct Args {
    #[command(flatten)]
    race: RaceArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// This machine may crash and lose what is not on its disk
    #[arg(long, env = "MODRACE_DISPOSABLE", value_parser = clap::builder::FalseyValueParser::new())]
    disposable: bool,
    /// The running kernel's build tree [default: /lib/modules/RELEASE/build]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["module", "module_name"])]
    kdir: Option<PathBuf>,
    /// Race this installed module, with its dependencies in place. One that taints
    /// nothing cannot meet the BUG of the bug report: give it another --target
    #[arg(long, value_name = "NAME", conflicts_with = "module")]
    module_name: Option<String>,
    /// What the kernel does at an oops [default: as the machine has it]
    #[arg(long, value_enum)]
    on_crash: Option<OnCrash>,
    /// Make the remaining trials after each reboot
    #[arg(long)]
    rearm: bool,
    /// Install the systemd unit that does so, for the time of the run
    #[arg(long, requires = "rearm")]
    install_unit: bool,
    /// This machine's console is recorded elsewhere: race it even though nothing on
    /// it would keep the log of a panic
    #[arg(long)]
    console_recorded: bool,
    /// Stop systemd-udevd for the time of the run: it is told of each load and
    /// unload, and takes CPU time from the race
    #[arg(long)]
    stop_udev: bool,
    /// Reboot at the end if the kernel has crashed; --rearm does so anyway
    #[arg(long)]
    reboot: bool,
    /// Where the journal is kept
    #[arg(long, value_name = "DIR", default_value = JOURNAL_FOLDER)]
    journal: PathBuf,
    /// Time between two heartbeats in the journal
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    heartbeat: Duration,
    /// Put back what a run that was killed has left behind, and race nothing
    #[arg(long)]
    cleanup: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnCrash {
    /// Panic, and reboot
    Panic,
    /// Stay up, damaged
    Stay,
}

impl From<OnCrash> for bare::OnCrash {
    fn from(typed: OnCrash) -> Self {
        match typed {
            OnCrash::Panic => Self::Panic,
            OnCrash::Stay => Self::Stay,
        }
    }
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    if args.cleanup {
        return recover::cleanup(&args.journal, args.race.json, ui);
    }
    let asked = BareRequest {
        request: args.race.request()?,
        control: args.control.request(),
        disposable: args.disposable,
        kdir: args.kdir.clone(),
        module_name: args.module_name.clone(),
        on_crash: args.on_crash.map(Into::into),
        rearm: args.rearm,
        install_unit: args.install_unit,
        console_recorded: args.console_recorded,
        stop_udev: args.stop_udev,
        reboot: args.reboot,
        journal: args.journal.clone(),
        heartbeat_s: args.heartbeat.as_secs_f64(),
    };
    let listener = |event| ui.hear(event);
    let finished = bare::run(&asked, Events::to(&listener))?;
    ui.finished(finished, args.race.json)
}
