//! Machines one at a time, and how long each takes, seconds.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use modrace::recorder::Go;
use modrace::vm::protocol::Task;
use modrace::vm::{QmpEvent, SavableVm, Vm, VmEvent};

use crate::Failure;
use crate::kernel::Kernel;

/// Longest wait for anything that a machine does.
const PATIENCE: Duration = Duration::from_secs(120);

fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// QEMU as a person would type it, with the same kernel, initramfs and machine,
/// until the guest's init has powered it off.
pub(crate) fn by_hand(kernel: &Kernel, rounds: u32) -> Result<Vec<f64>, Failure> {
    let folder = tempfile::tempdir()?;
    let initrd = folder.path().join("initramfs");
    fs::write(
        &initrd,
        [kernel.base.to_vec(), kernel.plan(true, false)?].concat(),
    )?;
    let spec = &kernel.spec;
    (0..rounds)
        .map(|_| {
            let mut command = Command::new(kernel.qemu.path());
            command
                .args([
                    "-nodefaults",
                    "-no-reboot",
                    "-display",
                    "none",
                    "-serial",
                    "null",
                ])
                .args(["-accel", "tcg,thread=multi", "-cpu", "qemu64"])
                .args([
                    "-smp",
                    &spec.smp.to_string(),
                    "-m",
                    &spec.mem_mib.to_string(),
                ])
                .arg("-kernel")
                .arg(&spec.kernel)
                .arg("-initrd")
                .arg(&initrd)
                .args(["-append", &spec.cmdline()]);
            timed(|| ran(command))
        })
        .collect()
}

/// virtme-ng, if it is installed.
pub(crate) fn vng(kernel: &Kernel, rounds: u32) -> Result<Option<Vec<f64>>, Failure> {
    let there = Command::new("vng")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !there.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let times = (0..rounds).map(|_| {
        let mut command = Command::new("vng");
        command
            .args([
                "--disable-kvm",
                "--cpus",
                &kernel.spec.smp.to_string(),
                "--run",
            ])
            .arg(&kernel.spec.kernel)
            .args(["--", "true"]);
        timed(|| ran(command))
    });
    times.collect::<Result<_, _>>().map(Some)
}

fn ran(mut command: Command) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let program = command.get_program().to_string_lossy();
    Err(format!("{program}: {}: {said}", output.status).into())
}

/// Guests of modrace that only say that they run, until they are off.
pub(crate) fn boots(kernel: &Kernel, rounds: u32) -> Result<Vec<f64>, Failure> {
    let plan = kernel.plan(true, false)?;
    (0..rounds)
        .map(|_| {
            timed(|| {
                let vm = kernel.qemu.boot(&kernel.spec, &[&kernel.base, &plan])?;
                until(&vm, |event| {
                    matches!(event, VmEvent::Qmp(QmpEvent::Shutdown(_)))
                })
            })
        })
        .collect()
}

/// Times of templates and of their clones.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) at_gate: Vec<f64>,
    pub(crate) saved: Vec<f64>,
    pub(crate) clones: Vec<f64>,
}

/// Templates, and of each as many clones.
pub(crate) fn templates(kernel: &Kernel, rounds: u32) -> Result<Made, Failure> {
    let plan = kernel.plan(false, true)?;
    let mut made = Made::default();
    for _ in 0..rounds {
        let mut booted: Option<SavableVm> = None;
        made.at_gate.push(timed(|| {
            let machine = kernel
                .qemu
                .boot_to_save(&kernel.spec, &[&kernel.base, &plan])?;
            let deadline = Instant::now() + PATIENCE;
            while !machine.vm.recorder().is_held() {
                machine.vm.next_event(Duration::from_millis(2));
                if Instant::now() > deadline {
                    return Err("the guest did not come to the gate".into());
                }
            }
            booted = Some(machine);
            Ok(())
        })?);
        let start = Instant::now();
        let booted = booted.ok_or("no machine")?;
        let template = booted.save(&mut |_| {})?;
        made.saved.push(start.elapsed().as_secs_f64());
        for _ in 0..rounds {
            made.clones.push(timed(|| {
                let go = Go {
                    seed: 1,
                    duration: Duration::from_secs(60),
                    task: Task::Race.to_word(),
                };
                let vm = template.start(|page| page.go(go))?;
                until(&vm, |event| {
                    matches!(event, VmEvent::Qmp(QmpEvent::Resumed))
                })
            })?);
        }
    }
    Ok(made)
}

fn until(vm: &Vm, seen: impl Fn(&VmEvent) -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(event) = vm.last_events(deadline) {
        if seen(&event) {
            return Ok(());
        }
    }
    Err("the machine ended or stood still".into())
}
