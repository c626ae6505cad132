//! A trial as the machine itself does it: make sure that the module is fit to
//! be raced, race it for its time, look at the kernel once more. The same code
//! runs as PID 1 of a guest and on a bare machine.

mod aftermath;
mod blocked_tasks;
mod gate;
mod leaks;
mod modules;
mod scene;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use self::aftermath::aftermath;
use self::gate::{Start, told_files};
use self::leaks::LeakWatch;
use self::modules::{Background, copy, try_module};
use self::scene::Scene;
use crate::build::module_image::ModuleImage;
use crate::kernel::module::{BACKGROUND, ModuleFile};
use crate::kernel::preflight::taint;
use crate::kernel::unload::{self, unload_patiently};
use crate::kernel::{affinity, clock};
use crate::model::{Accel, BadLine, LoadedModule, Settings, Tunable};
use crate::procfs::cpus::CpuList;
use crate::race::action::Actions;
use crate::race::targets;
use crate::race::{Placement, Race, RaceError, RaceSpec};
use crate::recorder::{Phase, RECORDER_MAGIC, Recorder, Stage};
use crate::vm::protocol::{BEFORE_PATH, Ending, Finished, GuestMessage, TrialPlan};

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(20);
/// Longest wait for the workers after the race.
const PATIENCE: Duration = Duration::from_secs(15);
/// Shares of the race's time after which a driver's leaks are looked for, and once
/// more at its end.
const LOOKS: &[f64] = &[0.2, 0.6];

/// Why there was no race, or no result of one.
struct Unfit {
    ending: Ending,
    reason: String,
}

fn unsupported(reason: impl Into<String>) -> Unfit {
    Unfit {
        ending: Ending::Unsupported,
        reason: reason.into(),
    }
}

fn broken(reason: impl Into<String>) -> Unfit {
    Unfit {
        ending: Ending::Broken,
        reason: reason.into(),
    }
}

/// Performs one trial. `module` is the file to race; `folder` takes the copies
/// of it under other names. `say` is told what happens.
pub fn perform(
    plan: &TrialPlan,
    module: &Path,
    folder: &Path,
    recorder: &'static Recorder,
    stop: &AtomicBool,
    say: &mut dyn FnMut(GuestMessage),
) {
    recorder.magic.store(RECORDER_MAGIC, Ordering::Relaxed);
    recorder.enter(Phase::Setup);
    beat(recorder);
    let longest_ms = Arc::new(AtomicU64::new(0));
    let limits = blocked_limits(plan.settings.accel, Arc::clone(&longest_ms));
    blocked_tasks::watch(recorder, limits);
    let taint_before = taint();
    let mut found = Found {
        longest_ms,
        ..Found::default()
    };
    let ended = run(plan, module, folder, recorder, stop, &mut found, say);
    let (ending, reason) = match ended {
        Ok(()) => (Ending::Survived, String::new()),
        Err(unfit) => (unfit.ending, unfit.reason),
    };
    let seen = recorder.snapshot();
    say(GuestMessage::Finished(Box::new(Finished {
        ending,
        reason,
        raced_s: seen.raced_s(),
        cycles: seen.cycles,
        reads: seen.reads,
        counters: seen.counters,
        taint_before,
        taint_after: taint(),
        tunables: found.tunables,
        bad_lines: found.bad_lines,
        leaks: found.leaks,
    })));
    recorder.enter(Phase::Done);
}

/// What a race leaves to be told, however it ended.
#[derive(Default)]
struct Found {
    /// See [`blocked_tasks::Limits::longest_ms`].
    longest_ms: Arc<AtomicU64>,
    tunables: Vec<Tunable>,
    bad_lines: Vec<BadLine>,
    leaks: Vec<String>,
}

impl Found {
    /// A load or unload of the set-up took so long.
    fn took(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.longest_ms.fetch_max(ms, Ordering::Relaxed);
    }
}

/// Waits until the race's time is over. True if a worker gave up before.
fn wait(
    duration: Duration,
    recorder: &Recorder,
    stop: &AtomicBool,
    mut leaks: Option<&mut LeakWatch>,
) -> bool {
    let start = Instant::now();
    let deadline = start + duration;
    let mut looks = LOOKS
        .iter()
        .map(|share| duration.mul_f64(*share))
        .peekable();
    let mut quit_early = false;
    while Instant::now() < deadline && !stop.load(Ordering::Relaxed) && !quit_early {
        thread::sleep(HEARTBEAT.min(deadline.saturating_duration_since(Instant::now())));
        quit_early = recorder.snapshot().stages.contains(&Stage::Ended);
        if let (Some(leaks), true) = (
            &mut leaks,
            looks.next_if(|&at| start.elapsed() >= at).is_some(),
        ) {
            leaks.look(|| recorder.cycles());
        }
    }
    quit_early
}

fn run(
    plan: &TrialPlan,
    module: &Path,
    folder: &Path,
    recorder: &'static Recorder,
    stop: &AtomicBool,
    found: &mut Found,
    say: &mut dyn FnMut(GuestMessage),
) -> Result<(), Unfit> {
    let settings = &plan.settings;
    let scene = Scene::set(settings, Path::new(BEFORE_PATH))?;
    let target = match &scene {
        // It has targets of its own.
        Some(_) => &targets::TARGETS[0],
        None => targets::named(&settings.target)
            .ok_or_else(|| broken(format!("no target {} is known here", settings.target)))?,
    };
    let image = ModuleImage::open(module).map_err(|error| broken(format!("{error}")))?;
    let copies = |prefix: &str, count: u32| -> Result<Vec<ModuleFile>, Unfit> {
        (0..count)
            .map(|index| copy(&image, prefix, index, folder))
            .collect()
    };
    let wanted = scene
        .as_ref()
        .map_or(settings.loaders, |scene| scene.modules(settings.loaders));
    let mut raced = copies(image.name(), wanted)?;
    let guest = settings.accel != Accel::None;
    let mut leaks = settings.driver.as_ref().map(|_| LeakWatch::begin(guest));
    let (mut taints, mut actions) = (String::new(), None);
    let first_load_ns = clock::monotonic_ns();
    if let Some(scene) = &scene {
        let start = Instant::now();
        let (letters, course) = scene.rehearse(&mut raced)?;
        found.took(start.elapsed());
        (taints, actions) = (letters, Some(course));
    } else {
        for module in &mut raced {
            let start = Instant::now();
            taints = try_module(module, image.vermagic(), settings.oracle, target)?;
            found.took(start.elapsed());
        }
    }
    say(GuestMessage::Module(LoadedModule {
        taints: taints.clone(),
        rewritten: raced.iter().any(ModuleFile::is_rewritten),
    }));

    let names: Vec<String> = raced
        .iter()
        .map(|module| module.name().to_owned())
        .collect();
    let background = Background::load(copies(BACKGROUND, settings.background_modules)?)?;
    let cpus = seats(&settings.cpus)?;
    let spec = RaceSpec {
        target,
        strategy: settings.strategy,
        actions,
        chaos: settings.chaos.clone(),
        placement: Placement::new(settings.strategy, settings.loaders, settings.readers, &cpus),
        arms: settings.arms.clone(),
        modules: raced,
        taints,
        seed: plan.seed,
        guest,
    };
    let files = spec.actions.as_ref().map(told_files).unwrap_or_default();
    let mut starting = Start::new(plan, recorder, first_load_ns, files, say);
    let started = Race::start(spec, recorder, &mut starting);
    let duration = starting.duration;
    found.tunables = starting.tunables;
    let race = started.map_err(|error| match error {
        RaceError::NoProgram(_) => unsupported(error.to_string()),
        _ => broken(error.to_string()),
    })?;

    let quit_early = wait(duration, recorder, stop, leaks.as_mut());
    found.bad_lines = race.bad_lines();
    let (restored, stuck) = race.end(PATIENCE);
    found.tunables = restored;
    if quit_early {
        let errno = recorder.snapshot().counters.errors.last_errno.unwrap_or(0);
        let errno = i32::try_from(errno).map_or(Errno::UnknownErrno, Errno::from_raw);
        return Err(broken(format!("a worker gave up in mid-race: {errno}")));
    }
    if let Some(stage) = stuck.first() {
        return Err(Unfit {
            ending: Ending::Hung,
            reason: format!(
                "{} of the workers did not come back within {} s of the race's end, one is {}",
                stuck.len(),
                PATIENCE.as_secs(),
                stage.as_str()
            ),
        });
    }
    // Whoever held one at the last unload has let it go by now.
    for name in &names {
        let _ = unload_patiently(name, unload::PATIENCE);
    }
    if let Some(mut leaks) = leaks {
        leaks.look(|| recorder.cycles());
        found.leaks = leaks.left(image.name());
    }
    drop(background);
    drop(scene);
    // One more look at the list: a mutex that nobody gives back shows here.
    fs::read("/proc/modules").map_err(|error| broken(format!("/proc/modules: {error}")))?;
    aftermath();
    Ok(())
}

/// What the calls of a race are made with, once its scene is set and its module
/// was tried; the scene stays. An error says why it cannot be raced.
pub fn rehearsed(settings: &Settings, module: &Path) -> Result<Actions, String> {
    let name = |error: &dyn std::fmt::Display| error.to_string();
    let image = ModuleImage::open(module).map_err(|error| name(&error))?;
    let file = ModuleFile::open(module, image.name()).map_err(|error| name(&error))?;
    let scene = Scene::set(settings, Path::new(BEFORE_PATH)).map_err(|unfit| unfit.reason)?;
    let Some(scene) = scene else {
        let target = targets::named(&settings.target)
            .ok_or_else(|| format!("no target {} is known here", settings.target))?;
        return Ok(Actions::of_target(target, image.name()));
    };
    let rehearsed = scene.rehearse(&mut [file]);
    let (_, actions) = rehearsed.map_err(|unfit| unfit.reason)?;
    std::mem::forget(scene);
    Ok(actions)
}

/// The CPUs that workers sit on: those asked for, or all that there are. The
/// calling thread keeps to them, and so do the workers and processes that come
/// from it: those of `as-reported` are pinned nowhere.
fn seats(asked: &[usize]) -> Result<Vec<usize>, Unfit> {
    let failed = |errno: Errno| broken(format!("affinity: {errno}"));
    let there_are = affinity::allowed_cpus().map_err(failed)?;
    if asked.is_empty() {
        return Ok(there_are);
    }
    if let Some(cpu) = asked.iter().find(|cpu| !there_are.contains(cpu)) {
        return Err(unsupported(format!(
            "--cpus {}: there is no CPU {cpu}, this kernel runs on CPUs {}",
            CpuList::from(asked),
            CpuList::from(&*there_are)
        )));
    }
    affinity::restrict_to(asked).map_err(failed)?;
    Ok(asked.to_vec())
}

/// When tasks count as blocked. On a machine with disks of its own a task may
/// wait for one.
fn blocked_limits(accel: Accel, longest_ms: Arc<AtomicU64>) -> blocked_tasks::Limits {
    let in_guest = accel != Accel::None;
    blocked_tasks::Limits {
        blocked: Duration::from_secs(if in_guest { 5 } else { 20 }),
        longest_ms,
        sysrq: in_guest,
    }
}

/// Counts heartbeats for as long as the process lives.
fn beat(recorder: &'static Recorder) {
    let beat = move || loop {
        recorder
            .heartbeat_ns
            .store(clock::monotonic_ns(), Ordering::Relaxed);
        recorder.heartbeat.fetch_add(1, Ordering::Relaxed);
        thread::sleep(HEARTBEAT);
    };
    // Without heartbeats the trial is taken for hung, which is the safe side.
    let _ = thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(beat);
}
