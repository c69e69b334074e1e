//! What was malformed, and where.

use thiserror::Error;

/// A malformed message. It never carries bytes of the message, so it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed {message} message at byte {at}: {fault}")]
pub struct WireError {
    /// Name of the message, as the protocol's documentation spells it.
    pub message: &'static str,
    /// Offset into the body at which reading failed.
    pub at: usize,
    /// What was wrong there.
    pub fault: Fault,
}

/// The ways in which a message can be malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The body ended inside a field.
    #[error("the body ends inside a field")]
    Truncated,
    /// The body went on after its last field.
    #[error("bytes follow the last field")]
    Trailing,
    /// A string without its terminating NUL.
    #[error("a string has no terminating NUL")]
    Unterminated,
    /// A length below the minimum of its field.
    #[error("impossible length {0}")]
    BadLength(i32),
    /// More bytes than this message may have here.
    #[error("longer than the {0} bytes allowed")]
    TooLong(usize),
    /// A byte that is not one of the field's values.
    #[error("unknown value 0x{0:02x}")]
    BadByte(u8),
}
