//! Presentation of values to clients that may not see them plain. Works on values already in the wire's bytes, and
//! appends the new bytes to the row that is being rewritten: no allocation per value.

use std::fmt;

/// How a value's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// text, varchar, char(n), name, citext, …: text and binary format are the same bytes.
    Text,
    Int2,
    Int4,
    Int8,
    Uuid,
}

/// Wire format of a result column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

/// Makes presentation tokens: randomised `rf1_` tokens for `encrypt`, keyed and deterministic ones for `tokenize`.
pub struct Presenter {
    _private: (),
}

impl fmt::Debug for Presenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presenter(…)")
    }
}

/// A value cannot be presented as asked; the caller sends NULL and counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PresentError {
    #[error("the value is not of the type that the column declares")]
    Malformed,
    #[error("the key's limit of encryptions is reached; rotate it")]
    KeySpent,
}
