//! A real-time priority for as long as it is wanted.

use super::sys;

/// The calling thread's real-time priority; dropped, the thread is an ordinary
/// one again. One that waits for others with such a priority lets nobody else on
/// its CPU get there.
#[derive(Debug)]
pub struct RealTime(());

impl RealTime {
    /// Takes a priority from 1 to 99 under `SCHED_FIFO`. Without the right to it
    /// the thread stays what it was.
    pub fn take(priority: i32) -> Self {
        // Without the right to it the race goes on at the old priority.
        let _ = sys::set_priority(0, Some(priority));
        Self(())
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        // Fails only where it never was raised.
        let _ = sys::set_priority(0, None);
    }
}

/// Makes the calling thread, and the processes that it starts, `niceness` nicer
/// to others. What was taken so cannot be given back without privileges.
pub fn be_nice(niceness: i32) -> std::io::Result<()> {
    sys::set_niceness(niceness)
}
