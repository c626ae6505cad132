//! `modrace lab`: builds, lists and removes lab kernels.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Subcommand;

use super::ui::{BuildBar, Ui};
use crate::lab::{DEBIAN_TARBALL, KernelState, LAB_KERNELS, LabKernel};
use crate::model::ExitCode;
use crate::race::races::RaceRow;
use crate::session::Failure;
use crate::session::lab::{self, LabEvent, LabRequest};

/// Build kernels with and without the fix, to race them in VMs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(BuildArgs),
    List(ListArgs),
    Remove(RemoveArgs),
}

/// Build lab kernels; those that are built already are left as they are
#[derive(Debug, clap::Args)]
#[command(after_help = build_help())]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
struct BuildArgs {
    /// Which of modrace's lab kernels
    #[arg(required_unless_present_any = ["name", "race"], conflicts_with = "name")]
    kernels: Vec<String>,

    /// The lab kernels of this race's pair, from `modrace list races`
    #[arg(long, value_name = "NAME", value_parser = super::args::race, conflicts_with = "name")]
    race: Option<&'static RaceRow>,

    /// Kernel source: a folder or a tarball
    #[arg(long, value_name = "DIR|TARBALL", default_value = DEBIAN_TARBALL)]
    source: PathBuf,

    /// Build a kernel of your own under this name instead
    #[arg(long)]
    name: Option<String>,

    /// With --name: apply this patch; may be given several times
    #[arg(long, value_name = "FILE", requires = "name")]
    patch: Vec<PathBuf>,

    /// With --name: take the fix out, wherever this source has `free_module()`
    #[arg(long, requires = "name")]
    without_fix: bool,

    /// With --name: lay this fragment over the lab's configuration; may be
    /// given several times
    #[arg(long, value_name = "FILE", requires = "name")]
    config: Vec<PathBuf>,

    /// With debug information, which decodes traces and opens cores: NAME
    /// becomes lab:NAME-debug-info
    #[arg(long, conflicts_with = "race")]
    debug_info: bool,

    /// The compiler, as gcc-11 [default: gcc]
    #[arg(long, value_name = "PROGRAM")]
    cc: Option<String>,

    /// Jobs that make runs at a time [default: one per CPU]
    #[arg(long, short)]
    jobs: Option<NonZero<u32>>,

    /// Compile every object anew, even where another lab kernel has the same
    #[arg(long)]
    from_nothing: bool,

    /// Say nothing but failures
    #[arg(long, short)]
    quiet: bool,
}

/// List the lab kernels, built or not
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Remove lab kernels from the cache, and sources that no kernel needs
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Their names
    #[arg(required = true)]
    kernels: Vec<String>,
}

fn build_help() -> String {
    let rows = LAB_KERNELS
        .iter()
        .map(|row| format!("  {:<18}  {}", row.name, row.help));
    std::iter::once("Lab kernels:".to_owned())
        .chain(rows)
        .collect::<Vec<_>>()
        .join("\n")
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Build(args) => build(args, &ui.quiet(args.quiet))?,
        Command::List(args) => list(args, ui)?,
        Command::Remove(args) => lab::remove(&args.kernels, &mut |path| {
            ui.note(&format!("removed {}", path.display()));
        })?,
    }
    Ok(ExitCode::Survived)
}

/// Builds kernels, with progress on stderr and their paths on stdout.
fn build(args: &BuildArgs, ui: &Ui) -> Result<(), Failure> {
    let pair = args.race.map_or_else(Vec::new, |row| row.pair.kernels());
    let names = args.kernels.iter().map(String::as_str).chain(pair);
    let request = LabRequest {
        kernels: names.map(str::to_owned).collect(),
        name: args.name.clone(),
        patches: args.patch.clone(),
        without_fix: args.without_fix,
        fragments: args.config.clone(),
        source: args.source.clone(),
        debug_info: args.debug_info,
        compiler: args.cc.clone(),
        jobs: args.jobs,
        from_nothing: args.from_nothing,
    };
    let mut bar = None;
    lab::build(&request, &mut |event| match event {
        LabEvent::Started(name) => bar = Some(BuildBar::new(ui, name)),
        LabEvent::Build(event) => {
            if let Some(bar) = &mut bar {
                bar.event(event);
            }
        }
        LabEvent::Ended => bar = None,
        LabEvent::Ready { kernel, took_s } => ready(kernel, took_s, ui),
    })
}

fn ready(kernel: &LabKernel, took_s: Option<u64>, ui: &Ui) {
    let (name, release) = (&kernel.manifest.name, &kernel.manifest.release);
    let how = match took_s {
        Some(took_s) => format!("built in {took_s} s"),
        None => "already built".to_owned(),
    };
    ui.note(&format!("{name}: {release}, {how}"));
    ui.result(&format!("lab:{name}\t{}\n", kernel.path.display()));
}

fn list(args: &ListArgs, ui: &Ui) -> Result<(), Failure> {
    let built = lab::kernels()?;
    if args.json {
        ui.result(&(json(&built)? + "\n"));
        return Ok(());
    }
    let mut rows = vec![["NAME", "STATE", "RELEASE", "KEY", "SIZE", "PATH"].map(str::to_owned)];
    for row in LAB_KERNELS {
        if !built.iter().any(|kernel| kernel.manifest.name == row.name) {
            let state = KernelState::Absent.as_str();
            rows.push([row.name, state, "-", "-", "-", "-"].map(str::to_owned));
        }
    }
    for kernel in &built {
        rows.push([
            kernel.manifest.name.clone(),
            kernel.state().as_str().to_owned(),
            kernel.manifest.release.clone(),
            kernel.manifest.key.clone(),
            format!("{} MiB", kernel.disk_bytes() >> 20),
            kernel.path.display().to_string(),
        ]);
    }
    ui.result(&table(&rows));
    Ok(())
}

/// Columns as wide as their widest cell; the last as it comes.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn json(built: &[LabKernel]) -> serde_json::Result<String> {
    let absent = LAB_KERNELS
        .iter()
        .filter(|row| !built.iter().any(|kernel| kernel.manifest.name == row.name))
        .map(|row| serde_json::json!({ "name": row.name, "state": KernelState::Absent.as_str() }));
    let built = built.iter().map(|kernel| {
        serde_json::json!({
            "name": kernel.manifest.name,
            "state": kernel.state().as_str(),
            "path": kernel.path,
            "image": kernel.image(),
            "kdir": kernel.kdir(),
            "disk_bytes": kernel.disk_bytes(),
            "manifest": kernel.manifest,
        })
    });
    serde_json::to_string_pretty(&built.chain(absent).collect::<Vec<_>>())
}
