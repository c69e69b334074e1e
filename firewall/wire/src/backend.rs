//! What a server sends.

mod control;
mod diagnostic;
mod rows;

pub use control::{
    BackendKeyData, CommandComplete, CopyResponse, NegotiateProtocolVersion, Notification,
    ParameterDescription, ParameterStatus, ReadyForQuery,
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
