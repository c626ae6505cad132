//! What a kernel's files say of its addresses: names, lines of the source,
//! instructions; and a crash's addresses told by them.
//!
//! - `symbols`: names, from vmlinux, System.map or /proc/kallsyms
//! - `lines`: file and line, from debug information
//! - `instructions`: machine code
//! - `code_line`: the `Code:` line of a crash as instructions
//! - `functions`: where a file's functions are
//! - `vmlinux`: a kernel's image with debug information, and whose it is
//! - `module`: a module's file with debug information
//! - `trace`: a crash's trace told by them

mod code_line;
mod functions;
pub mod instructions;
mod lines;
mod module;
pub mod symbols;
mod trace;
mod vmlinux;

pub use lines::Lines;
pub use module::ModuleFile;
pub use trace::{Sources, decode};
pub use vmlinux::{Vmlinux, VmlinuxError};
