//! What a client sends.

mod bind;
mod extended;
mod simple;

pub use bind::{BIND_HEAD_CAP, Bind, BindHead, Parameter};
pub use extended::{Close, Describe, Execute, Parse, Target};
pub use simple::{CopyFail, Empty, Query};

/// Bind: parameters for a prepared statement.
pub const BIND: u8 = b'B';
/// Close: forget a statement or portal.
pub const CLOSE: u8 = b'C';
/// CopyData: a piece of COPY input (both directions share the tag).
pub const COPY_DATA: u8 = b'd';
/// CopyDone: the end of COPY input (both directions share the tag).
pub const COPY_DONE: u8 = b'c';
/// CopyFail: the client gives COPY up.
pub const COPY_FAIL: u8 = b'f';
/// Describe: what does a statement or portal take and return?
pub const DESCRIBE: u8 = b'D';
/// Execute: run a portal.
pub const EXECUTE: u8 = b'E';
/// Flush: send what is pending.
pub const FLUSH: u8 = b'H';
/// FunctionCall: the obsolete fast path.
pub const FUNCTION_CALL: u8 = b'F';
/// Parse: prepare a statement.
pub const PARSE: u8 = b'P';
/// PasswordMessage, SASLInitialResponse, SASLResponse, GSSResponse.
pub const PASSWORD: u8 = b'p';
/// Query: the simple protocol.
pub const QUERY: u8 = b'Q';
/// Sync: end of an extended-protocol batch.
pub const SYNC: u8 = b'S';
/// Terminate: goodbye.
pub const TERMINATE: u8 = b'X';

/// Largest body of a control message: the server allows a length word of 10,000.
pub const CONTROL_CAP: usize = 10_000 - 4;
/// Largest body of a message that carries statements or data: the server's largest allocation.
pub const DATA_CAP: usize = 0x3fff_ffff - 1 - 4;
/// Largest body of any message before authentication has ended.
pub const PRE_AUTH_CAP: usize = 10_000;

/// Largest body that a message with this tag may have after authentication; `None` for a tag that
/// no client sends then.
pub fn cap(tag: u8) -> Option<usize> {
    match tag {
        QUERY | PARSE | BIND | FUNCTION_CALL | COPY_DATA => Some(DATA_CAP),
        CLOSE | DESCRIBE | EXECUTE | FLUSH | SYNC | TERMINATE | COPY_DONE | COPY_FAIL => {
            Some(CONTROL_CAP)
        }
        _ => None,
    }
}

/// Bytes of a statement or portal name that count.
const NAME_BYTES: usize = 63;

/// The part of a statement or portal name that tells it from others. The server keys its table by
/// the first 63 bytes, so two longer names that agree in these *are* the same statement; whoever
/// tracks names must do likewise, or track another statement than the server runs.
pub fn name_key(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES).unwrap_or(name)
}
