//! One race against the kernel, beside its control.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::CheckRequest;
use super::schedules::{UntilClean, UntilCrashes};
use crate::build::cache::Cache;
use crate::build::config::hex;
use crate::lab::{BaseBuild, Builder, DEBIAN_TARBALL, LabKernelRow, Source, Store};
use crate::model::{DEFAULT_RENEW, ExitCode, RaceResult, Report, StartChoice, Trial, Verdict};
use crate::race::races::{LabPair, RaceRow};
use crate::report::with_control;
use crate::report::write::save_as_json;
use crate::session::events::Events;
use crate::session::exit::Failure;
use crate::session::prepared_kernel::{Preparation, PreparedKernel};
use crate::session::request::{Destination, Request, default_jobs};
use crate::session::{kernel_arg, race_modules, record, saved_report, stop};
use crate::trial::{VmTrial, campaign};
use crate::verdict::{Plan, is_target};

/// One race against the kernel.
pub(super) struct One<'a> {
    pub(super) asked: &'a CheckRequest,
    pub(super) row: &'static RaceRow,
    pub(super) events: Events<'a>,
    pub(super) seed: u64,
}

impl One<'_> {
    /// True with the result if a signal ended it early.
    pub(super) fn run(&self) -> Result<(RaceResult, bool), Failure> {
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
        let mut behind = match &control {
            Some((name, control)) => behind(name, control),
            None => no_control,
        };
        if let Some((name, control)) = control.filter(|_| !interrupted) {
            let source = source_of(&control);
            let beside = with_control(
                ("this run", report.clone()),
                (&name, control, source),
                self.asked.confidence,
            );
            match beside {
                Ok(beside) => report = beside,
                // The row passes nothing then, and the others are run.
                Err(differs) => behind = format!("{name} is no control: {differs}"),
            }
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
        // Most of a short trial is its boot.
        request.settings.start = StartChoice::Auto;
        request.settings.renew = Some(DEFAULT_RENEW);
        let jobs = default_jobs(request.settings.smp);
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
        let cancel = stop::on_signals()?;
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
        // As the rule counts them: a crash of another kind is none of the race.
        let crashes = control.iter().filter(|trial| is_target(trial));
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
            under_way_s: 0.0,
            started: 0,
            failed: None,
        };
        let (jobs, stop) = (schedule.report.settings.jobs, &*preparation.stop);
        campaign::run(jobs, stop, &mut schedule, |trial, give_up, tell| {
            prepared.trials.run(trial, give_up, tell)
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
