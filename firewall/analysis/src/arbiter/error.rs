//! Syntax errors, with the position that the parser's binding does not hand out.

/// The text cannot be parsed, or exceeds a cap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// As the server words it.
    pub message: String,
    /// Byte offset in the text, if known.
    pub position: Option<usize>,
    /// 42601, 54001 for a cap, or 0A000 if a parser failed.
    pub sqlstate: &'static str,
}

impl SyntaxError {
    pub(crate) fn unreadable() -> Self {
        Self { message: String::from("the statement cannot be analysed"), position: None, sqlstate: "0A000" }
    }

    pub(super) fn limit(message: &str) -> Self {
        Self { message: message.to_owned(), position: None, sqlstate: "54001" }
    }
}

/// Rebuilds the error, and finds where it is: the parser's message quotes the offending token (syntax errors) or
/// the rest of the text from it (lexical errors).
pub(super) fn locate(text: &str, error: &impl std::fmt::Display) -> SyntaxError {
    let printed = error.to_string();
    let message = printed.strip_prefix("Invalid statement: ").unwrap_or(&printed).to_owned();
    let position = if message.ends_with("at end of input") {
        Some(text.len())
    } else {
        message
            .find(" at or near \"")
            .and_then(|at| message.get(at + " at or near \"".len()..message.len().saturating_sub(1)))
            .filter(|near| !near.is_empty())
            .and_then(|near| occurrence(text, near, &message))
    };
    let sqlstate = if message.starts_with("memory exhausted") { "54001" } else { "42601" };
    SyntaxError { message, position, sqlstate }
}

/// The occurrence of `near` that the parser stopped at: the first one where the text cut after it fails alike.
fn occurrence(text: &str, near: &str, message: &str) -> Option<usize> {
    if text.ends_with(near) && near.len() > 32 {
        return Some(text.len() - near.len());
    }
    let starts: Vec<usize> = text.match_indices(near).map(|(at, _)| at).collect();
    let fails = |at: &usize| {
        text.get(..at + near.len())
            .is_some_and(|prefix| super::message_of(prefix).is_some_and(|found| found.ends_with(message)))
    };
    // Once the parser stops, it stops in every longer prefix too.
    let first = starts.partition_point(|at| !fails(at));
    starts.get(first).copied().or_else(|| starts.last().copied())
}
