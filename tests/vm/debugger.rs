//! A guest held at its crash for a debugger: attached to here by the debugger's
//! own protocol, as gdb does.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use modrace::model::{Outcome, Report};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Bench;

/// How a debugger leaves a guest.
type Way<'a> = &'a dyn Fn(&mut UnixStream, &Child);

/// A run whose guest stands at its crash, and the socket that it names.
fn held(bench: &Bench) -> (Child, PathBuf) {
    let mut child = bench
        .command(&["--kernel", "lab:vulnerable", "--gdb", "--smp", "2"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map_while(Result::ok);
    let told = lines
        .find_map(|line| Some(line.split_once("target remote ")?.1.to_owned()))
        .expect("how to attach");
    std::thread::spawn(move || lines.for_each(drop));
    (child, PathBuf::from(told.trim_end_matches('\'')))
}

/// Attaches, and asks why the guest stands.
fn attach(socket: &Path) -> UnixStream {
    let mut stub = UnixStream::connect(socket).unwrap();
    stub.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stub.write_all(b"$?#3f").unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"#07") && stub.read(&mut byte).unwrap() == 1 {
        answer.push(byte[0]);
    }
    // Signal 5: stopped, on the first CPU.
    assert_eq!(String::from_utf8_lossy(&answer), "+$T05thread:01;#07");
    stub
}

fn ended(bench: &Bench, mut child: Child, socket: &Path) -> (Option<i32>, Report) {
    let code = child.wait().unwrap().code();
    assert!(!socket.parent().unwrap().exists(), "the socket is gone");
    let text = std::fs::read_to_string(bench.path("report.json")).unwrap();
    (code, serde_json::from_str(&text).unwrap())
}

#[test]
fn a_debugger_finds_the_guest_at_its_crash_which_counts_however_it_is_left() {
    let detach = |stub: &mut UnixStream, _: &Child| stub.write_all(b"$D;1#b0").unwrap();
    let end = |stub: &mut UnixStream, _: &Child| stub.write_all(b"$k#6b").unwrap();
    let interrupt = |_: &mut UnixStream, child: &Child| {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
    };
    let ways: [(Way<'_>, i32); 3] = [(&detach, 1), (&end, 1), (&interrupt, 130)];
    for (leave, expected) in ways {
        let bench = Bench::new();
        let (child, socket) = held(&bench);
        let mut stub = attach(&socket);
        leave(&mut stub, &child);
        let (code, report) = ended(&bench, child, &socket);
        assert_eq!(code, Some(expected));
        assert_eq!(report.trials.len(), 1);
        assert_eq!(report.trials[0].outcome, Outcome::Crashed);
    }
}
