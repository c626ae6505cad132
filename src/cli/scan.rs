//! `modrace scan`: recognises crashes in any kernel log, and shows them.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::ui::Ui;
use crate::crash::ScanEvent;
use crate::decode::{self, Sources, Vmlinux};
use crate::model::{Crash, ExitCode, Severity};
use crate::report::found;
use crate::session::Failure;
use crate::session::scan::{self, Log};

/// Find kernel crashes in consoles, serial logs, journals and dmesg output
///
/// Reads plain text, gzip, xz and zstd; syslog, `journalctl` in its short, json
/// and export forms, /dev/kmsg records, and pstore's dmesg-* parts, which are
/// joined in their order. Exits with 1 if a fatal or error-class crash was
/// found, 0 if none, 3 if a file can't be read.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
pub(super) struct Args {
    /// Logs to read, or folders of logs; `-` is stdin
    #[arg(required_unless_present = "schema", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print one JSON object per crash, one a line
    #[arg(long)]
    json: bool,

    /// Print the JSON Schema of these objects
    #[arg(long, conflicts_with_all = ["files", "json", "first", "count"])]
    schema: bool,

    /// Read each log up to its first crash only
    #[arg(long)]
    first: bool,

    /// Print the number of crashes in each log, and nothing else
    #[arg(long, conflicts_with_all = ["json", "first"])]
    count: bool,

    /// Add file and line to frames of the kernel, from its vmlinux
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
}

/// A crash and where it was found.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "modrace/scan/1")]
struct Found<'a> {
    /// The log, as it was named; for parts of pstore the first, and how many
    /// more there are.
    file: &'a str,
    #[serde(flatten)]
    crash: Cow<'a, Crash>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    if args.schema {
        let schema = schemars::schema_for!(Found<'_>);
        let text = serde_json::to_string_pretty(&schema)
            .map_err(|error| Failure::new(ExitCode::Broken, error))?;
        ui.result(&format!("{text}\n"));
        return Ok(ExitCode::Survived);
    }
    let vmlinux = args
        .vmlinux
        .as_deref()
        .map(Vmlinux::open)
        .transpose()
        .map_err(|error| Failure::new(ExitCode::Broken, error))?;
    let (logs, unreadable) = scan::logs(&args.files);
    let mut totals = Totals::default();
    for error in &unreadable {
        totals.unreadable += 1;
        ui.note(&error.to_string());
    }
    for log in &logs {
        show_log(log, args, vmlinux.as_ref(), ui, &mut totals);
    }
    if logs.len() > 1 && !args.json {
        ui.note(&totals.to_string());
    }
    Ok(totals.exit())
}

/// What was found in all logs together.
#[derive(Debug, Default)]
struct Totals {
    logs: usize,
    with_crashes: usize,
    crashes: usize,
    errors: usize,
    unreadable: usize,
}

impl Totals {
    fn exit(&self) -> ExitCode {
        if self.unreadable > 0 {
            ExitCode::Broken
        } else if self.errors > 0 {
            ExitCode::Crashed
        } else {
            ExitCode::Survived
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} logs, {} with crashes, {} crashes in all",
            self.logs, self.with_crashes, self.crashes
        )?;
        if self.unreadable > 0 {
            write!(f, ", {} not readable", self.unreadable)?;
        }
        Ok(())
    }
}

fn show_log(log: &Log, args: &Args, vmlinux: Option<&Vmlinux>, ui: &Ui, totals: &mut Totals) {
    let mut rows = Vec::new();
    let mut first_sign = None;
    let done = scan::read(log, |event| match event {
        ScanEvent::Sign(sign) => {
            first_sign.get_or_insert(sign.line);
            ControlFlow::Continue(())
        }
        // One that began inside another is complete before it.
        ScanEvent::Crash(crash) if args.first && first_sign != Some(crash.line) => {
            ControlFlow::Continue(())
        }
        ScanEvent::Crash(mut crash) => {
            if vmlinux.is_some() {
                let sources = Sources {
                    vmlinux,
                    ..Sources::default()
                };
                decode::decode(&mut crash, sources);
            }
            show(&log.name, &crash, args, ui);
            rows.push(found::Row::new(&crash));
            if args.first {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    });
    totals.logs += 1;
    totals.crashes += rows.len();
    totals.with_crashes += usize::from(!rows.is_empty());
    totals.errors += rows
        .iter()
        .filter(|row| row.severity != Severity::Warning)
        .count();
    if args.count {
        ui.result(&format!("{}: {}\n", log.name, rows.len()));
    } else if rows.len() > 1 && !args.json {
        ui.result(&found::table(&log.name, &mut rows));
    }
    match done {
        Ok(()) if rows.is_empty() && !args.count => ui.note(&format!("{}: no crash", log.name)),
        Ok(()) => {}
        Err(error) => {
            // The other files may still hold a crash.
            totals.unreadable += 1;
            ui.note(&error.to_string());
        }
    }
}

fn show(file: &str, crash: &Crash, args: &Args, ui: &Ui) {
    if args.count {
        return;
    }
    if args.json {
        let found = Found {
            file,
            crash: Cow::Borrowed(crash),
        };
        if let Ok(line) = serde_json::to_string(&found) {
            ui.result(&format!("{line}\n"));
        }
    } else {
        ui.result(&found::render(file, crash));
    }
}
