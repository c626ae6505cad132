//! What the log around a line is like: whether the kernel's lines are stamped
//! there, whether firmware speaks, whether a kernel was up or had been told to
//! reboot. Learned line by line, each line once.

use crate::console::{Line, Origin, parse_line};

/// Whether a line without a prefix may be the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// The kernel's lines are stamped here, or no kernel runs yet: a bare line
    /// is somebody else's.
    Stamped,
    /// They are not, or there are too few to tell.
    Bare,
}

/// First words of what runs before a kernel.
const FIRMWARE: &[&str] = &[
    "U-Boot ",
    "U-Boot SPL",
    "SPL: ",
    "coreboot-",
    "OpenSBI v",
    "NOTICE:  BL",
    "INFO:    BL",
    "SeaBIOS (version",
    "iPXE ",
    "GRUB loading",
    "barebox ",
    "EFI stub: ",
    "Starting kernel ...",
    "Booting from ",
];

/// Words of a kernel or of init that somebody asked for a reboot.
const ASKED_TO_REBOOT: &[&str] = &[
    "Restarting system",
    "reboot: ",
    "sysrq: Resetting",
    "sysrq: SysRq : Resetting",
    "SysRq : Resetting",
    "Starting new kernel",
    "The system is going down",
    "Requesting system reboot",
    "systemd-shutdown",
    "Shutting down.",
    "Power down",
    "Sent SIGTERM to all processes",
    "Sent SIGKILL to all processes",
];

/// What has been learned of the log so far.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing seen or not, in any combination"
)]
pub(super) struct Log {
    stamped: bool,
    firmware: bool,
    up: bool,
    asked: bool,
}

impl Log {
    /// Learns from a line.
    pub(super) fn learn(&mut self, raw: &[u8]) {
        let line = parse_line(raw);
        let text = line.text.trim_start();
        if line.origin == Origin::Kernel && line.time_s.is_some() {
            self.stamped = true;
            self.firmware = false;
        }
        // Once a kernel runs for this long, its boot loader is long gone.
        self.up |= line.time_s.is_some_and(|time| time >= 5.0);
        if is_banner(text) {
            self.booted();
        } else if ASKED_TO_REBOOT.iter().any(|words| text.contains(words)) {
            self.asked = true;
            self.firmware |= line.origin == Origin::Kernel && !line.logged;
        } else if line.origin == Origin::Unknown
            && FIRMWARE.iter().any(|words| text.starts_with(words))
        {
            self.firmware = true;
        }
    }

    /// What a line without a prefix is worth here.
    pub(super) fn surroundings(&self) -> Surroundings {
        if self.stamped || self.firmware {
            Surroundings::Stamped
        } else {
            Surroundings::Bare
        }
    }

    /// A kernel begins to boot: whether the one before it was up, had not been
    /// told to reboot and had not crashed. Syslog and journals hold many
    /// boots, and not the words that ended them.
    pub(super) fn boots_unasked(&mut self, line: &Line<'_>, died: bool) -> bool {
        let unasked = self.up && !self.asked && !died && !line.logged;
        self.booted();
        unasked
    }

    fn booted(&mut self) {
        self.firmware = false;
        self.up = false;
        self.asked = false;
    }
}

/// A kernel's first line.
fn is_banner(text: &str) -> bool {
    text.strip_prefix("Linux version ")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Log {
        let mut log = Log::default();
        for line in lines {
            log.learn(line.as_bytes());
        }
        log
    }

    #[test]
    fn bare_lines_count_until_stamps_or_firmware_are_seen() {
        assert_eq!(log(&["x", "y"]).surroundings(), Surroundings::Bare);
        assert_eq!(
            log(&["[    1.000000] x", "y"]).surroundings(),
            Surroundings::Stamped
        );
        assert_eq!(
            log(&["U-Boot 2020.01 (Jan 01 2020)", "y"]).surroundings(),
            Surroundings::Stamped
        );
        assert_eq!(
            log(&["U-Boot 2020.01", "Linux version 3.10.0 (a@b)", "y"]).surroundings(),
            Surroundings::Bare
        );
    }

    #[test]
    fn a_reboot_is_unasked_where_nobody_asked() {
        let banner = parse_line(b"[    0.000000] Linux version 6.1.0 (a@b)");
        assert!(log(&["[   60.000000] x"]).boots_unasked(&banner, false));
        assert!(!log(&["[    0.100000] x"]).boots_unasked(&banner, false));
        for asked in [
            "[   61.000000] reboot: Restarting system",
            "[   61.000000] systemd-shutdown[1]: Sending SIGTERM",
            "The system is going down NOW!",
        ] {
            assert!(!log(&["[   60.000000] x", asked]).boots_unasked(&banner, false));
        }
        let logged =
            parse_line(b"Jan  1 00:00:00 box kernel: [    0.000000] Linux version 6.1.0 (a@b)");
        assert!(!log(&["[   60.000000] x"]).boots_unasked(&logged, false));
    }
}
