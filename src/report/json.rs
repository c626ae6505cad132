//! Format `json`: the record itself. What is stored and what is rendered are
//! the same bytes for the same report.

use super::{Format, RenderError};
use crate::model::Report;

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "json",
    help: "the report itself",
    extension: "json",
    render,
};

fn render(report: &Report) -> Result<String, RenderError> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}
