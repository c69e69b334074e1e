//! What is changed on the way to the client: rows, their descriptions, COPY data, diagnostics.

mod array;
mod copy;
mod describe;
mod desk;
mod detect;
mod diagnostic;
mod messages;
mod origin;
mod row;
mod value;

pub(crate) use copy::{CopyRewriter, is_ambiguous};
pub(crate) use describe::{Judge, RowDecision, RowPlan, adjusted_description, decide_rows};
pub(crate) use desk::{Desk, Stop};
pub(crate) use detect::blocks;
pub(crate) use diagnostic::{is_of_the_text, names_labelled_relation, rebuilt};
pub(crate) use origin::disagreement;
pub(crate) use row::{rewrite_row, watch_row};
