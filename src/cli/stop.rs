//! Ctrl-C and its kin as a flag that whoever works looks at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Failure, OrFail};
use crate::model::ExitCode;

/// A flag that SIGINT, SIGTERM and SIGHUP set from now on.
pub(super) fn on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).or_fail(ExitCode::Broken)?;
    }
    Ok(flag)
}
