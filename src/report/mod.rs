//! The report: one record, many forms. A file for each format over the same
//! record, and one table that feeds the help, `modrace list formats` and the
//! dispatch. Nothing here computes a statistic; that is `stats`.

mod at_panic;
mod check;
mod decoded;
mod evidence;
mod excerpt;
mod exploration;
mod forced;
pub mod found;
mod github;
mod html;
mod json;
mod junit;
mod kcidb;
mod ktap;
mod markdown;
mod merge;
mod metadata;
mod plot;
mod proof;
mod read;
mod schema;
mod show;
mod states;
mod summary;
mod text;
mod validate;
pub mod write;

use thiserror::Error;

pub use check::{check_schema, read_check, render_check, show_check};
pub use github::{annotations, step_summary};
pub use merge::{Differs, check_control, merge, with_control};
pub use plot::svg;
pub use read::{ReadError, read};
pub use schema::{VOLATILE, schema};
pub use show::show;
pub use states::states_text;
pub use summary::summary;
pub use validate::{Mismatch, validate};

pub use crate::verdict::format::seconds;

use crate::model::Report;

/// A form of the report.
#[derive(Debug)]
pub struct Format {
    /// The word for `--format`.
    pub name: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// Extension of a file in it, without the dot.
    pub extension: &'static str,
    render: fn(&Report) -> Result<String, RenderError>,
}

/// Every format.
pub const FORMATS: &[Format] = &[
    text::FORMAT,
    markdown::FORMAT,
    html::FORMAT,
    json::FORMAT,
    ktap::FORMAT,
    junit::FORMAT,
    kcidb::FORMAT,
    github::FORMAT,
];

/// Why a report could not be rendered.
#[derive(Debug, Error)]
pub enum RenderError {
    /// Its JSON could not be made.
    #[error("cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Its XML could not be made.
    #[error("cannot be written as JUnit XML")]
    Junit(#[from] quick_junit::SerializeError),
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// The report in this format.
    pub fn render(&self, report: &Report) -> Result<String, RenderError> {
        (self.render)(report)
    }
}
