//! `modrace vm`: races a kernel inside disposable virtual machines.

use std::sync::atomic::{AtomicBool, Ordering};

use super::args::{MachineArgs, RaceArgs};
use super::control::ControlArgs;
use super::kernel_arg::KERNEL_HELP;
use super::side::{Preparation, Side};
use super::ui::{Ui, progress::Progress};
use super::{Failure, OrFail, plan, session};
use crate::model::{ExitCode, Report};
use crate::report::write::ReportFile;
use crate::trial::Event;
use crate::trial::{Schedule, Turn, VmTrial, campaign};

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
}

fn kernel_help() -> String {
    format!("The kernel under test: {KERNEL_HELP}")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    let mut settings = plan::vm_settings(&args.race, &args.machine, plan::DEFAULT_DURATION_S)?;
    settings.jobs = settings.jobs.min(settings.trials);
    let control = args.control.read(&settings)?;
    let (preparation, file) =
        Preparation::of_race(&args.race, &args.machine, settings, &args.kernel, ui)?;
    let mut side = preparation.side(&args.kernel)?;
    side.trials.logs = file.as_ref().map(ReportFile::logs);
    let mut report = preparation.report(&side);
    if let Some(file) = &file {
        // An unwritable place is found now, not after an hour of racing.
        file.save(&report).or_fail(ExitCode::Broken)?;
    }
    let interrupted = race(&side, &mut report, file.as_ref(), &preparation.stop, ui)?;
    let mut exit = session::conclude(&mut report, interrupted);
    if let Some(control) = control.filter(|_| !interrupted) {
        report = control.apply(report)?;
        exit = session::exit_code(&report);
    }
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
    let (trials, jobs) = (report.settings.trials, report.settings.jobs);
    let progress = Progress::new(ui, &report.environment.kernel.name, trials);
    let mut schedule = Repeat {
        side,
        report,
        file,
        progress,
        started: 0,
        trials,
        lost: None,
    };
    campaign::run(jobs, stop, &mut schedule, |index, give_up, tell| {
        side.trials.run(VmTrial { index }, give_up, tell)
    })
    .or_fail(ExitCode::Broken)?;
    schedule.progress.end();
    match schedule.lost {
        Some(failure) => Err(failure.hint("the report of the trials before this one is intact")),
        None => Ok(stop.load(Ordering::Relaxed)),
    }
}

/// The schedule: the same trial again and again, the report saved after each.
struct Repeat<'a> {
    side: &'a Side,
    report: &'a mut Report,
    file: Option<&'a ReportFile>,
    progress: Progress<'a>,
    started: u32,
    trials: u32,
    lost: Option<Failure>,
}

impl Schedule for Repeat<'_> {
    type Key = u32;

    fn next(&mut self) -> Turn<u32> {
        if self.started == self.trials {
            return Turn::Stop;
        }
        self.started += 1;
        Turn::Start(self.started - 1)
    }

    fn hear(&mut self, _: u32, event: Event) -> bool {
        self.progress.hear(&event);
        let Event::Finished(trial) = event else {
            return true;
        };
        self.report.trials.push(*trial);
        self.report.trials.sort_by_key(|trial| trial.index);
        self.side
            .learn(&mut self.report.environment, &mut self.report.module);
        session::update(self.report);
        let saved = self.file.map_or(Ok(()), |file| file.save(self.report));
        self.lost = saved.or_fail(ExitCode::Broken).err();
        self.lost.is_none()
    }
}
