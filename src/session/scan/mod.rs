//! What `scan` reads: the logs below what was named, and their bytes.

mod input;
mod source;

pub use input::{Log, logs};
pub use source::{Unreadable, read};
