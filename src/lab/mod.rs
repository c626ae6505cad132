//! Lab kernels: built from source with or without a patch, kept in the cache,
//! found by name. Two kernels of one source differ by what their recipes say
//! and by nothing else. It boots nothing and judges nothing.

mod build;
mod build_spec;
mod configure;
mod error;
mod link_tree;
mod patch;
mod source;
mod store;
mod table;
mod tools;
mod tree;
mod unformed_lock;

pub use build::{BaseBuild, BuildEvent, Builder, Stage};
pub use build_spec::{BuildSpec, Fix, NamedText};
pub use error::LabError;
pub use source::{DEBIAN_TARBALL, Source};
pub use store::{KernelState, LabKernel, Manifest, Store};
pub use table::{LAB_KERNELS, LabKernelRow, debug_info_fragment, with_debug_info};
pub use tools::{BUILD_NEEDS, Need, missing_needs, package_of};
