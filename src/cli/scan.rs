//! `modrace scan`: recognises crashes in any kernel log. Opens the files,
//! feeds the scanner, shows what it says.

mod source;
mod symbols;
mod text;

use std::path::PathBuf;

use serde::Serialize;

use super::ui::Ui;
use crate::crash::{ScanEvent, Scanner};
use crate::model::{Crash, ExitCode, Severity};
use crate::session::Failure;

/// Find kernel crashes in consoles, serial logs, journals and dmesg output
///
/// Exits with 1 if a fatal or error-class crash was found, 0 if none, 3 if a
/// file can't be read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Logs to read, gzip and xz included; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print one JSON object per crash, one a line
    #[arg(long)]
    json: bool,

    /// Add file and line to frames of the kernel, from its vmlinux
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
}

/// A crash and where it was found.
#[derive(Serialize)]
struct Found<'a> {
    file: &'a str,
    #[serde(flatten)]
    crash: &'a Crash,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let symbols = args
        .vmlinux
        .as_deref()
        .map(symbols::Symbols::open)
        .transpose()
        .map_err(|error| Failure::new(ExitCode::Broken, error))?;
    let mut worst = ExitCode::Survived;
    let mut unread = None;
    for path in &args.files {
        let name = path.to_string_lossy();
        let mut crashes = Vec::new();
        let done = source::read(path, |bytes, ended, scanner: &mut Scanner| {
            let events = if ended {
                scanner.finish()
            } else {
                scanner.feed(bytes)
            };
            for event in events {
                if let ScanEvent::Crash(mut crash) = event {
                    if let Some(symbols) = &symbols {
                        symbols.add(&mut crash);
                    }
                    show(&name, &crash, args.json, ui);
                    crashes.push(crash.severity);
                }
            }
        });
        if crashes
            .iter()
            .any(|severity| *severity != Severity::Warning)
        {
            worst = ExitCode::Crashed;
        }
        match done {
            Ok(()) if crashes.is_empty() => ui.note(&format!("{name}: no crash")),
            Ok(()) => {}
            Err(error) => {
                // The other files may still hold a crash.
                ui.note(&error.to_string());
                unread = Some(error);
            }
        }
    }
    match unread {
        Some(error) => Err(Failure::new(ExitCode::Broken, error)),
        None => Ok(worst),
    }
}

fn show(file: &str, crash: &Crash, json: bool, ui: &Ui) {
    if json {
        if let Ok(line) = serde_json::to_string(&Found { file, crash }) {
            ui.result(&format!("{line}\n"));
        }
    } else {
        ui.result(&text::render(file, crash));
    }
}
