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
        CLOSE | DESCRIBE | EXECUTE | FLUSH | SYNC | TERMINATE | COPY_DONE | COPY_FAIL => Some(CONTROL_CAP),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Fault;

    fn fault<T: std::fmt::Debug>(result: Result<T, crate::WireError>) -> (Fault, usize) {
        let error = result.unwrap_err();
        (error.fault, error.at)
    }

    #[test]
    fn nul_rules() {
        assert_eq!(Query::parse(b"select 1\0").unwrap().text, b"select 1");
        assert_eq!(Query::parse(b"\0").unwrap().text, b"");
        assert_eq!(fault(Query::parse(b"")), (Fault::Unterminated, 0));
        assert_eq!(fault(Query::parse(b"select 1")), (Fault::Unterminated, 0));
        assert_eq!(fault(Query::parse(b"select 1\0; drop\0")), (Fault::Trailing, 9));
        assert_eq!(fault(Parse::parse(b"name\0select 1")), (Fault::Unterminated, 5));
        assert_eq!(fault(Parse::parse(b"\0x\0\0")), (Fault::Truncated, 3));
        assert_eq!(fault(Parse::parse(b"\0x\0\0\x01")), (Fault::Truncated, 5));
        assert_eq!(fault(Parse::parse(b"\0x\0\0\0\0")), (Fault::Trailing, 5));
        assert_eq!(fault(Empty::parse("Sync", b"\0")), (Fault::Trailing, 0));
    }

    #[test]
    fn bytes_not_text() {
        assert_eq!(Query::parse(b"\xff\xfe'\0").unwrap().text, b"\xff\xfe'");
    }

    #[test]
    fn targets() {
        assert_eq!(Describe::parse(b"Sx\0").unwrap(), Describe { target: Target::Statement, name: b"x" });
        assert_eq!(Close::parse(b"P\0").unwrap(), Close { target: Target::Portal, name: b"" });
        assert_eq!(fault(Describe::parse(b"s\0")), (Fault::BadByte(b's'), 0));
        assert_eq!(fault(Close::parse(b"")), (Fault::Truncated, 0));
        assert_eq!(fault(Execute::parse(b"\0\0\0\0")), (Fault::Truncated, 1));
    }

    #[test]
    fn bind_lengths() {
        let bind = |values: &[u8]| [&b"\0\0\0\0\0\x01"[..], values, b"\0\0"].concat();
        assert!(Bind::parse(&bind(b"\xff\xff\xff\xff")).unwrap().parameters().eq([None]));
        assert!(Bind::parse(&bind(b"\0\0\0\0")).unwrap().parameters().eq([Some(&b""[..])]));
        assert_eq!(fault(Bind::parse(&bind(b"\xff\xff\xff\xfe"))), (Fault::BadLength(-2), 6));
        assert_eq!(fault(Bind::parse(&bind(b"\x80\0\0\0"))), (Fault::BadLength(i32::MIN), 6));
        assert_eq!(fault(Bind::parse(&bind(b"\x7f\xff\xff\xff"))), (Fault::Truncated, 6));
    }

    #[test]
    fn as_many_parameters_as_the_server_takes() {
        let values = [0xff; 4].repeat(65_535);
        let body = [&b"\0\0\0\0\xff\xff"[..], &values, b"\0\0"].concat();
        assert_eq!(Bind::parse(&body).unwrap().parameters().count(), 65_535);
    }

    #[test]
    fn names_before_the_rest() {
        assert_eq!(BindHead::read(b"p\0s"), Ok(None));
        let head = BindHead::read(b"p\0st\0\0\x01").unwrap().unwrap();
        assert_eq!((head.portal, head.statement, head.consumed), (&b"p"[..], &b"st"[..], 5));
        assert_eq!(fault(BindHead::read(&[b'x'; BIND_HEAD_CAP])).0, Fault::TooLong(BIND_HEAD_CAP));
    }

    #[test]
    fn long_names_share_a_key() {
        let (one, two) = ([b'n'; 64], [b'n'; 70]);
        assert_eq!(name_key(&one), name_key(&two));
        assert_ne!(name_key(&one), name_key(one.get(..62).unwrap()));
    }

    #[test]
    fn formats() {
        let bind = |formats: &[u8]| [b"\0\0", formats, b"\0\0\0\0"].concat();
        let of = |formats: &[u8], index| Bind::parse(&bind(formats)).unwrap().parameter_formats.of(index);
        assert_eq!(of(b"\0\0", 7), Some(0));
        assert_eq!(of(b"\0\x01\0\x01", 7), Some(1));
        assert_eq!(of(b"\0\x02\0\0\0\x01", 1), Some(1));
        assert_eq!(of(b"\0\x02\0\0\0\x01", 2), None);
    }
}
