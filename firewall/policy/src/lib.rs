//! Classification, client and facts to a decision; sees no values.
//!
//! `classification.yaml` is read in steps: `node` is the YAML with its places, `raw` the file as written, [`Policy`] the
//! file as understood. [`bind`] lays it over a catalog snapshot; [`decide`] answers for one client and one statement.

mod bind;
mod budget;
mod carry;
mod decide;
mod detect;
mod error;
pub mod explain;
mod given;
mod handling;
mod kinds;
mod merge;
mod node;
mod policy;
mod raw;
mod refusal;
pub mod schema;

pub use bind::{Alert, Binding, Diagnostic, OpaqueView, Record, Severity, bind};
pub use budget::{Budgets, ClientBudget, Limit, Meter, Spent};
pub use carry::{Carrier, carrier};
pub use decide::{Allow, ClientPolicy, Decision, LabelPolicy, decide, effective_handling};
pub use detect::{Detect, Detectors};
pub use error::{ConfigError, Place};
pub use handling::{Handling, Mask};
pub use kinds::Word;
pub use policy::{ClientEntry, Policy, TRUSTED_EXTENSIONS, parse};
pub use raw::{BadToken, Declassify, Filter, Unclassified, Upstream};
pub use refusal::Refusal;
pub use schema::json_schema;
