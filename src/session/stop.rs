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

#[cfg(test)]
mod tests {
    use std::process::{Command, exit};
    use std::sync::atomic::Ordering;

    use nix::sys::signal::{Signal, raise};

    use super::*;

    /// The environment of the process that is signalled.
    const SIGNALLED: &str = "MODRACE_TEST_SIGNALLED";
    const STILL_HERE: i32 = 77;

    #[test]
    fn the_first_signal_sets_the_flag_and_a_second_ctrl_c_ends_the_process() {
        if std::env::var_os(SIGNALLED).is_some() {
            let stop = on_signals().unwrap();
            raise(Signal::SIGTERM).unwrap();
            raise(Signal::SIGTERM).unwrap();
            assert!(stop.load(Ordering::Relaxed));
            raise(Signal::SIGINT).unwrap();
            exit(STILL_HERE);
        }
        let name = "session::stop::tests::\
                    the_first_signal_sets_the_flag_and_a_second_ctrl_c_ends_the_process";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(SIGNALLED, "1")
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(ExitCode::Interrupted as i32));
    }

    #[test]
    fn the_first_ctrl_c_only_sets_the_flag() {
        if std::env::var_os(SIGNALLED).is_some() {
            let stop = on_signals().unwrap();
            raise(Signal::SIGINT).unwrap();
            exit(if stop.load(Ordering::Relaxed) {
                STILL_HERE
            } else {
                1
            });
        }
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "session::stop::tests::the_first_ctrl_c_only_sets_the_flag",
            ])
            .env(SIGNALLED, "1")
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(STILL_HERE));
    }
}
