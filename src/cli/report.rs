//! `modrace report`: works on saved reports. Reads and writes files; what is in
//! them is for `report` to say.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use super::ui::Ui;
use crate::model::{CheckReport, ExitCode, Report, Tool};
use crate::report::{self, FORMATS, Format};
use crate::session::saved_report::load;
use crate::session::{Failure, check_confidence, exit_code};

/// Show, convert, pool, compare and check saved reports
///
/// A file that is no report, or whose numbers do not follow from its trials,
/// ends with exit code 3; reports that do not belong together end with 4.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a report on the terminal
    Show(Show),
    /// Convert a report
    Render(Render),
    /// Pool the trials of reports on one experiment
    Merge(Merge),
    /// Set a candidate's report against a baseline's
    ///
    /// The exit code follows the verdict. 0: the fix is confirmed. 1: the candidate
    /// crashed, hung or warned. 3: broken. 5: inconclusive.
    Compare(Compare),
    /// Recompute every derived number, and name the fields that differ
    Validate(Validate),
    /// Print the JSON Schema of a report
    Schema {
        /// That of a check instead
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The report, `-` for stdin
    file: PathBuf,
    /// Write the plot to this SVG file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Render {
    /// The report, `-` for stdin
    file: PathBuf,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
struct Merge {
    /// The reports
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// The kernel without the fix
    baseline: PathBuf,
    /// The kernel with it
    candidate: PathBuf,
    /// How sure to be, as a share
    #[arg(long, default_value_t = 0.999, value_parser = confidence)]
    confidence: f64,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, clap::Args)]
struct Validate {
    /// The reports, `-` for stdin
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Out {
    /// Form of the output
    #[arg(long, default_value = "text", value_parser = format_parser(), help = format_help())]
    format: &'static Format,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the plot to this SVG file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn format_parser() -> impl clap::builder::TypedValueParser<Value = &'static Format> {
    use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
    let names = FORMATS
        .iter()
        .map(|f| PossibleValue::new(f.name).help(f.help));
    PossibleValuesParser::new(names)
        .try_map(|name| Format::named(&name).ok_or("not in the table of formats"))
}

fn format_help() -> String {
    let names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
    format!("Form of the output: {}", names.join(", "))
}

fn confidence(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    check_confidence(value).map(|()| value)
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    match &args.action {
        Action::Show(args) => {
            if let Some(check) = saved_check(&args.file) {
                ui.result(&report::show_check(&check));
                return Ok(ExitCode::Survived);
            }
            let report = load(&args.file)?.report;
            ui.result(&report::show(&report));
            plot(args.plot.as_deref(), &report)?;
        }
        Action::Render(args) => match saved_check(&args.file) {
            Some(check) => put_check(&check, &args.out, ui)?,
            None => put(&load(&args.file)?.report, &args.out, ui)?,
        },
        Action::Merge(args) => put(&merge(args)?, &args.out, ui)?,
        Action::Compare(args) => return compare(args, ui),
        Action::Validate(args) => return validate(args, ui),
        Action::Schema { check } => {
            let schema = if *check {
                report::check_schema()
            } else {
                report::schema()
            };
            let text = serde_json::to_string_pretty(&schema)?;
            ui.result(&format!("{text}\n"));
        }
    }
    Ok(ExitCode::Survived)
}

/// The file as a check, if it is one.
fn saved_check(file: &Path) -> Option<CheckReport> {
    let bytes = std::fs::read(file).ok()?;
    report::read_check(&bytes)
}

fn put_check(check: &CheckReport, out: &Out, ui: &Ui) -> Result<(), Failure> {
    let Some(text) = report::render_check(check, out.format) else {
        return Err(Failure::usage(format!(
            "--format {}: a check has no such form",
            out.format.name
        ))
        .hint("it has text, markdown, html, ktap and json; each race's own report has them all"));
    };
    if let Some(file) = &out.output {
        write(file, &text?)
    } else {
        ui.result(&text?);
        Ok(())
    }
}

fn merge(args: &Merge) -> Result<Report, Failure> {
    let loaded = args
        .files
        .iter()
        .map(|file| load(file).map(|l| (l.name, l.report, l.source)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut command: Vec<String> = ["modrace", "report", "merge"].map(str::to_owned).to_vec();
    command.extend(args.files.iter().map(|file| file.display().to_string()));
    let tool = Tool {
        name: "modrace".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    report::merge(loaded, tool, command)
        .map_err(|error| Failure::from(error).hint("only trials of one experiment can be pooled"))
}

fn compare(args: &Compare, ui: &Ui) -> Result<ExitCode, Failure> {
    let baseline = load(&args.baseline)?;
    let candidate = load(&args.candidate)?;
    let compared = report::with_control(
        (&candidate.name, candidate.report),
        (&baseline.name, baseline.report, baseline.source),
        args.confidence,
    )
    .map_err(|error| Failure::from(error).hint("run both kernels with the same settings"))?;
    put(&compared, &args.out, ui)?;
    Ok(exit_code(&compared))
}

fn validate(args: &Validate, ui: &Ui) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::Survived;
    for file in &args.files {
        let loaded = load(file)?;
        let found = report::validate(&loaded.report);
        for wrong in &found {
            code = ExitCode::Broken;
            ui.result(&format!(
                "{}: {}: {} in the file, {} by its trials\n",
                loaded.name, wrong.field, wrong.stored, wrong.recomputed
            ));
        }
        if found.is_empty() {
            ui.result(&format!(
                "{}: every derived number follows from its trials\n",
                loaded.name
            ));
        }
    }
    Ok(code)
}

fn put(report: &Report, out: &Out, ui: &Ui) -> Result<(), Failure> {
    plot(out.plot.as_deref(), report)?;
    let text = out.format.render(report)?;
    if let Some(file) = &out.output {
        return write(file, &text);
    }
    // On GitHub the summary has a file of its own.
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|_| out.format.name == "github");
    if let Some(file) = summary.map(PathBuf::from) {
        append(&file, &report::step_summary(report))?;
        ui.result(&report::annotations(report));
    } else {
        ui.result(&text);
    }
    Ok(())
}

fn plot(file: Option<&Path>, report: &Report) -> Result<(), Failure> {
    file.map_or(Ok(()), |file| write(file, &report::svg(report)))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .with_context(|| format!("{}: cannot be written", file.display()))
        .map_err(|error| Failure::new(ExitCode::Broken, error))
}

fn append(file: &Path, text: &str) -> Result<(), Failure> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("{}: cannot be written", file.display()))
        .map_err(|error| Failure::new(ExitCode::Broken, error))
}
