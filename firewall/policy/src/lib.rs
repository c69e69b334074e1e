//! Classification, client and facts to a decision; sees no values.
//!
//! `classification.yaml` is read twice: `raw` is the file as written (serde, line and column kept), [`Policy`] is the
//! file as understood. `bind` lays it over a catalog snapshot; [`decide`] answers for one client and one statement.

pub mod decide;
pub mod handling;

pub use decide::{ClientPolicy, Decision, Refusal};
pub use handling::{Handling, Mask};
