//! `modrace vm`: races a kernel inside disposable virtual machines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::args::{MachineArgs, RaceArgs};
use super::kernel_arg::KERNEL_HELP;
use super::side::{Preparation, Side};
use super::ui::{Ui, progress::Progress};
use super::{Failure, OrFail, plan, session, stop};
use crate::kernel::cache::Cache;
use crate::model::{Event, ExitCode, Report};
use crate::report::write::ReportFile;
use crate::trial::{Campaign, VmTrial};

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
}

fn kernel_help() -> String {
    format!("The kernel under test: {KERNEL_HELP}")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    let mut settings = plan::vm_settings(&args.race, &args.machine)?;
    settings.jobs = settings.jobs.min(settings.trials);
    let seed = plan::seed(&args.race);
    let started = SystemTime::now();
    let file = session::report_file(&args.race, &args.kernel, started)?;
    let stop = stop::on_signals()?;
    let cache = Cache::from_env().or_fail(ExitCode::Broken)?;
    let preparation = Preparation {
        cache: &cache,
        race: &args.race,
        machine: &args.machine,
        settings: &settings,
        seed,
        stop: &stop,
        ui,
    };
    let mut side = preparation.side(&args.kernel)?;
    side.trials.logs = file.as_ref().map(ReportFile::logs);
    let mut report = session::blank(
        side.environment.clone(),
        &side.module,
        settings,
        seed,
        started,
    );
    if let Some(file) = &file {
        // An unwritable place is found now, not after an hour of racing.
        file.save(&report).or_fail(ExitCode::Broken)?;
    }
    let interrupted = race(&side, &mut report, file.as_ref(), &stop, ui)?;
    let exit = session::conclude(&mut report, interrupted);
    session::show(&args.race, &report, file, ui)?;
    Ok(exit)
}

/// Performs the trials; the report is saved after each. True if a signal ended
/// it early.
fn race(
    side: &Side,
    report: &mut Report,
    file: Option<&ReportFile>,
    stop: &AtomicBool,
    ui: &Ui,
) -> Result<bool, Failure> {
    let campaign = Campaign {
        trials: report.settings.trials,
        jobs: report.settings.jobs,
    };
    let mut progress = Progress::new(ui, &report.environment.kernel.name, campaign.trials);
    let mut lost: Option<Failure> = None;
    campaign
        .run(
            stop,
            |index, give_up, tell| side.trials.run(VmTrial { index }, give_up, tell),
            |event| {
                progress.hear(&event);
                if let Event::Finished(trial) = event {
                    report.trials.push(*trial);
                    report.trials.sort_by_key(|trial| trial.index);
                    side.learn(&mut report.environment, &mut report.module);
                    session::update(report);
                    let saved = file.map_or(Ok(()), |file| file.save(report));
                    lost = saved.or_fail(ExitCode::Broken).err();
                }
                lost.is_none()
            },
        )
        .or_fail(ExitCode::Broken)?;
    progress.end();
    match lost {
        Some(failure) => Err(failure.hint("the report of the trials before this one is intact")),
        None => Ok(stop.load(Ordering::Relaxed)),
    }
}
