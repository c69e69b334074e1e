//! Bytes to frames and messages of the PostgreSQL protocol, and back; knows no SQL, does no I/O.
//!
//! ```text
//! startup::Initial        the packets before authentication that carry no tag
//! frame::Header, Frame    tag and length: where a message begins and ends
//! frontend::*             what a client sends
//! backend::*              what a server sends
//! encode::*               the same messages, appended to a `Vec<u8>`
//! ```
//!
//! Every parser borrows from its input, allocates nothing, never panics, and consumes the body
//! *exactly*: a missing NUL, a NUL too many, a count that promises more or less than the body holds
//! and a negative length are errors. What was analysed is therefore byte for byte what the other
//! side will read.

pub mod auth;
pub mod backend;
#[cfg(any(test, feature = "check"))]
pub mod check;
pub mod encode;
pub mod error;
pub mod frame;
pub mod frontend;
pub mod ints;
mod reader;
pub mod startup;

pub use error::{Fault, WireError};
