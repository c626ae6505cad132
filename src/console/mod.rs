//! Bytes of a console or kernel log → lines. Pure.
//!
//! A kernel line reaches us behind many prefixes: printk's time and caller, a
//! level, a vendor's tag, a `/dev/kmsg` record, what syslog or journald put
//! before it, terminal colours, carriage returns. Here they are taken off, and
//! what they said is kept. What a line means is not judged here.

mod journal;
mod kmsg;
mod line;
mod prefix;
mod pstore;
mod stamp;
mod tag;

pub use journal::{JournalFormat, JournalReader};
pub use kmsg::parse_kmsg;
pub use line::{Caller, Line, Origin, clean, parse_line};
pub use pstore::{PstorePart, is_pstore_name, pstore_part};
pub use tag::Tag;
