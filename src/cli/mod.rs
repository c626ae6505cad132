//! The command line: which commands there are, and how one is dispatched.
//! A command is one file with an `Args` (what was typed) and a `run`.

mod ab;
mod args;
mod check;
mod doctor;
mod explore;
mod generate;
mod lab;
mod list;
mod prove;
mod recover;
mod report;
mod run;
mod scan;
mod states;
pub mod ui;
mod vm;

use clap::{CommandFactory, Parser, Subcommand};

use crate::model::ExitCode;
use crate::session::guest;
use crate::session::{WORKER_COMMAND, work};
use ui::Ui;

/// Races module loading against /proc/modules readers until a kernel crashes,
/// or shows how long it did not.
#[derive(Debug, Parser)]
#[command(name = "modrace", version, max_term_width = 90, after_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Vm(vm::Args),
    Check(check::Args),
    Ab(ab::Args),
    Prove(prove::Args),
    Explore(explore::Args),
    Recover(recover::Args),
    Doctor(doctor::Args),
    Lab(lab::Args),
    List(list::Args),
    Scan(scan::Args),
    States(states::Args),
    Report(report::Args),
    Completions(generate::Completions),
    Man(generate::Man),
}

fn exit_codes() -> String {
    let lines = ExitCode::TABLE
        .iter()
        .map(|(code, meaning)| format!("  {:>3}  {meaning}", *code as u8));
    std::iter::once("Exit codes:".to_owned())
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Parses the process's arguments, runs the command, and prints its failure.
pub fn main() -> ExitCode {
    if guest::is_guest() {
        guest::main();
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == WORKER_COMMAND)
    {
        return worker_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ui::usage(&error),
    };
    let ui = Ui::new();
    let done = match &cli.command {
        Command::Run(args) => run::run(args, &ui),
        Command::Vm(args) => vm::run(args, &ui),
        Command::Check(args) => check::run(args, &ui),
        Command::Ab(args) => ab::run(args, &ui),
        Command::Prove(args) => prove::run(args, &ui),
        Command::Explore(args) => explore::run(args, &ui),
        Command::Recover(args) => recover::run(args, &ui),
        Command::Doctor(args) => doctor::run(args, &ui),
        Command::Lab(args) => lab::run(args, &ui),
        Command::List(args) => list::run(args, &ui),
        Command::Scan(args) => scan::run(args, &ui),
        Command::States(args) => states::run(args, &ui),
        Command::Report(args) => report::run(args, &ui),
        Command::Completions(args) => Ok(generate::completions(args, Cli::command(), &ui)),
        Command::Man(args) => generate::man(args, Cli::command(), &ui),
    };
    match done {
        Ok(code) => code,
        Err(failure) => ui.failure(&failure),
    }
}

/// A worker process is no command that anybody types: `run` starts it, with its
/// plan on stdin.
fn worker_main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::Survived,
        Err(error) => Ui::new().failure(&error.into()),
    }
}
