//! `modrace recover`: completes the report of a run that crashed this machine.

use std::path::{Path, PathBuf};

use super::ui::Ui;
use crate::model::ExitCode;
use crate::session::bare::{JOURNAL_FOLDER, unit};
use crate::session::{Events, Failure, recovery};

/// Complete the report of a run that crashed this machine
#[derive(Debug, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub(super) struct Args {
    /// Where the journal was kept
    #[arg(long, value_name = "DIR", default_value = JOURNAL_FOLDER)]
    journal: PathBuf,
    /// Then make the trials that are left
    #[arg(long)]
    resume: bool,
    /// Print the systemd unit that does this at each boot, and do nothing else
    #[arg(long)]
    print_unit: bool,
    /// Print the report as JSON on stdout, not the summary
    #[arg(long)]
    json: bool,
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.quiet);
    if args.print_unit {
        ui.result(&unit::text(&args.journal));
        return Ok(ExitCode::Survived);
    }
    each(&args.journal, args.resume, args.json, ui)
}

/// `modrace run --cleanup`: the same, for a run that was killed.
pub(super) fn cleanup(folder: &Path, json: bool, ui: &Ui) -> Result<ExitCode, Failure> {
    each(folder, false, json, ui)?;
    // Cleaning up is what was asked for; what the run came to is in its report.
    Ok(ExitCode::Survived)
}

fn each(folder: &Path, resume: bool, json: bool, ui: &Ui) -> Result<ExitCode, Failure> {
    let listener = |event| ui.hear(event);
    recovery::each(folder, resume, Events::to(&listener), &mut |finished| {
        ui.finished(finished, json).map(drop)
    })
}
