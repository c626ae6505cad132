//! `modrace check`: every known race against one kernel, each beside a control
//! that is known to crash: the other half of the race's lab pair. Controls are
//! made once and kept with their figures.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::events::Events;
use super::exit::Failure;
use super::prepared_kernel::{Preparation, PreparedKernel};
use super::race_modules;
use super::request::{Destination, Request, check_confidence};
use super::{kernel_arg, record, saved_report};
use crate::build::cache::Cache;
use crate::build::config::hex;
use crate::lab::{BaseBuild, Builder, DEBIAN_TARBALL, LabKernelRow, Source, Store};
use crate::model::{
    CHECK_SCHEMA, CheckReport, ExitCode, Outcome, RaceResult, Report, Tool, Trial, Verdict,
    trial_seed,
};
use crate::race::races::{LabPair, RaceRow};
use crate::report::with_control;
use crate::report::write::save_as_json;
use crate::trial::{Event, Schedule, Turn, VmTrial, campaign};
use crate::verdict::{Kernel, Next, Plan, Seen, Start, UnderWay, hopeless};

/// Trials of a control at most, for each crash that is wanted.
const TRIALS_FOR_A_CRASH: u32 = 2;

/// What is checked, and how thoroughly.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The kernel, as it is typed.
    pub kernel: String,
    /// The races, in the order of the table.
    pub races: Vec<&'static RaceRow>,
    /// Longest trial, seconds.
    pub duration_s: f64,
    /// The most exposure of the kernel in each race, seconds.
    pub max_exposure_s: f64,
    /// Crashes of each control.
    pub crashes: u32,
    /// How sure to be, between 0.5 and 1.
    pub confidence: f64,
    /// Trials under way at once; none: as many as the host has room for.
    pub jobs: Option<u32>,
    /// The seed.
    pub seed: u64,
    /// Where the report goes; none for stdout.
    pub report: Option<PathBuf>,
    /// The QEMU program; none: the one on `PATH`.
    pub qemu: Option<PathBuf>,
}

impl CheckRequest {
    /// A check that is as sure as `ab`.
    pub fn thorough(kernel: impl Into<String>, races: Vec<&'static RaceRow>) -> Self {
        Self {
            kernel: kernel.into(),
            races,
            duration_s: 30.0,
            max_exposure_s: 600.0,
            crashes: 5,
            confidence: 0.999,
            jobs: None,
            seed: 0,
            report: None,
            qemu: None,
        }
    }

    /// One that takes a minute or two, and is less sure.
    #[must_use]
    pub fn quick(self) -> Self {
        Self {
            duration_s: 6.0,
            max_exposure_s: 6.0,
            crashes: 3,
            confidence: 0.9,
            ..self
        }
    }
}

/// Checks the kernel, and saves the report after each race. Returns it with the
/// process's exit code.
pub fn run(asked: &CheckRequest, events: Events<'_>) -> Result<(CheckReport, ExitCode), Failure> {
    check_confidence(asked.confidence)?;
    if asked.races.is_empty() {
        return Err(Failure::usage("--races names none"));
    }
    let started = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut check = CheckReport {
        schema: CHECK_SCHEMA.to_owned(),
        tool: Tool {
            name: "modrace".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        verdict: Verdict::Inconclusive,
        verdict_reason: "no race was run yet".to_owned(),
        complete: false,
        started,
        updated: record::now(),
        command: std::env::args().collect(),
        seed: asked.seed,
        kernel: asked.kernel.clone(),
        release: None,
        races: Vec::new(),
    };
    // Neither an unwritable place nor a wrong name is found after an hour.
    kernel_arg::resolve(&asked.kernel, &Cache::from_env()?)?;
    save(&check, asked)?;
    for row in &asked.races {
        let one = One {
            asked,
            row,
            events,
            seed: trial_seed(asked.seed, u32::try_from(check.races.len()).unwrap_or(0)),
        };
        let (result, interrupted) = one.run()?;
        let release = |report: &Report| report.environment.kernel.release.clone();
        check.release = (check.release.take()).or(result.report.as_ref().and_then(release));
        check.races.push(result);
        (check.verdict, check.verdict_reason) = worst(&check.races);
        check.updated = record::now();
        save(&check, asked)?;
        if interrupted {
            return Ok((check, ExitCode::Interrupted));
        }
    }
    check.complete = true;
    save(&check, asked)?;
    let unsupported = check.races.iter().all(|result| result.verdict.is_none());
    let exit = ExitCode::of(check.verdict, unsupported);
    Ok((check, exit))
}

fn save(check: &CheckReport, asked: &CheckRequest) -> Result<(), Failure> {
    match &asked.report {
        Some(path) => Ok(save_as_json(path, check)?),
        None => Ok(()),
    }
}

/// The worst verdict of the races that were run, and whose it is.
fn worst(races: &[RaceResult]) -> (Verdict, String) {
    let order = [
        Verdict::Fail,
        Verdict::Broken,
        Verdict::Inconclusive,
        Verdict::Pass,
    ];
    let of = |verdict| -> Vec<&RaceResult> {
        let mut found = Vec::new();
        found.extend(races.iter().filter(|race| race.verdict == Some(verdict)));
        found
    };
    let skipped = races.iter().filter(|race| race.verdict.is_none()).count();
    let run = races.len() - skipped;
    let not_run = match skipped {
        0 => String::new(),
        _ => format!("; {skipped} could not be run here"),
    };
    for verdict in order {
        let these = of(verdict);
        if let Some(first) = these.first() {
            let reason = if verdict == Verdict::Pass {
                format!("{run} races, each clean beside a control{not_run}")
            } else {
                let names: Vec<_> = these.iter().map(|race| race.race.as_str()).collect();
                format!(
                    "{} of {run} races: {}; the first: {}{not_run}",
                    these.len(),
                    names.join(", "),
                    first.reason
                )
            };
            return (verdict, reason);
        }
    }
    let reason = "no race of the table can be run on this kernel".to_owned();
    (Verdict::Inconclusive, reason)
}

/// One race against the kernel.
struct One<'a> {
    asked: &'a CheckRequest,
    row: &'static RaceRow,
    events: Events<'a>,
    seed: u64,
}

impl One<'_> {
    /// True with the result if a signal ended it early.
    fn run(&self) -> Result<(RaceResult, bool), Failure> {
        let start = Instant::now();
        let preparation = Preparation::new(self.request(), self.events)?;
        let kernel = kernel_arg::resolve(&self.asked.kernel, &preparation.cache)?;
        let missing = race_modules::missing(self.row, &kernel);
        if !missing.is_empty() {
            let reason = format!("this kernel is built without {}", missing.join(" and "));
            return Ok((self.blank(reason), false));
        }
        let (control, no_control) = match self.control(&preparation) {
            Ok(control) => (Some(control), String::new()),
            Err(failure) if failure.code == ExitCode::Interrupted => return Err(failure),
            Err(failure) => (None, format!("no control: {:#}", failure.error)),
        };
        if preparation.stop.load(Ordering::Relaxed) {
            return Ok((self.blank("interrupted".to_owned()), true));
        }
        let raced = Instant::now();
        // A driver's mistake is not the kernel's: the module without it must run
        // clean, and the one with it is the control.
        let mended = self.row.is_drivers();
        let prepared = match preparation.prepare_half(&self.asked.kernel, mended, None) {
            Ok(prepared) => prepared,
            // Such as a kernel on which the module does not build.
            Err(failure) => {
                let mut result = self.blank(format!("{:#}", failure.error));
                result.verdict = Some(Verdict::Broken);
                return Ok((result, false));
            }
        };
        let mut report = preparation.report(&prepared)?;
        // Without its control a row passes nothing.
        report.terms.require_control = true;
        let before = control
            .as_ref()
            .map_or(&[][..], |(_, control)| &control.trials);
        let interrupted = self.race(&preparation, &prepared, before, &mut report)?;
        record::conclude(&mut report, interrupted);
        let behind = match &control {
            Some((name, control)) => behind(name, control),
            None => no_control,
        };
        if let Some((name, control)) = control.filter(|_| !interrupted) {
            let source = source_of(&control);
            report = with_control(
                ("this run", report),
                (&name, control, source),
                self.asked.confidence,
            )?;
        }
        let mut result = self.blank(report.verdict_reason.clone());
        result.verdict = Some(report.verdict);
        result.behind = behind;
        result.cycles = report.stats.cycles;
        result.exposure_s = report.stats.exposure_s;
        result.wall_s = raced.elapsed().min(start.elapsed()).as_secs_f64();
        result.report = Some(report);
        Ok((result, interrupted))
    }

    /// The settings of kernel and control alike.
    fn request(&self) -> Request {
        let mut request = Request::of_race(self.row);
        request.seed = self.seed;
        request.report = Destination::Stdout;
        request.qemu.clone_from(&self.asked.qemu);
        request.settings.duration_s = self.asked.duration_s;
        let jobs = super::request::default_jobs(request.settings.smp);
        request.settings.jobs = self.asked.jobs.unwrap_or(jobs);
        request
    }

    fn blank(&self, reason: String) -> RaceResult {
        RaceResult {
            race: self.row.name.to_owned(),
            help: self.row.help.to_owned(),
            reference: self.row.known_from(),
            verdict: None,
            reason,
            behind: "not run".to_owned(),
            cycles: 0,
            exposure_s: 0.0,
            wall_s: 0.0,
            report: None,
        }
    }

    /// The half of the lab pair that crashes, raced with the same settings: from
    /// the cache, or made now.
    fn control(&self, preparation: &Preparation<'_>) -> Result<(String, Report), Failure> {
        let lab = match self.row.pair {
            LabPair::Kernels(without, _) => without,
            LabPair::Modules(kernel) => kernel,
        };
        self.build(lab, &preparation.cache)?;
        let kernel = format!("lab:{lab}");
        let prepared = preparation.prepare_half(&kernel, false, None)?;
        let file = self.control_file(preparation, &prepared)?;
        if file.is_file() {
            let saved = saved_report::load(&file)?;
            return Ok((kernel, saved.report));
        }
        let (row, wanted) = (self.row.name, self.asked.crashes);
        self.events
            .note(format!("{row}: making its control on {kernel}"));
        let mut report = preparation.report(&prepared)?;
        let mut schedule = UntilCrashes {
            prepared: &prepared,
            report: &mut report,
            events: self.events,
            started: 0,
            wanted,
        };
        let (jobs, stop) = (schedule.report.settings.jobs, &*preparation.stop);
        campaign::run(jobs, stop, &mut schedule, |index, give_up, tell| {
            prepared.trials.run(VmTrial::new(index), give_up, tell)
        })?;
        record::conclude(&mut report, stop.load(Ordering::Relaxed));
        report.settings.trials = u32::try_from(report.trials.len()).unwrap_or(u32::MAX);
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::new(
                ExitCode::Interrupted,
                anyhow::anyhow!("interrupted"),
            ));
        }
        if report.stats.crashes < wanted {
            return Err(Failure::broken(format!(
                "{kernel} crashed in {} of {} trials of {} s",
                report.stats.crashes,
                report.trials.len(),
                self.asked.duration_s
            )));
        }
        save_as_json(&file, &report)?;
        Ok((kernel, report))
    }

    /// Where a control is kept: under all that decides it.
    fn control_file(
        &self,
        preparation: &Preparation<'_>,
        prepared: &PreparedKernel,
    ) -> Result<PathBuf, Failure> {
        let mut settings = preparation.request.settings.clone();
        (settings.trials, settings.jobs) = (0, 0);
        let decides = serde_json::json!({
            "modrace": env!("CARGO_PKG_VERSION"),
            "settings": settings,
            "crashes": self.asked.crashes,
            "image": prepared.environment.kernel.image_sha256,
            "module": prepared.module.sha256(),
            "accel": prepared.environment.accel,
            "host_cpus": prepared.environment.host_cpus,
        });
        let key = &hex(&Sha256::digest(decides.to_string()))[..16];
        let folder = preparation.cache.dir("controls")?;
        Ok(folder.join(format!("{}-{key}.json", self.row.name)))
    }

    /// Builds a lab kernel unless it is built.
    fn build(&self, name: &str, cache: &Cache) -> Result<(), Failure> {
        if Store::new(cache).find(name).is_some() {
            return Ok(());
        }
        let row = LabKernelRow::find(name)
            .ok_or_else(|| Failure::broken(format!("no lab kernel {name} is known")))?;
        self.events.note(format!(
            "{}: building lab:{name} for its control",
            self.row.name
        ));
        let cancel = super::stop::on_signals()?;
        let source = Source::open(&PathBuf::from(DEBIAN_TARBALL), &cancel)?;
        let builder = Builder {
            cache,
            source: &source,
            jobs: None,
            base: BaseBuild::Any,
            cancel: &cancel,
        };
        builder.build(&row.build_spec(), &mut |_| {})?;
        Ok(())
    }

    /// Races the kernel until it has the exposure that the control asks for.
    /// True if a signal ended it early.
    fn race(
        &self,
        preparation: &Preparation<'_>,
        prepared: &PreparedKernel,
        control: &[Trial],
        report: &mut Report,
    ) -> Result<bool, Failure> {
        self.events.note(format!("{}: racing", self.row.name));
        let crashes = control
            .iter()
            .filter(|trial| trial.outcome == Outcome::Crashed);
        let mut schedule = UntilClean {
            plan: Plan {
                crashes: u32::try_from(crashes.count()).unwrap_or(u32::MAX).max(1),
                confidence: self.asked.confidence,
                max_exposure_s: self.asked.max_exposure_s,
                longest_trial_s: report.settings.duration_s,
                budget_s: None,
            },
            began: Instant::now(),
            control,
            prepared,
            report,
            events: self.events,
            under_way: 0,
            started: 0,
            failed: None,
        };
        let (jobs, stop) = (schedule.report.settings.jobs, &*preparation.stop);
        campaign::run(jobs, stop, &mut schedule, |index, give_up, tell| {
            prepared.trials.run(VmTrial::new(index), give_up, tell)
        })?;
        if let Some(failure) = schedule.failed {
            Err(failure)
        } else {
            report.settings.trials = u32::try_from(report.trials.len()).unwrap_or(u32::MAX);
            Ok(stop.load(Ordering::Relaxed))
        }
    }
}

/// What stands behind a verdict, in words.
fn behind(name: &str, control: &Report) -> String {
    let title = control.trials.iter().find_map(|trial| trial.crash.as_ref());
    let cycles = control.stats.cycles_to_crash.as_ref();
    format!(
        "{name} crashed {} of {} times{}{}",
        control.stats.crashes,
        control.trials.len(),
        cycles
            .and_then(|cycles| cycles.median)
            .map_or(String::new(), |median| format!(
                ", median cycle {median:.0}"
            )),
        title.map_or(String::new(), |crash| format!(": {}", crash.title))
    )
}

fn source_of(control: &Report) -> crate::model::Source {
    let bytes = serde_json::to_vec(control).unwrap_or_default();
    crate::model::Source {
        run_id: control.run_id.clone(),
        started: control.started.clone(),
        command: control.command.clone(),
        seed: control.seed,
        sha256: hex(&Sha256::digest(bytes)),
    }
}

/// The schedule of a control: until it has crashed often enough.
struct UntilCrashes<'a> {
    prepared: &'a PreparedKernel,
    report: &'a mut Report,
    events: Events<'a>,
    started: u32,
    wanted: u32,
}

impl Schedule for UntilCrashes<'_> {
    type Key = u32;

    fn next(&mut self) -> Turn<u32> {
        let crashes = self.report.stats.crashes;
        if crashes >= self.wanted || hopeless(&self.report.trials).is_some() {
            return Turn::Stop;
        }
        if self.started >= self.wanted * TRIALS_FOR_A_CRASH {
            return Turn::Stop;
        }
        self.started += 1;
        Turn::Start(self.started - 1)
    }

    fn hear(&mut self, _: u32, event: Event) -> bool {
        self.events.emit(event.clone());
        if let Event::Finished(trial) = event {
            keep(self.report, self.prepared, *trial);
        }
        true
    }
}

/// The schedule of the kernel: until its clean exposure is enough beside the
/// control, or it has had the most that it may get, or it crashed.
struct UntilClean<'a> {
    plan: Plan,
    control: &'a [Trial],
    prepared: &'a PreparedKernel,
    report: &'a mut Report,
    events: Events<'a>,
    under_way: u32,
    started: u32,
    /// When the first trial could begin.
    began: Instant,
    failed: Option<Failure>,
}

impl UntilClean<'_> {
    fn raced_s(&self) -> f64 {
        self.report.stats.exposure_s + f64::from(self.under_way) * self.report.settings.duration_s
    }
}

impl Schedule for UntilClean<'_> {
    type Key = u32;

    fn next(&mut self) -> Turn<u32> {
        if self.failed.is_some() || hopeless(&self.report.trials).is_some() {
            return Turn::Stop;
        }
        let unclean = |trial: &Trial| matches!(trial.outcome, Outcome::Crashed | Outcome::Hung);
        let enough = if self.control.is_empty() {
            self.report.trials.iter().any(unclean) || self.raced_s() >= self.plan.max_exposure_s
        } else {
            let under_way = UnderWay {
                baseline: 0,
                candidate: self.under_way,
            };
            let next = self.plan.next(&Seen {
                settings: &self.report.settings,
                baseline: self.control,
                candidate: &self.report.trials,
                under_way,
                elapsed_s: self.began.elapsed().as_secs_f64(),
            });
            match next {
                // Half a trial more than the most is no reason for another one.
                Ok(Next::Start(Start {
                    kernel: Kernel::Candidate,
                    ..
                })) => {
                    self.raced_s() + self.report.settings.duration_s / 2.0
                        > self.plan.max_exposure_s
                }
                Ok(Next::Wait) => return Turn::Wait,
                Ok(Next::Start(_) | Next::Stop(_)) => true,
                Err(error) => {
                    self.failed = Some(error.into());
                    true
                }
            }
        };
        if enough {
            return Turn::Stop;
        }
        self.started += 1;
        self.under_way += 1;
        Turn::Start(self.started - 1)
    }

    fn hear(&mut self, _: u32, event: Event) -> bool {
        self.events.emit(event.clone());
        if let Event::Finished(trial) = event {
            self.under_way -= 1;
            keep(self.report, self.prepared, *trial);
        }
        true
    }
}

fn keep(report: &mut Report, prepared: &PreparedKernel, trial: Trial) {
    report.trials.push(trial);
    report.trials.sort_by_key(|trial| trial.index);
    prepared.learn(&mut report.environment, &mut report.module);
    record::update(report);
}
