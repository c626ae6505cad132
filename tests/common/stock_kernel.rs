//! Debian's stock kernel as `scripts/fetch-stock-kernel` brings it: the one place
//! where tests look for it.

use std::fs;
use std::path::{Path, PathBuf};

use modrace::build::cache::Cache;

/// The newest stock kernel of which both the image and the headers are here.
pub(crate) fn stock_release() -> String {
    let fetched = Cache::from_env().unwrap().root().join("stock");
    let has_image = |release: &str| {
        let name = format!("vmlinuz-{release}");
        Path::new("/boot").join(&name).is_file()
            || fetched.join(release).join("boot").join(&name).is_file()
    };
    let installed = fs::read_dir("/lib/modules").into_iter().flatten().flatten();
    installed
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|release| release.ends_with("-cloud-amd64") && stock_kdir(release).is_dir())
        .filter(|release| has_image(release))
        .max()
        .unwrap_or_else(|| {
            panic!(
                "no stock kernel with image and headers in /boot, {} and /lib/modules; get it: \
                 scripts/install-deps --test",
                fetched.display()
            )
        })
}

/// Its build tree.
pub(crate) fn stock_kdir(release: &str) -> PathBuf {
    Path::new("/lib/modules").join(release).join("build")
}
