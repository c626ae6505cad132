//! The JSON Schema of the report, from the types.

use schemars::Schema;

use crate::model::{Report, SCHEMA};

/// The schema of the report that this version writes.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Report);
    schema.insert(
        "$id".to_owned(),
        format!("urn:{}", SCHEMA.replace('/', ":")).into(),
    );
    schema
}
