//! What is built and unpacked before a race: module files by Kbuild, module
//! images, kernel images and configurations, the compression that they come in,
//! and the cache that keeps them. Nothing here talks to the running kernel.

pub mod boot_image;
pub mod cache;
pub mod compression;
pub mod config;
pub mod kbuild;
pub mod make;
mod make_error;
pub mod module_image;
pub mod module_tree;
pub mod programs;
pub mod toolchain;
mod zstd_frames;
