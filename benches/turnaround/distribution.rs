//! Whether trials by boot and by clone crash after the same time: as many of
//! each, in turn, so that what else the host does hits both alike.

use std::sync::atomic::AtomicBool;

use modrace::model::{Outcome, StartChoice, Summary, Trial};
use modrace::stats::log_rank;
use modrace::trial::{VmTrial, VmTrials};
use modrace::verdict::{Clock, Event, observations, summary};

use crate::kernel::Kernel;
use crate::{Failure, host};

/// Clones of a template before the next.
const RENEW: u32 = 25;
/// The seed of both runs.
const SEED: u64 = 20_261_126;

/// Compares `trials` boots with as many clones in a cell, KERNEL:VCPUS.
pub(crate) fn compare(cell: &str, trials: u32) -> Result<(), Failure> {
    let (name, smp) = cell.rsplit_once(':').ok_or("a cell is KERNEL:VCPUS")?;
    let (boots, clones) = (
        ready(name, smp.parse()?, trials, StartChoice::Boot)?,
        ready(name, smp.parse()?, trials, StartChoice::Clone)?,
    );
    let stop = AtomicBool::new(false);
    let (mut booted, mut cloned) = (Vec::new(), Vec::new());
    for index in 0..trials {
        for (from, into) in [(&boots, &mut booted), (&clones, &mut cloned)] {
            let trial = from.run(VmTrial::new(index), &stop, &|_| {});
            into.push(trial.map_err(|_| "interrupted")?);
        }
        eprintln!("{cell}: {} of {trials}, {}", index + 1, host());
    }
    println!("\n{cell}, {}\n", host());
    println!(
        "| start | n | crashed | cycles: median (95 % limits), mean, max | seconds: median (95 % limits), mean, max | a trial |"
    );
    println!("|---|---|---|---|---|---|");
    for (what, trials) in [("boot", &booted), ("clone", &cloned)] {
        told(what, trials)?;
    }
    for clock in [Clock::Cycles, Clock::Seconds] {
        let of = |trials: &[Trial]| observations(trials, clock, Event::Crash);
        let test = log_rank(&of(&booted)?, &of(&cloned)?, SEED)?;
        println!(
            "\nlog-rank, {clock:?}: p = {:.3} (chi-square), {:.3} ({} relabellings)",
            test.p_value, test.permutation_p, test.permutations
        );
    }
    let cycles =
        |trials: &[Trial]| -> Vec<u64> { trials.iter().map(|trial| trial.cycles).collect() };
    println!(
        "\ncycles by boot: {:?}\ncycles by clone: {:?}",
        cycles(&booted),
        cycles(&cloned)
    );
    Ok(())
}

fn ready(name: &str, smp: u32, trials: u32, start: StartChoice) -> Result<VmTrials, Failure> {
    let mut kernel = Kernel::prepare(name, smp, start)?;
    kernel.settings.renew = Some(RENEW);
    let Kernel {
        qemu,
        spec,
        base,
        settings,
    } = kernel;
    let mut ready = VmTrials::new(qemu, spec, base.to_vec(), settings, SEED);
    ready.wanted = Some(trials);
    Ok(ready)
}

fn told(what: &str, trials: &[Trial]) -> Result<(), Failure> {
    let crashed = trials
        .iter()
        .filter(|trial| trial.outcome == Outcome::Crashed);
    let of = |clock| -> Result<String, Failure> {
        let observed = observations(trials, clock, Event::Crash)?;
        Ok(summary(&observed)
            .as_ref()
            .map_or("none".to_owned(), spread))
    };
    let wall_s: f64 = trials.iter().map(|trial| trial.wall_s).sum();
    println!(
        "| {what} | {} | {} | {} | {} | {:.2} s |",
        trials.len(),
        crashed.count(),
        of(Clock::Cycles)?,
        of(Clock::Seconds)?,
        wall_s / trials.len() as f64
    );
    Ok(())
}

fn spread(summary: &Summary) -> String {
    let median = summary
        .median
        .map_or("?".to_owned(), |median| format!("{median:.3}"));
    let limits = summary
        .median_ci95
        .as_ref()
        .map_or(String::new(), |limits| {
            let high = limits
                .high
                .map_or("?".to_owned(), |high| format!("{high:.3}"));
            format!(" ({:.3} to {high})", limits.low)
        });
    format!("{median}{limits}, {:.3}, {:.3}", summary.mean, summary.max)
}
