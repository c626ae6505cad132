//! `modrace run` and what goes on with it: races the kernel that it runs on.
//! Here a run begins: the guard rails, and what is said before anything is done;
//! `run_loop` makes the trials.

mod candidate;
pub(super) mod run_loop;
pub(super) mod tunables;
pub mod unit;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::candidate::Candidate;
pub use self::run_loop::OpenRun;
use self::run_loop::RunLoop;
pub use self::tunables::OnCrash;
use super::control::ControlRequest;
use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::request::Request;
use super::{record, stop};
pub use crate::bare::JOURNAL_FOLDER;
use crate::bare::{Begin, FORMAT, Journal, Record, journals};
use crate::disk;
use crate::kernel::crash_log::CrashLog;
use crate::kernel::preflight::{Facts, running_config};
use crate::kernel::{affinity, module, udev, uname};
use crate::model::{Environment, ExitCode, Settings, Strategy, Tunable};
use crate::report::write::ReportFile;

/// Longest wait for this machine's files to reach its disks.
pub(super) const SYNC_PATIENCE: Duration = Duration::from_secs(10);
/// Room for a heartbeat in the journal: four times what was measured.
const BEAT_BYTES: u64 = 4096;
/// Room for a trial's other records, among them its outcome with the crash.
const TRIAL_BYTES: u64 = 512 * 1024;

/// What to race on this machine, and what may be done to it.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct BareRequest {
    /// How to race.
    pub request: Request,
    /// The positive control, if there is one.
    pub control: ControlRequest,
    /// This machine may crash and lose what is not on its disk.
    pub disposable: bool,
    /// The running kernel's build tree; none: where its headers belong.
    pub kdir: Option<PathBuf>,
    /// An installed module to race.
    pub module_name: Option<String>,
    /// What the kernel does at an oops; none: as the machine has it.
    pub on_crash: Option<OnCrash>,
    /// Make the remaining trials after each reboot.
    pub rearm: bool,
    /// Install the systemd unit that does so.
    pub install_unit: bool,
    /// The machine's console is recorded elsewhere: a panic may be what nothing
    /// here keeps.
    pub console_recorded: bool,
    /// Stop udevd for the time of the run.
    pub stop_udev: bool,
    /// Reboot at the end if the kernel has crashed.
    pub reboot: bool,
    /// Where the journal is kept.
    pub journal: PathBuf,
    /// Time between two heartbeats in the journal, seconds.
    pub heartbeat_s: f64,
}

impl Default for BareRequest {
    fn default() -> Self {
        let mut request = Request::default();
        // A trial may cost the machine; more of them are asked for.
        request.settings.trials = 1;
        Self {
            request,
            control: ControlRequest::default(),
            disposable: false,
            kdir: None,
            module_name: None,
            on_crash: None,
            rearm: false,
            install_unit: false,
            console_recorded: false,
            stop_udev: false,
            reboot: false,
            journal: JOURNAL_FOLDER.into(),
            heartbeat_s: 1.0,
        }
    }
}

/// Races the kernel that this machine runs.
pub fn run(asked: &BareRequest, events: Events<'_>) -> Result<Finished, Failure> {
    let stop = stop::on_signals()?;
    let facts = Facts::gather(asked.disposable);
    // Who may not race need not be told what is wrong with the module.
    if facts.root && facts.disposable {
        on_this_machine(asked, 0)?;
    }
    refuse(&facts, true)?;
    nothing_unfinished(&asked.journal)?;
    if asked.stop_udev && !udev::is_running() {
        return Err(Failure::usage("--stop-udev: no systemd-udevd runs here")
            .hint("leave the option away: nothing takes time from the race there"));
    }
    let tunables = tunables::plan(asked.on_crash);
    let crash_log = CrashLog::gather();
    refuse_unseen(&tunables, asked, &crash_log)?;
    let machine = uname::environment("");
    let release = machine.kernel.release.clone().unwrap_or_default();
    let named = candidate::named(asked, &release)?;
    let signed = named.as_ref().is_some_and(|named| named.image.signed());
    refuse(&facts, signed)?;
    let candidate = match named {
        Some(candidate) => candidate,
        None => candidate::dummy(asked, &release, &stop, events)?,
    };
    let begin = begin(asked, &release, machine, &candidate, tunables)?;
    let control = asked.control.read(&begin.report.settings)?;
    announce(&begin, asked, candidate.image.intree(), &crash_log, events);
    if asked.rearm && !asked.install_unit {
        events.note(format!(
            "after each reboot run `modrace recover --resume --journal {}`; a systemd unit that \
             does it: modrace recover --print-unit",
            asked.journal.display()
        ));
    }
    let (journal, file) = open(&begin, &asked.journal)?;
    if !disk::sync_machine(SYNC_PATIENCE) {
        events.note(format!(
            "this machine's disks have not taken all that was written within {} s: what others \
             wrote may be lost in a crash",
            SYNC_PATIENCE.as_secs()
        ));
    }
    RunLoop {
        report: begin.report.clone(),
        begin,
        journal,
        file,
        control,
        events,
        reboot: asked.reboot,
    }
    .run(0, &stop)
}

/// Opens what a run keeps on the disk: its journal and its report. Where one
/// cannot be written, no journal is left that would have to be recovered.
fn open(begin: &Begin, folder: &Path) -> Result<(Journal, Option<ReportFile>), Failure> {
    let mut journal = Journal::create(folder, room(&begin.report.settings, begin.heartbeat_s))?;
    let file = begin.report_path.clone().map(ReportFile::resume);
    let mut write = || -> Result<(), Failure> {
        journal.append(&Record::Begin(Box::new(begin.clone())))?;
        if begin.unit {
            unit::install(folder)?;
        }
        // An unwritable place is found now, not after an hour of racing. Last: it
        // takes the place of an earlier report.
        if let Some(file) = &file {
            file.save(&begin.report)?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => Ok((journal, file)),
        Err(failure) => {
            if begin.unit {
                unit::remove();
            }
            journal.remove()?;
            // Only if nothing else is in it.
            let _ = fs::remove_dir(folder);
            Err(failure)
        }
    }
}

/// What a run's journal may take on the disk, bytes.
fn room(settings: &Settings, heartbeat_s: f64) -> u64 {
    let ms = |seconds: f64| Duration::from_secs_f64(seconds).as_millis().max(1);
    let beats = ms(settings.duration_s).div_ceil(ms(heartbeat_s));
    let beats = u64::try_from(beats).unwrap_or(u64::MAX);
    let trial = beats.saturating_mul(BEAT_BYTES).saturating_add(TRIAL_BYTES);
    trial
        .saturating_mul(settings.trials.into())
        .saturating_add(TRIAL_BYTES)
}

/// A panic that nothing keeps shows nothing: whoever wants one must know.
fn refuse_unseen(planned: &[Tunable], asked: &BareRequest, log: &CrashLog) -> Result<(), Failure> {
    if !tunables::panics(planned) || log.is_kept() || asked.console_recorded {
        return Ok(());
    }
    let failure = Failure::unsupported(format!(
        "a panic would show nothing: the kernel's log is {log}"
    ));
    Err(failure.hint(
        "let the kernel live on after its crash: --on-crash stay, with --rearm for more than one \
         trial; or set up pstore or kdump; or, if its console is recorded elsewhere: \
         --console-recorded",
    ))
}

fn refuse(facts: &Facts, signed: bool) -> Result<(), Failure> {
    facts
        .refusal(signed)
        .map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// Nothing measured may be lost: what an earlier run has left is seen to first.
fn nothing_unfinished(folder: &Path) -> Result<(), Failure> {
    match journals(folder)?.first() {
        None => Ok(()),
        Some(path) => Err(Failure::unsupported(format!(
            "an earlier run has not ended: {}",
            path.display()
        ))
        .hint(format!(
            "complete its report first: modrace recover --journal {}",
            folder.display()
        ))),
    }
}

fn on_this_machine(asked: &BareRequest, mem_mib: u32) -> Result<Request, Failure> {
    let allowed = affinity::allowed_cpus()?;
    asked.request.clone().for_this_machine(&allowed, mem_mib)
}

fn begin(
    asked: &BareRequest,
    release: &str,
    machine: Environment,
    candidate: &Candidate,
    tunables: Vec<Tunable>,
) -> Result<Begin, Failure> {
    let heartbeat_s = asked.heartbeat_s;
    if !(0.05..=60.0).contains(&heartbeat_s) {
        return Err(Failure::usage(format!(
            "--heartbeat {heartbeat_s} s: between 50ms and 60s, please"
        )));
    }
    let started = SystemTime::now();
    let request = on_this_machine(asked, machine.mem_mib.unwrap_or_default())?;
    let report = record::blank(
        environment(release, machine),
        record::module_record(&candidate.image),
        &request,
        started,
    )?;
    let report_path = record::report_file(&request.report, release, started)?
        .map(|file| std::path::absolute(file.path()))
        .transpose()
        .map_err(|error| Failure::from(error).code(ExitCode::Usage))?;
    Ok(Begin {
        format: FORMAT.to_owned(),
        report,
        report_path,
        module: candidate.path.clone(),
        dependencies: candidate.dependencies.clone(),
        loaded_before: module::loaded()?,
        rearm: asked.rearm,
        unit: asked.install_unit && unit::is_ours_to_install(&asked.journal)?,
        stop_udev: asked.stop_udev,
        heartbeat_s,
        tunables,
    })
}

fn environment(release: &str, mut machine: Environment) -> Environment {
    let config = running_config();
    release.clone_into(&mut machine.kernel.name);
    machine.accel = Some("none".to_owned());
    machine.host_cpus = machine.cpus;
    if let Some(config) = config {
        machine.kernel.config_sha256 = Some(config.sha256().to_owned());
        machine.learn_preemption(config.preemption().map(str::to_owned));
    }
    machine
}

/// What will happen, what will be changed, and how the result is found again.
fn announce(
    begin: &Begin,
    asked: &BareRequest,
    intree: bool,
    crash_log: &CrashLog,
    events: Events<'_>,
) {
    let report = &begin.report;
    let settings = &report.settings;
    events.note(format!(
        "this run is meant to crash this machine ({}): {} trial(s) of at most {} s, on {} CPUs",
        report.environment.kernel.name, settings.trials, settings.duration_s, settings.smp
    ));
    if let Some(crowding) = settings.crowding() {
        events.note(crowding);
    }
    let kept = if tunables::panics(&begin.tunables) {
        format!("; a panic's log is {crash_log}")
    } else {
        String::new()
    };
    events.note(format!(
        "if the kernel has the bug: {}{kept}",
        tunables::prospect(&begin.tunables)
    ));
    let module = begin.module.file_stem().unwrap_or_default();
    let changed: Vec<&str> = begin
        .tunables
        .iter()
        .filter(|tunable| tunable.during != tunable.before)
        .map(|tunable| tunable.path.as_str())
        .collect();
    events.note(format!(
        "it loads and unloads {}{}{}{}{}; unless the machine dies, all else is put back",
        module.to_string_lossy(),
        if intree {
            ""
        } else {
            " (which taints the kernel until the next boot)"
        },
        if changed.is_empty() {
            String::new()
        } else {
            format!(", sets {}", changed.join(" and "))
        },
        if begin.stop_udev {
            ", stops systemd-udevd"
        } else {
            ""
        },
        match settings.strategy {
            Strategy::AsReported => "",
            _ => ", and sets what the chaos techniques need (modrace list chaos)",
        }
    ));
    let report_at = begin
        .report_path
        .as_ref()
        .map_or("stdout".to_owned(), |path| path.display().to_string());
    events.note(format!(
        "the report goes to {report_at}, the journal to {} every {} s; if the machine dies, \
         after the reboot: modrace recover{}",
        asked.journal.display(),
        begin.heartbeat_s,
        if asked.journal == Path::new(JOURNAL_FOLDER) {
            String::new()
        } else {
            format!(" --journal {}", asked.journal.display())
        }
    ));
}
