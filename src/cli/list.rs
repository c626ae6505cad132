//! `modrace list`: the tables, as the program itself uses them.

use std::borrow::Cow;

use clap::ValueEnum;

use super::ui::Ui;
use crate::crash::SIGNATURES;
use crate::model::{ExitCode, Strategy};
use crate::race::{
    READ_POLICIES, action::ReaderAction, chaos::TECHNIQUES, races::RACES, targets::TARGETS,
};
use crate::report::FORMATS;
use crate::session::Failure;

/// Print one of the tables that modrace works from
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which table
    table: Table,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Table {
    /// Races, with what they are known from
    Races,
    /// What readers do to a driver's files
    Actions,
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
    let rows: Vec<(&str, Cow<'_, str>)> = match args.table {
        Table::Races => RACES
            .iter()
            .map(|row| {
                let text = format!("{} ({})", row.help, row.known_from());
                (row.name, Cow::Owned(text))
            })
            .collect(),
        Table::Actions => plain(
            ReaderAction::TABLE
                .iter()
                .map(|&(_, name, help)| (name, help)),
        ),
        Table::Targets => plain(TARGETS.iter().map(|row| (row.name, row.help))),
        Table::Strategies => plain(Strategy::TABLE.iter().map(|&(_, name, help)| (name, help))),
        Table::Arms => plain(READ_POLICIES.iter().map(|row| (row.name, row.help))),
        Table::Chaos => TECHNIQUES
            .iter()
            .map(|row| {
                let named = if row.guests_only {
                    "; on a real machine only by name"
                } else {
                    ""
                };
                let text = format!("{}; needs {}{named}", row.help, row.needs);
                (row.name, Cow::Owned(text))
            })
            .collect(),
        Table::Signatures => plain(SIGNATURES.iter().map(|row| (row.name, row.title))),
        Table::Formats => plain(FORMATS.iter().map(|format| (format.name, format.help))),
    };
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, help) in rows {
        ui.result(&format!("{name:width$}  {help}\n"));
    }
    Ok(ExitCode::Survived)
}

fn plain<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, Cow<'a, str>)> {
    rows.map(|(name, help)| (name, Cow::Borrowed(help)))
        .collect()
}
