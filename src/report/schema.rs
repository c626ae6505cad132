//! The JSON Schema of the report, from the types.

use schemars::Schema;

use crate::model::{Report, SCHEMA};

/// What two runs with one seed and one command may differ in, as JSON pointers
/// with `*` for any index: the time, where files lie, and what was measured. All
/// else is the same. Said in the schema as `x-volatile`.
pub const VOLATILE: &[&str] = &[
    "/verdict",
    "/verdict_reason",
    "/assurance",
    "/run_id",
    "/complete",
    "/started",
    "/updated",
    "/command",
    "/environment/knobs/*/restored",
    "/trials/*/start",
    "/trials/*/outcome",
    "/trials/*/reason",
    "/trials/*/exposure_s",
    "/trials/*/prepared_s",
    "/trials/*/cycles",
    "/trials/*/reads",
    "/trials/*/time_to_crash_s",
    "/trials/*/cycles_to_crash",
    "/trials/*/cycles_to_crash_bounds",
    "/trials/*/phase",
    "/trials/*/crash",
    "/trials/*/at_panic",
    "/trials/*/vmcore",
    "/trials/*/warnings",
    "/trials/*/counters",
    "/trials/*/aim",
    "/trials/*/signals",
    "/trials/*/notes",
    "/trials/*/console",
    "/trials/*/wall_s",
    "/stats",
];

/// The schema of the report that this version writes.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Report);
    schema.insert(
        "$id".to_owned(),
        format!("urn:{}", SCHEMA.replace('/', ":")).into(),
    );
    schema.insert("x-volatile".to_owned(), VOLATILE.into());
    schema
}
