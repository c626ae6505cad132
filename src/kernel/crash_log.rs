//! What could tell of a panic of this machine once it has rebooted: pstore and
//! kdump keep the log here, netconsole and a serial console send it elsewhere.

use std::fmt;
use std::fs;

use super::pstore::Pstore;

/// What this machine does with a panic's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashLog {
    /// pstore's backend.
    pub pstore: Option<String>,
    /// Whether a crash kernel is loaded.
    pub kdump: bool,
    /// Consoles that somebody else may record: serial lines and netconsole, by
    /// their names in `/proc/consoles`.
    pub consoles: Vec<String>,
}

/// Names of consoles that lead out of the machine.
const LEADING_OUT: &[&str] = &["ttyS", "ttyAMA", "hvc", "netcon", "ttysclp"];

impl CrashLog {
    /// Looks at this machine.
    pub fn gather() -> Self {
        let consoles = fs::read_to_string("/proc/consoles").unwrap_or_default();
        let loaded = fs::read_to_string("/sys/kernel/kexec_crash_loaded");
        Self {
            pstore: Pstore::backend(),
            kdump: loaded.is_ok_and(|text| text.trim() == "1"),
            consoles: leading_out(&consoles),
        }
    }

    /// Whether the log is kept where `modrace recover` finds it.
    pub fn is_kept(&self) -> bool {
        self.pstore.is_some() || self.kdump
    }
}

impl fmt::Display for CrashLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kept: Vec<String> = (self.pstore.iter())
            .map(|backend| format!("pstore ({backend})"))
            .collect();
        kept.extend(self.kdump.then(|| "kdump".to_owned()));
        match (kept.is_empty(), self.consoles.is_empty()) {
            (false, _) => write!(f, "kept by {}", kept.join(" and ")),
            (true, false) => write!(
                f,
                "kept by nothing on this machine (neither pstore nor kdump), and sent to {}",
                self.consoles.join(", ")
            ),
            (true, true) => {
                f.write_str("kept by nothing: no pstore, no kdump, no console that leads out")
            }
        }
    }
}

/// The names of these consoles that lead out of the machine.
fn leading_out(consoles: &str) -> Vec<String> {
    let names = consoles.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| LEADING_OUT.iter().any(|prefix| name.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_log_is_named_and_what_only_sends_it_keeps_nothing() {
        let consoles = "tty0                 -WU (EC p  )    4:1\n\
                        ttyS0                -W- (E  p a)    4:64\n";
        let mut log = CrashLog {
            consoles: leading_out(consoles),
            ..CrashLog::default()
        };
        assert!(!log.is_kept());
        assert!(log.to_string().ends_with("sent to ttyS0"), "{log}");
        log.pstore = Some("erst".to_owned());
        log.kdump = true;
        assert!(log.is_kept());
        assert_eq!(log.to_string(), "kept by pstore (erst) and kdump");
        assert!(CrashLog::default().to_string().contains("kept by nothing"));
    }
}
