//! How trials start: by a boot each, or as clones of templates. `proof` decides
//! for `auto`; `templates` makes them and has the next one ready in time.

mod proof;
mod templates;

pub(super) use proof::Proof;
pub(super) use templates::{Made, Maker, Saved, Templates};
