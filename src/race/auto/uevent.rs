//! The kernel's own word that it is about to forget a module: the `remove`
//! uevent, sent by `mod_kobject_put()` in `free_module()`, after the last
//! moment that the loader needs `module_mutex` and just before the unlocked
//! store of `MODULE_STATE_UNFORMED`. Who sleeps on it with a higher priority
//! than the loader is woken at that very place.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Longest wait for the word, µs: an unload that fails sends none.
const PATIENCE_US: i64 = 50_000;
/// The multicast group of the kernel's events.
const KERNEL_EVENTS: u32 = 1;

/// A listener for one module's removal.
#[derive(Debug)]
pub(in crate::race) struct Removal {
    socket: OwnedFd,
    header: Vec<u8>,
}

impl Removal {
    /// Listens; fails where the kernel has no such events.
    pub(in crate::race) fn of(module: &str) -> Result<Self, Errno> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_EVENTS))?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(0, PATIENCE_US),
        )?;
        Ok(Self {
            socket,
            header: format!("remove@/module/{module}\0").into_bytes(),
        })
    }

    /// Forgets what was heard before.
    pub(in crate::race) fn drain(&self) {
        let mut message = [0; 64];
        while recv(
            self.socket.as_raw_fd(),
            &mut message,
            MsgFlags::MSG_DONTWAIT,
        )
        .is_ok()
        {}
    }

    /// Sleeps until the module goes; false if nothing was heard in time.
    pub(in crate::race) fn wait(&self) -> bool {
        let mut message = [0; 256];
        loop {
            match recv(self.socket.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Ok(length) if message[..length].starts_with(&self.header) => return true,
                // Another object's event, or too many at once.
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(_) => return false,
            }
        }
    }
}
