//! The server's own grammar (libpg_query), and the one file that imports it.
//!
//! It says where statements begin and end, what kind they are, and which names occur anywhere in them.

mod children;
mod copy;
mod cost;
#[cfg(test)]
mod coverage;
mod ddl;
mod dml;
pub(crate) mod dump;
mod error;
mod query;
pub(crate) mod seen;
mod spots;
mod utility;
mod walk;

use pg_raw_parse::list::NodeList as List;
use pg_raw_parse::{ConstValue, Node, nodes, raw};

pub use error::SyntaxError;
pub(crate) use seen::Seen;
pub(crate) use spots::{Literal, spots};

/// Longer texts are refused: every byte of it is parsed, and a plan for it would never be used again.
pub const MAX_TEXT: usize = 64 << 20;
/// Deeper trees are refused where something labelled is reached (the second parser gets no deeper ones).
pub const MAX_DEPTH: usize = 256;
/// Deeper trees are not walked to their end, and refused.
const MAX_WALK: usize = 4_000;
/// More relations in a statement that reaches something labelled are refused: what they are to each other takes time.
pub(crate) const MAX_RELATIONS: usize = 256;
/// The server takes no longer select list.
pub(crate) const MAX_TARGETS: usize = 1_664;
/// The tree is walked by recursion, and dropped by recursion in the second parser.
const STACK_RED_ZONE: usize = 96 << 10;
const STACK_SEGMENT: usize = 4 << 20;
/// What the second parser takes, and takes for each level.
const FRAMES: usize = 256 << 10;
const FRAME: usize = 16 << 10;
const TERM: usize = 1 << 10;

/// Runs `work` where the stack suffices for another level of recursion.
pub(crate) fn with_stack<R>(work: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(STACK_RED_ZONE, STACK_SEGMENT, work)
}

/// Runs `work` where trees of that depth can be parsed, walked and dropped by recursion. `terms` more levels are only
/// dropped so.
pub(crate) fn with_deep_stack<R>(depth: usize, terms: usize, work: impl FnOnce() -> R) -> R {
    let needed = FRAMES + depth * FRAME + terms * TERM;
    stacker::maybe_grow(needed, 2 * needed, work)
}

/// Parses `text` and hands every statement to `each` while the tree lives.
pub(crate) fn statements<R>(text: &str, mut each: impl FnMut(Seen<'_>) -> R) -> Result<Vec<R>, SyntaxError> {
    if text.len() > MAX_TEXT {
        return Err(SyntaxError::limit("statement is too long"));
    }
    if !cost::is_linear(text) {
        return Err(SyntaxError::limit("statement is too complex"));
    }
    let parsed = match pg_raw_parse::parse(text) {
        Ok(parsed) => parsed.into_inner(),
        Err(error) => return Err(error::locate(text, &error.to_string())),
    };
    let mut results = Vec::with_capacity(parsed.len());
    for statement in parsed.iter() {
        let range = walk::trimmed(text, statement.stmt_location, statement.stmt_len);
        let seen = utility::statement(text, range, statement.stmt());
        results.push(each(seen));
    }
    Ok(results)
}

/// The parser's complaint about a text, if any.
fn message_of(text: &str) -> Option<String> {
    pg_raw_parse::parse(text).err().map(|error| error.to_string())
}
