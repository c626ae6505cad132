//! Holds the module in each of its states and looks at what the kernel shows.
//! Judges nothing. Leaves the module unloaded, whatever happens.

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use thiserror::Error;

use crate::build::module_image::{ModuleImage, ModuleImageError};
use crate::kernel::first_load::Refusal;
use crate::kernel::module::ModuleFile;
use crate::kernel::tunable::TunableGuard;
use crate::kernel::uname;
use crate::model::{Held, Observed};

/// How long the module is held, at first. On a slow machine a look takes
/// longer; then the next try holds four times as long.
const HOLD: Duration = Duration::from_secs(2);
const TRIES: u32 = 4;
/// Held for ever, as far as a guest that is about to be crashed can tell.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// Longest wait for a state to show.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// The module's copy that asks for the kernel's list of modules.
const LISTER: &str = "modrace_lister";

/// Why a state could not be looked at.
#[derive(Debug, Error)]
pub enum HoldError {
    /// The module file is not usable.
    #[error("module {}", .0)]
    Image(#[from] ModuleImageError),
    /// Something of the machine failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The module has no parameters to hold it.
    #[error("the module {0} has no parameters hold_init_ms and hold_exit_ms to hold it with")]
    NoParameters(String),
    /// `m_show()` prints no flags for a module that taints nothing.
    #[error("the module {0} is marked as in-tree: it taints nothing, so its flags are not shown")]
    Untainted(String),
    /// Loaded already, by somebody else.
    #[error("the module {0} is loaded already; unload it first: rmmod {0}")]
    Loaded(String),
    /// The load failed.
    #[error("loading {name}: {errno}{logged}")]
    Load {
        /// The module.
        name: String,
        /// What the call returned.
        errno: Errno,
        /// What the kernel said, as the end of a sentence.
        logged: String,
    },
    /// The unload failed.
    #[error("unloading {0}: {1}")]
    Unload(String, Errno),
    /// A system call did not come back.
    #[error("{0} did not come back within {1:?}")]
    Stuck(&'static str, Duration),
    /// Every look took longer than the module was held.
    #[error("the module could not be held for as long as a look at it took, {0:?}")]
    TooSlow(Duration),
    /// The kernel crashed by sysrq-c lives.
    #[error("the kernel lived on after sysrq-c")]
    Lives,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> HoldError {
    move |source| HoldError::Io {
        what: what.into(),
        source,
    }
}

/// Whether a module can be held, and shows its flags when it is.
pub fn fit(image: &ModuleImage) -> Result<(), HoldError> {
    let has = |name: &str| {
        image
            .modinfo()
            .iter()
            .any(|(tag, value)| tag == "parmtype" && value.split(':').next() == Some(name))
    };
    if !has("hold_init_ms") || !has("hold_exit_ms") {
        return Err(HoldError::NoParameters(image.name().to_owned()));
    }
    if image.intree() {
        return Err(HoldError::Untainted(image.name().to_owned()));
    }
    Ok(())
}

/// Goes through the states once and hands on what is seen of each. `disposable`
/// allows settings of the kernel to be changed.
pub fn observe_all(
    module: &Path,
    disposable: bool,
    see: &mut dyn FnMut(Observed),
) -> Result<(), HoldError> {
    let mut hold = HOLD;
    for _ in 0..TRIES {
        let subject = Subject::open(module, None)?;
        if let Some(seen) = subject.pass(hold, disposable)? {
            seen.into_iter().for_each(see);
            return Ok(());
        }
        hold *= 4;
    }
    Err(HoldError::TooSlow(hold / 4))
}

/// Holds the module, has the kernel print its list, and crashes the kernel.
/// `ready` is called just before. Comes back only if that fails.
pub(super) fn crash_in(
    held: Held,
    module: &Path,
    folder: &Path,
    ready: &mut dyn FnMut(),
) -> Result<(), HoldError> {
    let lister = Subject::open(module, Some((LISTER, folder)))?;
    lister
        .file
        .load_once(c"")
        .map_err(|refusal| lister.load_error(&refusal))?;
    let subject = Subject::open(module, None)?;
    let long = |in_this_state| {
        if in_this_state {
            FOR_EVER
        } else {
            Duration::ZERO
        }
    };
    let mut load = subject.load(long(held == Held::Init), long(held == Held::Exit))?;
    if held == Held::Init {
        subject.wait_for_line(&mut load, |line| !line.is_empty())?;
    } else {
        load.finished()?
            .map_err(|refusal| subject.load_error(&refusal))?;
        let live = subject.lines()?;
        if held == Held::Exit {
            let mut held_for_ever = subject.unload()?;
            subject.wait_for_line(&mut held_for_ever, |line| line != live)?;
        } else if held == Held::Unloaded {
            subject
                .file
                .unload()
                .map_err(|errno| subject.unload_error(errno))?;
        }
    }
    ready();
    lister
        .file
        .set_parameter("warn", "1")
        .map_err(io(format!("/sys/module/{LISTER}/parameters/warn")))?;
    fs::write("/proc/sysrq-trigger", "c").map_err(io("/proc/sysrq-trigger"))?;
    thread::sleep(PATIENCE);
    Err(HoldError::Lives)
}

/// The module that is looked at.
struct Subject {
    file: Arc<ModuleFile>,
    tainted_before: u64,
}

impl Subject {
    /// Opens the module file, or a copy of it under another name.
    fn open(module: &Path, copy: Option<(&str, &Path)>) -> Result<Self, HoldError> {
        let image = ModuleImage::open(module)?;
        fit(&image)?;
        let (path, name) = match copy {
            None => (module.to_owned(), image.name()),
            Some((name, folder)) => {
                let path = folder.join(format!("{name}.ko"));
                fs::write(&path, image.renamed(name)?).map_err(io(name))?;
                (path, name)
            }
        };
        let file = ModuleFile::open(&path, name).map_err(io(name))?;
        if file.is_loaded() {
            return Err(HoldError::Loaded(name.to_owned()));
        }
        Ok(Self {
            file: Arc::new(file),
            tainted_before: tainted()?,
        })
    }

    fn name(&self) -> String {
        self.file.name().to_owned()
    }

    fn load_error(&self, refusal: &Refusal) -> HoldError {
        HoldError::Load {
            name: self.name(),
            errno: refusal.errno,
            logged: refusal.quoted(),
        }
    }

    fn unload_error(&self, errno: Errno) -> HoldError {
        HoldError::Unload(self.name(), errno)
    }

    /// One load and unload, looked at on the way. None if the module was not
    /// held for long enough.
    fn pass(&self, hold: Duration, disposable: bool) -> Result<Option<Vec<Observed>>, HoldError> {
        let mut load = self.load(hold, hold)?;
        let _unloaded = Unload(&self.file);
        self.wait_for_line(&mut load, |line| !line.is_empty())?;
        let init = self.observe(Held::Init)?;
        let in_time = load.ended().is_none();
        load.finished()?
            .map_err(|refusal| self.load_error(&refusal))?;
        let live = self.observe(Held::Live)?;
        let mut seen = vec![init, live.clone()];
        if disposable
            && let Ok(_guard) = TunableGuard::set(Path::new("/proc/sys/kernel/kptr_restrict"), "2")
        {
            seen.push(self.observe(Held::LiveHidden)?);
        }
        let mut unload = self.unload()?;
        self.wait_for_line(&mut unload, |line| line != live.lines)?;
        seen.push(self.observe(Held::Exit)?);
        let in_time = in_time && unload.ended().is_none();
        unload
            .finished()?
            .map_err(|refusal| self.unload_error(refusal.errno))?;
        seen.push(self.observe(Held::Unloaded)?);
        Ok(in_time.then_some(seen))
    }

    /// Loads the module in a thread of its own, which init holds.
    fn load(&self, hold_init: Duration, hold_exit: Duration) -> Result<Call, HoldError> {
        let parameters = format!(
            "hold_init_ms={} hold_exit_ms={}",
            hold_init.as_millis(),
            hold_exit.as_millis()
        );
        let file = Arc::clone(&self.file);
        Call::start("finit_module", move || {
            let parameters = CString::new(parameters).map_err(|_| Errno::EINVAL)?;
            file.load_once(&parameters).map(drop)
        })
    }

    fn unload(&self) -> Result<Call, HoldError> {
        let file = Arc::clone(&self.file);
        Call::start("delete_module", move || Ok(file.unload()?))
    }

    /// The module's lines of `/proc/modules`.
    fn lines(&self) -> Result<Vec<String>, HoldError> {
        let text = fs::read("/proc/modules").map_err(io("/proc/modules"))?;
        let text = String::from_utf8_lossy(&text);
        let name = self.file.name();
        Ok(text
            .split_inclusive('\n')
            .filter(|line| line.split([' ', '\n']).next() == Some(name))
            .map(str::to_owned)
            .collect())
    }

    /// Waits until the listing is as wanted; goes on when it never is, since
    /// what is shown then is what has to be judged. A call that failed ends it.
    fn wait_for_line(
        &self,
        call: &mut Call,
        wanted: impl Fn(Vec<String>) -> bool,
    ) -> Result<(), HoldError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // sysfs follows the list when a module comes.
            if self.lines().is_ok_and(&wanted) && self.file.attribute("initstate").is_ok() {
                return Ok(());
            }
            if call.has_failed() {
                return call.finished()?.map_err(|refusal| match call.name {
                    "delete_module" => self.unload_error(refusal.errno),
                    _ => self.load_error(&refusal),
                });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn observe(&self, held: Held) -> Result<Observed, HoldError> {
        let kptr = fs::read_to_string("/proc/sys/kernel/kptr_restrict").ok();
        let (release, machine) = uname::release_and_machine();
        Ok(Observed {
            held,
            lines: self.lines()?,
            initstate: self.file.attribute("initstate").ok(),
            taint: self.file.attribute("taint").ok(),
            refcnt: self.file.attribute("refcnt").ok(),
            tainted: tainted()?,
            tainted_before: self.tainted_before,
            kptr_restrict: kptr.and_then(|text| text.trim().parse().ok()),
            release,
            machine,
        })
    }
}

/// Unloads the module when the look at it ends early.
struct Unload<'a>(&'a ModuleFile);

impl Drop for Unload<'_> {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.0.is_loaded() && Instant::now() < deadline {
            // Fails while the module is held, and once it is gone.
            let _ = self.0.unload();
            thread::sleep(POLL);
        }
    }
}

/// A system call under way in a thread of its own.
struct Call {
    name: &'static str,
    done: Receiver<Result<(), Refusal>>,
    result: Option<Result<(), Refusal>>,
}

impl Call {
    fn start(
        name: &'static str,
        work: impl FnOnce() -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Self, HoldError> {
        let (send, done) = mpsc::channel();
        thread::Builder::new()
            .name("hold".to_owned())
            .spawn(move || {
                // Whoever waited may have given up.
                let _ = send.send(work());
            })
            .map_err(io("starting a thread"))?;
        Ok(Self {
            name,
            done,
            result: None,
        })
    }

    /// What it came to, if it is over.
    fn ended(&mut self) -> Option<Result<(), Refusal>> {
        if self.result.is_none() {
            self.result = self.done.try_recv().ok();
        }
        self.result.clone()
    }

    /// Whether it is over and has failed: then nothing is to be waited for.
    fn has_failed(&mut self) -> bool {
        self.ended().is_some_and(|result| result.is_err())
    }

    /// Waits for it.
    fn finished(&mut self) -> Result<Result<(), Refusal>, HoldError> {
        if let Some(result) = self.ended() {
            return Ok(result);
        }
        // Longer than any hold of `observe_all`.
        let patience = PATIENCE + HOLD * 4_u32.pow(TRIES);
        let result = (self.done.recv_timeout(patience))
            .map_err(|_| HoldError::Stuck(self.name, patience))?;
        self.result = Some(result.clone());
        Ok(result)
    }
}

fn tainted() -> Result<u64, HoldError> {
    let path = "/proc/sys/kernel/tainted";
    let text = fs::read_to_string(path).map_err(io(path))?;
    text.trim().parse().map_err(|_| HoldError::Io {
        what: format!("{path} says `{}`", text.trim()),
        source: Errno::EINVAL.into(),
    })
}
