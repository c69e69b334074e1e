//! SQL text and a catalog snapshot to facts; knows no policy.
//!
//! Two parsers look at every statement that matters. libpg_query, the server's own grammar, arbitrates
//! (`arbiter`): where statements begin and end, what kind they are, and which relations, columns, whole
//! rows and functions occur anywhere in them. `sqlparser` then explains (`shape`) where the labelled columns
//! stand, and must account for every occurrence that the arbiter counted. What is not accounted for is a
//! [`Violation`], never a pass.

pub mod builtin;
pub mod catalog;
pub mod facts;

pub use catalog::{Catalog, Column, ColumnId, LabelId, Relation};
pub use facts::{Analysis, Statement};
