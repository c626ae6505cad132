//! A machine of QEMU's that is on, and what its console says.

#![allow(dead_code, reason = "each kind of machine uses its part")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time for one boot: the hosts of tests are loaded.
const PATIENCE: Duration = Duration::from_secs(240);

/// What one boot left to read.
#[derive(Debug)]
pub(crate) struct Boot {
    /// The console's text.
    pub(crate) console: String,
}

/// A machine that is on.
pub(crate) struct Running {
    child: Child,
    console: PathBuf,
    started: Instant,
    patience: Duration,
}

impl Running {
    /// Starts a machine whose console is that file.
    pub(crate) fn start(mut command: Command, console: PathBuf) -> Self {
        command
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Self {
            child: command.spawn().expect("qemu-system-x86_64"),
            console,
            started: Instant::now(),
            patience: PATIENCE,
        }
    }

    /// Gives it more time than one boot takes.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What the console says so far.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the console says this.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.console().contains(text) {
            assert!(
                self.child.try_wait().unwrap().is_none() && self.started.elapsed() < self.patience,
                "the console never said `{text}`:\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it is off.
    pub(crate) fn wait_for_end(&mut self) {
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                self.started.elapsed() < self.patience,
                "the machine did not end:\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Pulls the plug.
    pub(crate) fn cut_the_power(mut self) -> Boot {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.read()
    }

    /// What it left to read.
    pub(crate) fn read(&self) -> Boot {
        let console = self.console();
        if std::env::var_os("MODRACE_TEST_CONSOLE").is_some() {
            let _closed = writeln!(std::io::stderr(), "{console}");
        }
        Boot { console }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Boot {
    /// What follows a word at a line's beginning, such as `EXIT=`.
    pub(crate) fn value(&self, word: &str) -> Option<&str> {
        self.console
            .lines()
            .find_map(|line| line.trim_end().strip_prefix(word))
    }

    /// Fails with the console if the text is not there.
    pub(crate) fn says(&self, text: &str) {
        assert!(
            self.console.contains(text),
            "no `{text}` in:\n{}",
            self.console
        );
    }

    /// Fails with the console if the text is there.
    pub(crate) fn does_not_say(&self, text: &str) {
        assert!(
            !self.console.contains(text),
            "`{text}` in:\n{}",
            self.console
        );
    }

    /// printk's time of the last line with this text, seconds.
    pub(crate) fn time_of(&self, text: &str) -> f64 {
        let stamp_of = |line: &str| {
            let before = line.split(text).next()?.trim_end().strip_suffix(']')?;
            before.rsplit('[').next()?.trim().parse().ok()
        };
        let mut lines = self.console.lines().rev();
        lines
            .find_map(|line| line.contains(text).then(|| stamp_of(line)).flatten())
            .unwrap_or_else(|| panic!("no stamped `{text}` in:\n{}", self.console))
    }
}
