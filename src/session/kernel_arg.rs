//! The KERNEL argument: what may be typed, and what it resolves to. Every
//! failure names what was looked for and the way out.

use std::fs;
use std::path::{Path, PathBuf};

use super::exit::Failure;
use crate::build::boot_image::BootImage;
use crate::build::cache::Cache;
use crate::build::kbuild::Kdir;
use crate::lab::{LabKernelRow, Store};

/// What KERNEL may be, for help texts.
pub const KERNEL_HELP: &str = "lab:NAME, a kernel build tree, an installed release such as \
     6.1.0-56-cloud-amd64, or BZIMAGE[,KDIR]";

/// A kernel that can be booted and raced.
#[derive(Clone, Debug)]
pub struct KernelUnderTest {
    /// As named on the command line.
    pub name: String,
    /// The boot image.
    pub image: PathBuf,
    /// The build tree to build the dummy module against; without one a
    /// prebuilt module is needed.
    pub kdir: Option<PathBuf>,
    /// Its configuration, where there is one.
    pub config: Option<PathBuf>,
    /// For a lab kernel: what it was built from.
    pub provenance: Option<String>,
}

/// Finds the kernel that an argument names.
pub fn resolve(text: &str, cache: &Cache) -> Result<KernelUnderTest, Failure> {
    if let Some(name) = text.strip_prefix("lab:") {
        return lab_kernel(text, name, cache);
    }
    if let Some((image, kdir)) = text.split_once(',') {
        return image_and_kdir(text, Path::new(image), Some(Path::new(kdir)));
    }
    let path = Path::new(text);
    if path.is_dir() {
        return build_tree(text, path);
    }
    if path.is_file() || text.contains('/') {
        return image_and_kdir(text, path, None);
    }
    installed(text, Path::new("/"), cache)
}

fn lab_kernel(text: &str, name: &str, cache: &Cache) -> Result<KernelUnderTest, Failure> {
    let store = Store::new(cache);
    let Some(kernel) = store.find(name) else {
        let outdated = store
            .kernels()
            .iter()
            .any(|kernel| kernel.manifest.name == name);
        if LabKernelRow::find(name).is_none() {
            let error = format!("{text}: there is no lab kernel `{name}`");
            return Err(Failure::usage(error).hint(
                "modrace lab list shows which there are; modrace lab build --name builds more",
            ));
        }
        let state = if outdated {
            "was built by another modrace in another way"
        } else {
            "is not built"
        };
        let error = format!("{text}: the lab kernel `{name}` {state}");
        return Err(Failure::unsupported(error).hint(format!("modrace lab build {name}")));
    };
    let mut found = image_and_kdir(text, &kernel.image(), Some(&kernel.kdir()))?;
    found.provenance = Some(kernel.manifest.provenance());
    Ok(found)
}

fn build_tree(text: &str, tree: &Path) -> Result<KernelUnderTest, Failure> {
    let image = ["arch/x86/boot/bzImage", "arch/x86_64/boot/bzImage"]
        .into_iter()
        .map(|below| tree.join(below))
        .find(|path| path.is_file());
    let Some(image) = image else {
        let error = format!("{text}: no arch/x86/boot/bzImage in it");
        return Err(Failure::usage(error)
            .hint("build it with `make bzImage modules`, or name BZIMAGE,KDIR"));
    };
    image_and_kdir(text, &image, Some(tree))
}

/// An installed kernel, or one that `scripts/fetch-stock-kernel` put beside the
/// lab's without installing it.
fn installed(release: &str, root: &Path, cache: &Cache) -> Result<KernelUnderTest, Failure> {
    let fetched = cache.root().join("stock").join(release).join("boot");
    let boot = [root.join("boot"), fetched]
        .into_iter()
        .find(|boot| boot.join(format!("vmlinuz-{release}")).is_file())
        .unwrap_or(root.join("boot"));
    let image = boot.join(format!("vmlinuz-{release}"));
    let kdir = root.join("lib/modules").join(release).join("build");
    if !image.is_file() {
        let known = installed_releases(root);
        let error = format!(
            "{release}: no such kernel; there is no {}, and no file or folder of that name",
            image.display()
        );
        let known = if known.is_empty() {
            "no kernel is installed here".to_owned()
        } else {
            format!("installed here: {}", known.join(", "))
        };
        return Err(Failure::usage(error).hint(format!(
            "{known}; on Debian: apt-get install linux-image-{release} linux-headers-{release}; \
             otherwise give {KERNEL_HELP}"
        )));
    }
    if !kdir.is_dir() {
        let error = format!("{release}: its headers are missing ({})", kdir.display());
        return Err(Failure::unsupported(error).hint(format!(
            "on Debian: apt-get install linux-headers-{release}"
        )));
    }
    let mut found = image_and_kdir(release, &image, Some(&kdir))?;
    let config = boot.join(format!("config-{release}"));
    if config.is_file() {
        found.config = Some(config);
    }
    Ok(found)
}

fn installed_releases(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(root.join("boot"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix("vmlinuz-")?.to_owned())
        })
        .collect();
    found.sort();
    found
}

/// Checks that the image is one, that KDIR is one, and that they belong
/// together: a module for another kernel would only fail in the guest.
fn image_and_kdir(
    text: &str,
    image: &Path,
    kdir: Option<&Path>,
) -> Result<KernelUnderTest, Failure> {
    let header = BootImage::open(image)?;
    let kdir = kdir.map(Kdir::open).transpose()?;
    if let (Some(kdir), Some(release)) = (&kdir, &header.release)
        && kdir.release() != release
    {
        let error = format!(
            "{} is the kernel {release}, but {} builds modules for {}",
            image.display(),
            kdir.path().display(),
            kdir.release()
        );
        return Err(Failure::usage(error)
            .hint("give the KDIR of this very kernel, or build the tree again"));
    }
    // QEMU is started in another folder.
    let image = fs::canonicalize(image)?;
    Ok(KernelUnderTest {
        name: text.to_owned(),
        image,
        config: kdir.as_ref().map(|kdir| kdir.path().join(".config")),
        kdir: kdir.map(|kdir| kdir.path().to_owned()),
        provenance: None,
    })
}
