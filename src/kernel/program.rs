//! A program of the machine's that is run for its effect, with a deadline: on a
//! kernel that has crashed it may never come back.

use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks.
const TURN: Duration = Duration::from_millis(20);

/// Runs a program, silent, for at most `patience`; one that takes longer is left
/// alone. An error says that it could not be started, failed, or takes longer.
pub fn run(program: &str, arguments: &[&str], patience: Duration) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + patience;
    let called = || format!("{program} {}", arguments.join(" "));
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("{}: {status}", called()))),
            None if Instant::now() > deadline => {
                let error = format!("{}: no end within {} s", called(), patience.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, error));
            }
            None => thread::sleep(TURN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_succeeds_fails_or_is_left_alone() {
        let minute = Duration::from_secs(60);
        run("true", &[], minute).unwrap();
        let failed = run("false", &[], minute).unwrap_err();
        assert!(
            failed.to_string().contains("false : exit status: 1"),
            "{failed}"
        );
        let slow = run("sleep", &["2"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(slow.kind(), io::ErrorKind::TimedOut);
        assert!(run("/no/such/program", &[], minute).is_err());
    }
}
