//! Signals: the first asks the run to end in order, a second ends it at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::{Failure, OrFail};
use crate::model::ExitCode;

/// A flag that SIGINT, SIGTERM and SIGHUP set.
pub(super) fn flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the shutdown is armed by the signal before.
        let code = i32::from(ExitCode::Interrupted as u8);
        flag::register_conditional_shutdown(signal, code, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .or_fail(ExitCode::Broken)?;
    }
    Ok(stop)
}
