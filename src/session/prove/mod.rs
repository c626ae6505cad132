//! `modrace prove`: every interleaving of a race's two sides on one kernel,
//! forced one after another, until one crashes or all are decided.
//!
//! - `bench`: the kernel, and guests of it in lock-step
//! - `kernel`: where its functions are
//! - `sweep`: the rounds: undisturbed, every schedule, the crash reduced
//! - `record`: addresses become the report's words

mod again;
mod bench;
mod kernel;
mod record;
mod sweep;
mod undisturbed;

use std::net::TcpListener;

use super::events::Events;
use super::exit::Failure;
use super::finished::Finished;
use super::kernel_arg;
use super::kernel_arg::KernelUnderTest;
use super::lock_step::{Guests, prepare};
use super::prepared_kernel::{Preparation, PreparedKernel, adopt};
use super::record as report_record;
use super::request::Request;
use crate::model::Who;
use crate::report::write::ReportFile;
pub use bench::ProveError;
use bench::{Bench, Proved, Subject};

/// A schedule by its points: the side that stops first, the loader's point and
/// the reader's, both from 1.
pub type OneSchedule = (Who, usize, usize);

/// Forces every schedule, or `only` one, on the kernel that an argument names.
pub fn run(
    request: Request,
    kernel: &str,
    only: Option<OneSchedule>,
    events: Events<'_>,
) -> Result<Finished, Failure> {
    let preparation = prepare(request, events)?;
    let file = preparation.report_file(kernel)?;
    let mut prepared = preparation.prepare(kernel, None)?;
    let found = kernel_arg::resolve(kernel, &preparation.cache)?;
    let subject = subject(&preparation, &prepared, &found, only);
    let bench = Bench::new(&subject, events)?;
    let Proved {
        proof,
        complete,
        environment,
        console,
        before,
    } = sweep::run(&bench, events)?;
    drop(bench);
    if let Some(guest) = environment {
        adopt(&mut prepared.environment, guest);
    }
    for crash in before {
        let title = crash.title;
        events.note(format!(
            "the kernel reported before the first schedule: {title}"
        ));
    }
    let mut report = preparation.report(&prepared)?;
    report.prove = Some(proof);
    let exit = report_record::conclude(&mut report, !complete);
    if let Some(file) = &file {
        keep_console(file, &console)?;
    }
    Ok(Finished::new(report, exit, file))
}

/// Brings a guest to where one schedule stands, stops it there for a debugger,
/// and comes back when it was ended.
pub fn debug(
    request: Request,
    kernel: &str,
    schedule: OneSchedule,
    events: Events<'_>,
) -> Result<(), Failure> {
    let preparation = prepare(request, events)?;
    let prepared = preparation.prepare(kernel, None)?;
    let found = kernel_arg::resolve(kernel, &preparation.cache)?;
    // Free now; QEMU says so if somebody else takes it meanwhile.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let subject = Subject {
        debugger: Some(port),
        ..subject(&preparation, &prepared, &found, Some(schedule))
    };
    let bench = Bench::new(&subject, events)?;
    Ok(again::hold(&bench, events, port)?)
}

fn subject<'a>(
    preparation: &'a Preparation<'_>,
    prepared: &'a PreparedKernel,
    kernel: &'a KernelUnderTest,
    only: Option<OneSchedule>,
) -> Subject<'a> {
    Subject {
        guests: Guests::of(preparation, prepared),
        kdir: kernel.kdir.as_deref(),
        module: &prepared.module,
        only,
        debugger: None,
    }
}

/// Keeps the console of the guest that ended last beside the report.
pub(super) fn keep_console(file: &ReportFile, console: &[u8]) -> Result<(), Failure> {
    let folder = file.logs();
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(
        folder.join("lock-step.console.log"),
        console,
    )?)
}
