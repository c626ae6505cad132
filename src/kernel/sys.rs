//! The one home of unsafe code: system calls and mappings that no crate wraps.
//! Each function is safe to call; why is said where it is not obvious.
#![allow(unsafe_code, reason = "this is the one place for it")]

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::AtomicU32;

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
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

/// The same, for one that will be sealed.
pub fn sealable_file(name: &std::ffi::CStr) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(File::from(memfd_create(name, flags)?))
}

/// Makes a file unchangeable for everybody and for good; it fails while somebody
/// has mapped it for writing. Private mappings go on copying what they write.
pub fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// `struct rand_pool_info` with 32 bytes (linux/random.h).
#[repr(C)]
pub struct Entropy {
    bits: i32,
    size: i32,
    bytes: [u8; 32],
}

mod ioctl {
    use super::Entropy;

    // RNDADDENTROPY is declared with two ints and given what follows them, too.
    nix::ioctl_write_ptr_bad!(
        add_entropy,
        nix::request_code_write!(b'R', 0x03, 2 * size_of::<i32>()),
        Entropy
    );
    // RNDRESEEDCRNG
    nix::ioctl_none!(reseed, b'R', 0x07);
}

/// Adds bytes to the kernel's random pool, as if nobody could know them.
pub fn add_entropy(pool: &File, bytes: [u8; 32]) -> io::Result<()> {
    let entropy = Entropy {
        bits: 8 * 32,
        size: 32,
        bytes,
    };
    // SAFETY: the kernel reads the structure, whose sizes are as it says.
    unsafe { ioctl::add_entropy(pool.as_raw_fd(), &raw const entropy) }?;
    Ok(())
}

/// Has the kernel draw the keys of its random number generator anew.
pub fn reseed(pool: &File) -> io::Result<()> {
    // SAFETY: this ioctl takes no argument.
    unsafe { ioctl::reseed(pool.as_raw_fd()) }?;
    Ok(())
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

/// Sets the calling thread's niceness: on Linux each thread has its own
/// (setpriority(2), "C library/kernel differences").
pub fn set_niceness(niceness: i32) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `membarrier(MEMBARRIER_CMD_GLOBAL)`.
pub fn membarrier_global() -> io::Result<()> {
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes no pointers.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
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
