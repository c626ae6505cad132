//! Signals that end a run, as a flag that whoever works looks at.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Failure;
use crate::model::ExitCode;

/// A flag that SIGINT, SIGTERM and SIGHUP set from now on. Whoever looks at it
/// gives up what is under way and writes the report. A SIGINT once the flag is
/// set ends the process at once.
pub fn on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    // Registered before the flag: of one signal, this sees the flag not yet set.
    let code = ExitCode::Interrupted as i32;
    flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&stop))?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
