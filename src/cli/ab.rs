//! `modrace ab`: a kernel without a fix against one with it, interleaved, until
//! the evidence is enough by a rule fixed beforehand.

use std::sync::atomic::Ordering;

use super::args::{MachineArgs, RaceArgs};
use super::kernel_arg::KERNEL_HELP;
use super::side::{Preparation, Side};
use super::ui::{Ui, progress::Progress};
use super::{Failure, OrFail, control, plan, session, states};
use crate::model::{ExitCode, Oracle, Outcome, Report, Run, RunStats, Trial, Verdict};
use crate::report::write::ReportFile;
use crate::trial::Event;
use crate::trial::{Schedule, Turn, VmTrial, campaign};
use crate::verdict::{Next, Plan, UnderWay, compare, run_stats, verdict_of_run};

/// Trials of one kernel in a row without a result, after which more of them
/// would show no more.
const BROKEN_IN_A_ROW: usize = 3;
/// Longest trial unless told otherwise, seconds. Many short trials see more
/// clean states than one long one.
const DEFAULT_DURATION_S: f64 = 15.0;

/// Compare a kernel without a fix with one that has it
///
/// Exit code 0: the fix is confirmed. 1: the candidate crashed in the race, or
/// otherwise. 5: not enough was shown; the verdict says what is missing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kernel without the fix
    #[arg(long, value_name = "KERNEL", help = help("without"))]
    baseline: String,
    /// The kernel with the fix
    #[arg(long, value_name = "KERNEL", help = help("with"))]
    candidate: String,
    /// Crashes of the baseline to wait for
    #[arg(long, value_name = "N", default_value_t = 10)]
    crashes: u32,
    /// How sure to be, between 0.5 and 1
    #[arg(long, value_name = "LEVEL", default_value_t = 0.999)]
    confidence: f64,
    /// The most exposure that either kernel gets
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    max_exposure: std::time::Duration,
    /// Do not look at the candidate's module states first
    #[arg(long)]
    no_states: bool,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    race: RaceArgs,
}

fn help(which: &str) -> String {
    format!("The kernel {which} the fix: {KERNEL_HELP}")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let ui = &ui.quiet(args.race.quiet);
    let settings = plan::vm_settings(&args.race, &args.machine, DEFAULT_DURATION_S)?;
    let (preparation, file) =
        Preparation::of_race(&args.race, &args.machine, settings, &args.candidate, ui)?;
    let plan = stop_rule(args, preparation.seed)?;
    let mut baseline = preparation.side(&args.baseline)?;
    let mut candidate = preparation.side(&args.candidate)?;
    let logs = file.as_ref().map(ReportFile::logs);
    baseline.trials.logs = logs.as_ref().map(|logs| logs.join("baseline"));
    candidate.trials.logs = logs.as_ref().map(|logs| logs.join("candidate"));

    let mut report = preparation.report(&candidate);
    report.stop_rule = Some(plan.sentence());
    // A fix that breaks what /proc/modules and oopses show is no fix. Another
    // module than ours cannot be held in a state.
    let ours = args.race.module.is_none() && report.settings.oracle == Oracle::Crash;
    if ours && !args.no_states {
        let logs = logs.as_ref().map(|logs| logs.join("states"));
        report.states = states::look(&candidate, &args.candidate, &preparation, logs)?.checks;
    }
    ui.note(&format!("stop rule, {}", plan.sentence()));
    let mut pairing = Pairing {
        plan,
        baseline: &baseline,
        candidate: &candidate,
        control: Run {
            source: None,
            environment: baseline.environment.clone(),
            module: Some(session::module_record(&baseline.module)),
            settings: report.settings.clone(),
            trials: Vec::new(),
            stats: RunStats::default(),
        },
        report,
        started: [0; 2],
        under_way: UnderWay::default(),
        cap: args.race.trials,
        file: file.as_ref(),
        progress: Progress::new(ui, "ab", 0),
        over: None,
        lost: None,
    };
    // An unwritable place is found now, not after an hour of racing.
    pairing.save()?;
    campaign::run(
        pairing.report.settings.jobs,
        &preparation.stop,
        &mut pairing,
        |(which, index), give_up, tell| {
            let side = if which == Which::Baseline {
                &baseline
            } else {
                &candidate
            };
            side.trials.run(VmTrial { index }, give_up, tell)
        },
    )
    .or_fail(ExitCode::Broken)?;
    pairing.progress.end();
    if let Some(failure) = pairing.lost.take() {
        return Err(failure);
    }
    let interrupted = preparation.stop.load(Ordering::Relaxed);
    pairing.report.complete = !interrupted;
    pairing.update()?;
    let report = pairing.report;
    session::show(&args.race, &report, file, ui)?;
    Ok(session::exit_code(&report))
}

fn stop_rule(args: &Args, seed: u64) -> Result<Plan, Failure> {
    let usage = |text: String| Err(Failure::message(ExitCode::Usage, text));
    if args.crashes == 0 {
        return usage("--crashes 0: without a crash there is no positive control".to_owned());
    }
    control::check_confidence(args.confidence)?;
    let max_exposure_s = args.max_exposure.as_secs_f64();
    if max_exposure_s <= 0.0 {
        return usage("--max-exposure 0s: some exposure is needed".to_owned());
    }
    Ok(Plan {
        crashes: args.crashes,
        confidence: args.confidence,
        max_exposure_s,
        seed,
    })
}

/// Which of the two kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Baseline,
    Candidate,
}

/// The schedule: keeps the trials of both, asks the stop rule, saves the report.
struct Pairing<'a> {
    plan: Plan,
    baseline: &'a Side,
    candidate: &'a Side,
    control: Run,
    report: Report,
    /// Trials started, of baseline and candidate.
    started: [u32; 2],
    under_way: UnderWay,
    /// The most trials of either kernel.
    cap: Option<u32>,
    file: Option<&'a ReportFile>,
    progress: Progress<'a>,
    /// Why no more trials are wanted, when the stop rule did not say it.
    over: Option<String>,
    lost: Option<Failure>,
}

impl Schedule for Pairing<'_> {
    type Key = (Which, u32);

    fn next(&mut self) -> Turn<Self::Key> {
        if self.over.is_some() {
            return Turn::Stop;
        }
        let which = match self
            .plan
            .next(&self.control.trials, &self.report.trials, self.under_way)
        {
            Ok(Next::Baseline) => Which::Baseline,
            Ok(Next::Candidate) => Which::Candidate,
            Ok(Next::Wait) => return Turn::Wait,
            Ok(Next::Stop(_)) => return Turn::Stop,
            Err(error) => {
                self.lost = Some(Failure::new(ExitCode::Broken, error));
                return Turn::Stop;
            }
        };
        let started = &mut self.started[which as usize];
        if self.cap.is_some_and(|cap| *started >= cap) {
            return Turn::Stop;
        }
        *started += 1;
        match which {
            Which::Baseline => self.under_way.baseline += 1,
            Which::Candidate => self.under_way.candidate += 1,
        }
        Turn::Start((which, *started - 1))
    }

    fn hear(&mut self, (which, _): Self::Key, event: Event) -> bool {
        let name = if which == Which::Baseline {
            "baseline"
        } else {
            "candidate"
        };
        self.progress.hear_of(name, &event);
        let Event::Finished(trial) = event else {
            return true;
        };
        let (trials, under_way) = match which {
            Which::Baseline => (&mut self.control.trials, &mut self.under_way.baseline),
            Which::Candidate => (&mut self.report.trials, &mut self.under_way.candidate),
        };
        *under_way -= 1;
        trials.push(*trial);
        trials.sort_by_key(|trial| trial.index);
        self.over = hopeless(trials).map(|why| format!("{name}: {why}"));
        if let Err(failure) = self.update() {
            self.lost = Some(failure.hint("the report of the trials before this one is intact"));
        }
        self.lost.is_none() && self.over.is_none()
    }
}

/// Why more trials of a kernel would show no more.
fn hopeless(trials: &[Trial]) -> Option<String> {
    let of = |outcome| move |trial: &&Trial| trial.outcome == outcome;
    if let Some(trial) = trials.iter().find(of(Outcome::Unsupported)) {
        return Some(trial.reason.clone());
    }
    let last = trials.iter().rev().take(BROKEN_IN_A_ROW);
    let broken = last.filter(of(Outcome::Broken)).count();
    (broken == BROKEN_IN_A_ROW).then(|| {
        format!(
            "{broken} trials in a row broke: {}",
            trials[trials.len() - 1].reason
        )
    })
}

impl Pairing<'_> {
    /// Brings all that follows from the trials up to date, and saves it.
    fn update(&mut self) -> Result<(), Failure> {
        let report = &mut self.report;
        self.candidate
            .learn(&mut report.environment, &mut report.module);
        self.baseline
            .learn(&mut self.control.environment, &mut self.control.module);
        let made = |trials: &[Trial]| u32::try_from(trials.len()).unwrap_or(u32::MAX);
        report.settings.trials = made(&report.trials);
        self.control.settings.trials = made(&self.control.trials);
        report.stats = run_stats(&report.trials);
        self.control.stats = run_stats(&self.control.trials);
        let comparison = compare(
            &self.control.trials,
            &report.trials,
            self.plan.confidence,
            report.seed,
        )
        .or_fail(ExitCode::Broken)?;
        (report.verdict, report.verdict_reason) = verdict_of_run(
            &report.settings,
            &report.trials,
            &report.states,
            true,
            Some(&comparison),
        );
        if let Some(why) = &self.over {
            // No verdict follows from a kernel that could not be raced.
            if report.verdict != Verdict::Fail {
                let unsupported = self
                    .control
                    .trials
                    .iter()
                    .chain(&report.trials)
                    .any(|trial| trial.outcome == Outcome::Unsupported);
                report.verdict = if unsupported {
                    Verdict::Inconclusive
                } else {
                    Verdict::Broken
                };
                report.verdict_reason.clone_from(why);
            }
        }
        report.comparison = Some(comparison);
        report.baseline = Some(self.control.clone());
        report.updated = session::now();
        self.save()
    }

    fn save(&self) -> Result<(), Failure> {
        self.file
            .map_or(Ok(()), |file| file.save(&self.report))
            .or_fail(ExitCode::Broken)
    }
}
