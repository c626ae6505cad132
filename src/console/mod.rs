//! Bytes of a console or kernel log → lines. Pure.
//!
//! A kernel line reaches us in many coats: printk's time and caller, a level,
//! a `/dev/kmsg` record, what syslog or journald put before it, terminal
//! colours, carriage returns, noise. Here they come off, and what they said is
//! kept. What a line means is not judged here.

mod kmsg;
mod line;
mod prefix;
mod stamp;

pub use kmsg::parse_kmsg;
pub use line::{Caller, Line, Origin, clean, parse_line};
