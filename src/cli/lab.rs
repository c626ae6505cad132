//! `modrace lab`: builds, lists and removes lab kernels.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Subcommand;

use super::ui::{BuildBar, Ui};
use crate::build::cache::Cache;
use crate::lab::{
    BaseBuild, BuildSpec, Builder, DEBIAN_TARBALL, Fix, KernelState, LAB_KERNELS, LabKernel,
    LabKernelRow, NamedText, Source, Store,
};
use crate::model::ExitCode;
use crate::session::{Failure, stop};

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
struct BuildArgs {
    /// Which of modrace's lab kernels
    #[arg(required_unless_present = "name", conflicts_with = "name")]
    kernels: Vec<String>,

    /// Kernel source: a folder or a tarball
    #[arg(long, value_name = "DIR|TARBALL", default_value = DEBIAN_TARBALL)]
    source: PathBuf,

    /// Build a kernel of your own under this name instead
    #[arg(long)]
    name: Option<String>,

    /// With --name: apply this patch; may be given several times
    #[arg(long, value_name = "FILE", requires = "name")]
    patch: Vec<PathBuf>,

    /// With --name: take the fix out, wherever this source has free_module()
    #[arg(long, requires = "name")]
    without_fix: bool,

    /// With --name: lay this fragment over the lab's configuration; may be
    /// given several times
    #[arg(long, value_name = "FILE", requires = "name")]
    config: Vec<PathBuf>,

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
    let cache = Cache::from_env()?;
    match &args.command {
        Command::Build(args) => build(args, &cache, &Ui::new().quiet(args.quiet)),
        Command::List(args) => list(args, &cache, ui),
        Command::Remove(args) => remove(args, &cache, ui),
    }
}

fn build(args: &BuildArgs, cache: &Cache, ui: &Ui) -> Result<ExitCode, Failure> {
    let recipes = recipes(args)?;
    let cancel = stop::on_signals()?;
    let source = Source::open(&args.source, &cancel)?;
    let builder = Builder {
        cache,
        source: &source,
        jobs: args.jobs,
        base: if args.from_nothing {
            BaseBuild::Nothing
        } else {
            BaseBuild::Any
        },
        cancel: &cancel,
    };
    for build_spec in recipes {
        build_one(&build_spec, &builder, ui)?;
    }
    Ok(ExitCode::Survived)
}

/// Builds one kernel, with progress on stderr and its path on stdout.
fn build_one(build_spec: &BuildSpec, builder: &Builder<'_>, ui: &Ui) -> Result<(), Failure> {
    let started = Instant::now();
    let mut bar = BuildBar::new(ui, &build_spec.name);
    let built = builder.build(build_spec, &mut |event| bar.event(event));
    drop(bar);
    let (kernel, new) = built?;
    let release = &kernel.manifest.release;
    if new {
        let took = started.elapsed().as_secs();
        ui.note(&format!(
            "{}: {release}, built in {took} s",
            build_spec.name
        ));
    } else {
        ui.note(&format!("{}: {release}, already built", build_spec.name));
    }
    ui.result(&format!(
        "lab:{}\t{}\n",
        build_spec.name,
        kernel.path.display()
    ));
    Ok(())
}

fn recipes(args: &BuildArgs) -> Result<Vec<BuildSpec>, Failure> {
    if let Some(name) = &args.name {
        let (fragments, patches) = (texts(&args.config)?, texts(&args.patch)?);
        let fix = if args.without_fix {
            Fix::TakenOut
        } else {
            Fix::AsItIs
        };
        let build_spec = BuildSpec::custom(name, fragments, fix, patches)?;
        return Ok(vec![build_spec]);
    }
    args.kernels.iter().map(|name| row_recipe(name)).collect()
}

fn row_recipe(name: &str) -> Result<BuildSpec, Failure> {
    // As it is written everywhere else.
    let name = name.strip_prefix("lab:").unwrap_or(name);
    let row = LabKernelRow::find(name).ok_or_else(|| {
        let error = format!("`{name}` is not one of modrace's lab kernels");
        Failure::usage(error).hint(format!(
            "they are {}; to build your own tree: --name {name} --source DIR",
            known_names()
        ))
    })?;
    Ok(row.build_spec())
}

fn known_names() -> String {
    let names: Vec<_> = LAB_KERNELS.iter().map(|row| row.name).collect();
    names.join(", ")
}

fn texts(paths: &[PathBuf]) -> Result<Vec<NamedText>, Failure> {
    paths.iter().map(|path| text(path)).collect()
}

fn text(path: &Path) -> Result<NamedText, Failure> {
    let bytes = fs::read(path).map_err(|error| {
        let text = format!("cannot read {}: {error}", path.display());
        Failure::usage(text)
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(NamedText::new(name.to_string_lossy(), bytes))
}

fn list(args: &ListArgs, cache: &Cache, ui: &Ui) -> Result<ExitCode, Failure> {
    let built = Store::new(cache).kernels();
    if args.json {
        let text = json(&built)?;
        ui.result(&(text + "\n"));
        return Ok(ExitCode::Survived);
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
    Ok(ExitCode::Survived)
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

fn remove(args: &RemoveArgs, cache: &Cache, ui: &Ui) -> Result<ExitCode, Failure> {
    let cancel = stop::on_signals()?;
    let store = Store::new(cache);
    for name in &args.kernels {
        let name = name.strip_prefix("lab:").unwrap_or(name);
        let removed = store.remove(name, &cancel)?;
        if removed.is_empty() {
            let error = format!("no lab kernel `{name}` is built");
            return Err(Failure::usage(error).hint("modrace lab list shows which are"));
        }
        for path in removed {
            ui.note(&format!("removed {}", path.display()));
        }
    }
    Ok(ExitCode::Survived)
}
