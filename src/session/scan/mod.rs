//! What `scan` reads: the logs below what was named, their bytes, and a vmlinux
//! that adds places to frames.

mod input;
mod source;
mod symbols;

pub use input::{Log, logs};
pub use source::{Unreadable, read};
pub use symbols::{SymbolError, Symbols};
