//! What is changed on the way to the client: rows, their descriptions, diagnostics.

mod array;
mod describe;
mod diagnostic;
mod row;
mod value;

pub(crate) use describe::{Judge, RowDecision, RowPlan, adjusted_description, decide_rows, disagreement};
pub(crate) use diagnostic::{names_labelled_relation, rebuilt};
pub(crate) use row::rewrite_row;
