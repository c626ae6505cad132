//! What a command does: kernels made ready, trials scheduled, reports kept.
//! Emits events, prints nothing.

pub mod guest;
pub mod prove;
