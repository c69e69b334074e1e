//! SQL text and a catalog snapshot to facts; knows no policy.
//!
//! Two parsers look at every statement that matters. libpg_query, the server's own grammar, arbitrates
//! (`arbiter`): where statements begin and end, what kind they are, and which relations, columns, whole
//! rows and functions occur anywhere in them. `sqlparser` then explains (`lineage`) what becomes of the labelled columns,
//! and must account for every occurrence that the arbiter counted. What is not accounted for is a
//! [`facts::Violation`], never a pass.

mod arbiter;
mod bodies;
pub mod builtin;
pub mod catalog;
pub mod dump;
pub mod facts;
mod fingerprint;
mod found;
pub mod functions;
mod lineage;
pub mod names;
mod parse;
mod reach;
mod resolve;
pub mod script;
pub mod settings;
mod statement;
mod template;
pub mod views;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use arbiter::{MAX_DEPTH, MAX_TEXT, SyntaxError};
pub use catalog::{Catalog, Column, ColumnId, LabelId, Relation, text_hash};
pub use facts::{Analysis, Statement};
pub use fingerprint::{fingerprint, literals, shape};
pub use names::SessionNames;
pub use reach::Reached;
pub use template::Template;

/// What every statement of `text` reads, writes, computes and returns.
///
/// `session` holds the names that this session created since the snapshot; they carry nothing labelled.
pub fn analyse(text: &str, catalog: &Catalog, session: &SessionNames) -> Result<Analysis, SyntaxError> {
    // What the first statements make is the session's own for the others.
    let mut session = std::borrow::Cow::Borrowed(session);
    let work = || {
        arbiter::statements(text, |seen| {
            let statement = statement::judge(text, seen, catalog, &session);
            if let facts::Effect::Catalog { creates } = &statement.effect {
                creates.iter().for_each(|created| session.to_mut().add(created));
            }
            statement
        })
    };
    // Neither parser is ours: if one of them should panic, this text is refused, and no more.
    let statements = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(SyntaxError::unreadable()))?;
    Ok(Analysis {
        statements: if statements.is_empty() { vec![statement::empty(text.len())] } else { statements },
        setting_dependent: setting_dependent(text),
    })
}

/// A backslash, or a byte beyond ASCII, can read otherwise under other settings. (A backslash outside literals is
/// rare, so where it stands is not asked.)
fn setting_dependent(text: &str) -> bool {
    text.bytes().any(|byte| byte == b'\\' || byte >= 0x80)
}
