//! The guest's end of the agent channel.

use std::fs::{File, OpenOptions};
use std::io;

use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// Opens a serial port for lines of our own: raw, so that the terminal layer
/// changes no byte.
pub fn open_agent(path: &str) -> io::Result<File> {
    let port = OpenOptions::new().read(true).write(true).open(path)?;
    let mut settings = tcgetattr(&port)?;
    cfmakeraw(&mut settings);
    tcsetattr(&port, SetArg::TCSANOW, &settings)?;
    Ok(port)
}
