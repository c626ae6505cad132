//! `modrace completions` and `modrace man`: what other programs want to know
//! of the command line, made from the command line itself.

use std::io::Write;

use clap::Command;
use clap_complete::Shell;

use super::ui::Ui;
use crate::model::ExitCode;
use crate::session::Failure;

/// Print a shell's completions
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the manual page
#[derive(Debug, clap::Args)]
pub(super) struct Man {}

pub(super) fn completions(args: &Completions, mut whole: Command, ui: &Ui) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut whole, "modrace", &mut script);
    ui.result(&String::from_utf8_lossy(&script));
    ExitCode::Survived
}

pub(super) fn man(_: &Man, mut whole: Command, ui: &Ui) -> Result<ExitCode, Failure> {
    let mut page = Vec::new();
    whole.build();
    clap_mangen::Man::new(whole.clone()).render(&mut page)?;
    for command in whole
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        section(command, &mut page)?;
    }
    ui.result(&String::from_utf8_lossy(&page));
    Ok(ExitCode::Survived)
}

/// One command's part of the page.
fn section(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let name = command.get_name().to_uppercase();
    writeln!(page, ".SH MODRACE {name}")?;
    let man = clap_mangen::Man::new(command.clone());
    man.render_description_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_options_section(page)
}
