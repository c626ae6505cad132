//! The one home of unsafe code: system calls and mappings that no crate wraps.
//! Each function is safe to call; why is said where it is not obvious.
#![allow(unsafe_code, reason = "this is the one place for it")]

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::AtomicU32;

use memmap2::{MmapOptions, MmapRaw};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use zerocopy::FromBytes;

/// Memory shared with another process or a device, seen as a `T`.
#[derive(Debug)]
pub struct MappedPage<T> {
    map: MmapRaw,
    layout: PhantomData<T>,
}

impl<T: FromBytes + Sync> MappedPage<T> {
    /// Maps the first `bytes` of a file or PCI BAR, which must hold a `T`.
    pub fn map(file: &File, bytes: usize) -> io::Result<Self> {
        if bytes < size_of::<T>() {
            return Err(io::Error::other("the mapping is smaller than its layout"));
        }
        let map = MmapOptions::new().len(bytes).map_raw(file)?;
        if map.as_ptr().addr().is_multiple_of(align_of::<T>()) {
            Ok(Self {
                map,
                layout: PhantomData,
            })
        } else {
            Err(io::Error::other("the mapping is not aligned to pages"))
        }
    }
}

impl<T: FromBytes + Sync> Deref for MappedPage<T> {
    type Target = T;

    #[allow(clippy::cast_ptr_alignment, reason = "`map` checked the alignment")]
    fn deref(&self) -> &T {
        // SAFETY: the mapping holds a T and is aligned for one (checked in
        // `map`), and lives as long as `self`. Any bit pattern is a T
        // (`FromBytes`). Others change the memory while it is seen: the layouts
        // used here have atomic fields alone, for which that is allowed.
        unsafe { &*self.map.as_ptr().cast::<T>() }
    }
}

/// An anonymous file: it goes with its last descriptor, whatever kills us.
pub fn anonymous_file(name: &std::ffi::CStr) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?))
}

/// Makes the child die with the thread that spawns it, so that killing us
/// leaves no child behind.
pub fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed;
    // prctl and getppid are bare system calls.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // The parent may have died before the line above took effect.
            if nix::unistd::getppid() == parent {
                Ok(())
            } else {
                Err(io::Error::from(nix::errno::Errno::ESRCH))
            }
        });
    }
}

/// Gives thread `tid` (0: the caller) real-time priority 1 to 99 under
/// `SCHED_FIFO`, or makes it an ordinary thread again.
pub fn set_priority(tid: i32, fifo: Option<i32>) -> io::Result<()> {
    // SAFETY: sched_param is plain data, for which zero is a valid value.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = fifo.unwrap_or(0);
    let policy = if fifo.is_some() {
        libc::SCHED_FIFO
    } else {
        libc::SCHED_OTHER
    };
    // SAFETY: the pointer is valid for the call; a thread that is gone, or not
    // ours to change, is an error.
    let failed = unsafe { libc::sched_setscheduler(tid, policy, &raw const param) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the calling thread ask for wake-ups as exact as the clock, not within
/// the default slack of 50 µs.
pub fn exact_timers() {
    // A coarser timer is no error.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Wakes who waits for a word in memory shared with another process.
pub fn wake(word: &AtomicU32) {
    // SAFETY: the word is valid for the call, which changes nothing.
    let _nobody_waited = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            i32::MAX,
            std::ptr::null::<libc::timespec>(),
            std::ptr::null::<u32>(),
            0,
        )
    };
}
