//! The binary: parse, dispatch, print what went wrong, exit.
//! Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    modrace::cli::main().into()
}
