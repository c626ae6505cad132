//! `modrace list`: the tables, as the program itself uses them.

use clap::ValueEnum;

use super::{Failure, ui::Ui};
use crate::crash::SIGNATURES;
use crate::model::{ExitCode, Strategy};
use crate::race::{ARMS, chaos::TECHNIQUES, targets::TARGETS};
use crate::report::FORMATS;

/// Print one of the tables that modrace works from
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which table
    table: Table,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Table {
    /// What readers read
    Targets,
    /// How readers read
    Strategies,
    /// What `--strategy auto` chooses from
    Arms,
    /// Chaos techniques
    Chaos,
    /// What the crash scanner recognises
    Signatures,
    /// Forms of a report
    Formats,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    let rows: Vec<(&str, &str)> = match args.table {
        Table::Targets => TARGETS.iter().map(|row| (row.name, row.help)).collect(),
        Table::Strategies => Strategy::TABLE
            .iter()
            .map(|&(_, name, help)| (name, help))
            .collect(),
        Table::Arms => ARMS.iter().map(|row| (row.name, row.help)).collect(),
        Table::Chaos => TECHNIQUES.iter().map(|row| (row.name, row.help)).collect(),
        Table::Signatures => SIGNATURES.iter().map(|row| (row.name, row.title)).collect(),
        Table::Formats => FORMATS
            .iter()
            .map(|format| (format.name, format.help))
            .collect(),
    };
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, help) in rows {
        ui.result(&format!("{name:width$}  {help}\n"));
    }
    Ok(ExitCode::Survived)
}
