//! `modrace prove`: every interleaving of the race's two sides on one kernel.

use std::path::PathBuf;

use super::args::MachineArgs;
use super::kernel_arg::{self, KERNEL_HELP};
use super::side::{Preparation, adopt};
use super::ui::{Ui, progress};
use super::{Failure, OrFail, plan, session, states};
use crate::interleave::machine::MachineError;
use crate::model::{Accel, ExitCode, Proof, Report, Who};
use crate::report::write::ReportFile;
use crate::session::prove::{FEWEST_CPUS, Progress, ProveError, Proved, Subject, prove};
use crate::verdict::verdict_of_proof;

/// Force every interleaving of an unload and a read of /proc/modules, one after
/// another: one crashes, or each is run through or shown to be blocked by a lock
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(short, long, value_name = "KERNEL", help = kernel_help())]
    kernel: String,
    /// Force this schedule alone, by its points as a report names them: the side
    /// named first stops first, such as L22,R19 or 22,19
    #[arg(long, value_name = "J,K", value_parser = schedule)]
    schedule: Option<(Who, usize, usize)>,
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
    if args.machine.smp < FEWEST_CPUS {
        let error = format!("--smp {}: each side needs a virtual CPU", args.machine.smp);
        return Err(Failure::message(ExitCode::Usage, error).hint("--smp 2, or more"));
    }
    let race = states::no_race(args.module.as_deref())?;
    let mut settings = plan::vm_settings(&race, &args.machine, plan::DEFAULT_DURATION_S)?;
    settings.trials = 0;
    if settings.accel == Accel::Kvm {
        return Err(Failure::message(
            ExitCode::Usage,
            "--accel kvm: only under TCG can a virtual CPU be stopped at an instruction",
        ));
    }
    settings.accel = Accel::Tcg;
    let preparation = Preparation::new(&race, &args.machine, settings, ui)?;
    let file = report_file(args, &preparation)?;
    let mut side = preparation.side(&args.kernel)?;
    side.trials.qemu.loads_plugins().map_err(|error| {
        Failure::new(ExitCode::Unsupported, error).hint(
            "prove needs a QEMU built with plugins (configure --enable-plugins), as Debian's is",
        )
    })?;
    let kernel = kernel_arg::resolve(&args.kernel, &preparation.cache)?;
    let mut shown = progress::Progress::new(ui, "", 0);
    let mut tell = |progress: Progress| match progress {
        Progress::Schedules { .. } => shown.status(&words(&progress)),
        _ => ui.note(&words(&progress)),
    };
    let subject = Subject {
        qemu: &side.trials.qemu,
        spec: &side.trials.spec,
        base: &side.trials.base,
        kdir: kernel.kdir.as_deref(),
        module: &side.module,
        settings: &preparation.settings,
        only: args.schedule,
        cancel: &preparation.stop,
    };
    let proved = prove(&subject, &mut tell);
    shown.end();
    let Proved {
        proof,
        complete,
        environment,
        console,
        before,
    } = proved.map_err(failure)?;
    if let Some(guest) = environment {
        adopt(&mut side.environment, guest);
    }
    for crash in &before {
        ui.note(&format!(
            "the kernel reported before the first schedule: {}",
            crash.title
        ));
    }
    let mut report = preparation.report(&side);
    conclude(&mut report, proof, complete);
    if let Some(file) = &file {
        keep_console(file, &console)?;
    }
    let exit = session::exit_code(&report);
    session::show_as(args.json, &report, file, ui)?;

    Ok(exit)
}

/// Where the report goes; none for stdout.
fn report_file(args: &Args, preparation: &Preparation<'_>) -> Result<Option<ReportFile>, Failure> {
    let file = match &args.report {
        Some(path) if path.as_os_str() == "-" => return Ok(None),
        Some(path) => ReportFile::at(path.clone()),
        None => ReportFile::named("reports".as_ref(), &args.kernel, preparation.started),
    };
    file.check().or_fail(ExitCode::Usage)?;
    Ok(Some(file))
}

/// Brings the proof and what follows from it into the report.
fn conclude(report: &mut Report, proof: Proof, complete: bool) {
    (report.verdict, report.verdict_reason) = verdict_of_proof(&proof, complete);
    report.complete = complete;
    report.updated = session::now();
    report.prove = Some(proof);
}

fn keep_console(file: &ReportFile, console: &[u8]) -> Result<(), Failure> {
    let folder = file.logs();
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("prove.console.log"), console))
        .or_fail(ExitCode::Broken)
}

/// Why nothing could be proved, and what scripts see of it.
fn failure(error: ProveError) -> Failure {
    let (code, hint) = match &error {
        ProveError::Machine(MachineError::Interrupted) => (ExitCode::Interrupted, None),
        ProveError::Machine(MachineError::NoPlugin(_)) => (
            ExitCode::Unsupported,
            Some(
                "prove needs a QEMU built with plugins (configure --enable-plugins), as Debian's is",
            ),
        ),
        ProveError::Machine(MachineError::NoSymbol(_) | MachineError::Switch(_)) => (
            ExitCode::Unsupported,
            Some(
                "this kernel was compiled in a way that modrace's table of functions does not know",
            ),
        ),
        ProveError::Machine(MachineError::Load(_)) => (ExitCode::Unsupported, None),
        ProveError::NoPoint(..) => (
            ExitCode::Usage,
            Some("a report of prove lists the points of this kernel"),
        ),
        _ => (ExitCode::Broken, None),
    };
    let failure = Failure::new(code, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn words(progress: &Progress) -> String {
    match progress {
        Progress::LookingForSymbols => {
            "no vmlinux: a first boot shows where the kernel's functions are".to_owned()
        }
        Progress::Points {
            loader,
            reader,
            planned,
        } => format!("{loader} points of the unload, {reader} of the read: {planned} schedules"),
        Progress::Schedules { done, planned } => format!("{done} of {planned} schedules"),
        Progress::Reducing => "one crashed; again on a new guest, with fewer stops".to_owned(),
    }
}
