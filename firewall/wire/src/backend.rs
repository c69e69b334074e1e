//! What a server sends.

mod control;
mod diagnostic;
mod rows;

pub use control::{
    BackendKeyData, CommandComplete, CopyResponse, NegotiateProtocolVersion, Notification, ParameterDescription,
    ParameterStatus, ReadyForQuery,
};
pub use diagnostic::{Diagnostic, field};
pub use rows::{Column, ColumnWalk, DataRow, Field, RowDescription};

/// Authentication requests of all kinds.
pub const AUTHENTICATION: u8 = b'R';
/// BackendKeyData.
pub const BACKEND_KEY_DATA: u8 = b'K';
/// BindComplete.
pub const BIND_COMPLETE: u8 = b'2';
/// CloseComplete.
pub const CLOSE_COMPLETE: u8 = b'3';
/// CommandComplete.
pub const COMMAND_COMPLETE: u8 = b'C';
/// CopyBothResponse (replication).
pub const COPY_BOTH_RESPONSE: u8 = b'W';
/// CopyData (both directions share the tag).
pub const COPY_DATA: u8 = b'd';
/// CopyDone (both directions share the tag).
pub const COPY_DONE: u8 = b'c';
/// CopyInResponse.
pub const COPY_IN_RESPONSE: u8 = b'G';
/// CopyOutResponse.
pub const COPY_OUT_RESPONSE: u8 = b'H';
/// DataRow.
pub const DATA_ROW: u8 = b'D';
/// EmptyQueryResponse.
pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
/// ErrorResponse.
pub const ERROR_RESPONSE: u8 = b'E';
/// FunctionCallResponse.
pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
/// NegotiateProtocolVersion.
pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
/// NoData.
pub const NO_DATA: u8 = b'n';
/// NoticeResponse.
pub const NOTICE_RESPONSE: u8 = b'N';
/// NotificationResponse.
pub const NOTIFICATION_RESPONSE: u8 = b'A';
/// ParameterDescription.
pub const PARAMETER_DESCRIPTION: u8 = b't';
/// ParameterStatus.
pub const PARAMETER_STATUS: u8 = b'S';
/// ParseComplete.
pub const PARSE_COMPLETE: u8 = b'1';
/// PortalSuspended.
pub const PORTAL_SUSPENDED: u8 = b's';
/// ReadyForQuery.
pub const READY_FOR_QUERY: u8 = b'Z';
/// RowDescription.
pub const ROW_DESCRIPTION: u8 = b'T';

/// Largest body of a message that a proxy must read whole: everything but rows, descriptions of rows,
/// errors, notices, notifications and COPY data. libpq draws the same line (30,000 bytes).
pub const CONTROL_CAP: usize = 30_000;
/// Largest body of any message before authentication has ended. An error then may be long.
pub const PRE_AUTH_CAP: usize = 30_000;

/// Largest body that a server's message with this tag may have.
pub fn cap(tag: u8) -> usize {
    match tag {
        DATA_ROW
        | COPY_DATA
        | ROW_DESCRIPTION
        | FUNCTION_CALL_RESPONSE
        | ERROR_RESPONSE
        | NOTICE_RESPONSE
        | NOTIFICATION_RESPONSE
        | PARAMETER_DESCRIPTION => crate::frame::MAX_BODY,
        _ => CONTROL_CAP,
    }
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
    fn rows() {
        let body = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        let row = DataRow::parse(body).unwrap();
        assert!(row.columns().eq([Some(&b"ab"[..]), None, Some(b"")]));
        let spans: Vec<_> = row.spans().map(|column| (column.start, column.end)).collect();
        assert_eq!(spans, [(2, 8), (8, 12), (12, 16)]);
        assert_eq!(fault(DataRow::parse(b"\0\x01\0\0\0\x02a")), (Fault::Truncated, 2));
        assert_eq!(fault(DataRow::parse(b"\0\x01\x7f\xff\xff\xff")), (Fault::Truncated, 2));
        assert_eq!(fault(DataRow::parse(b"\0\x01\xff\xff\xff\xfe")), (Fault::BadLength(-2), 2));
        assert_eq!(fault(DataRow::parse(b"\0\0\0")), (Fault::Trailing, 2));
        assert_eq!(fault(DataRow::parse(b"\0")), (Fault::Truncated, 0));
        assert!(DataRow::parse(b"\0\0").unwrap().is_empty());
    }

    #[test]
    fn walking_finds_what_follows_the_last_value() {
        let mut walk = DataRow::walk(b"\0\x01\0\0\0\x01a!").unwrap();
        assert_eq!(walk.step().unwrap().unwrap().value, Some(&b"a"[..]));
        assert_eq!(fault(walk.step()), (Fault::Trailing, 7));
    }

    #[test]
    fn diagnostics() {
        let error = Diagnostic::parse(b"SERROR\0C42501\0\0").unwrap();
        assert!(error.fields().eq([(b'S', &b"ERROR"[..]), (b'C', b"42501")]));
        assert_eq!(error.get(field::CODE), Some(&b"42501"[..]));
        assert_eq!(error.get(field::HINT), None);
        assert_eq!(fault(Diagnostic::parse(b"SERROR\0")), (Fault::Unterminated, 7));
        assert_eq!(fault(Diagnostic::parse(b"SERROR\0\0x")), (Fault::Trailing, 8));
    }

    #[test]
    fn small_messages() {
        assert_eq!(ReadyForQuery::parse(b"T").unwrap().status, b'T');
        assert_eq!(fault(ReadyForQuery::parse(b"X")), (Fault::BadByte(b'X'), 0));
        assert_eq!(CommandComplete::parse(b"INSERT 0 12\0").unwrap().rows(), Some(12));
        assert_eq!(CommandComplete::parse(b"CREATE TABLE\0").unwrap().rows(), None);
        assert_eq!(fault(CopyResponse::parse(b"\x02\0\0")), (Fault::BadByte(2), 0));
        assert_eq!(fault(BackendKeyData::parse(b"\0\0\0\x01abc")), (Fault::Truncated, 4));
        assert_eq!(BackendKeyData::parse(b"\0\0\0\x01abcd").unwrap().secret, b"abcd");
        assert_eq!(fault(NegotiateProtocolVersion::parse(b"\0\0\0\0\x7f\xff\xff\xff")), (Fault::Unterminated, 8));
        assert_eq!(fault(NegotiateProtocolVersion::parse(b"\0\0\0\0\xff\xff\xff\xff")), (Fault::BadLength(-1), 4));
    }
}
