//! What a client sends.

use super::backend::empty;
use super::{counted, frame, int16, int32, oid, packet, string, value};
use crate::frontend::{self, Target};
use crate::startup;

/// Query.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    frame(out, frontend::QUERY, |out| string(out, text));
}

/// Parse.
pub fn parse(out: &mut Vec<u8>, name: &[u8], text: &[u8], parameter_types: &[u32]) {
    frame(out, frontend::PARSE, |out| {
        string(out, name);
        string(out, text);
        counted(out, parameter_types.iter().copied(), oid);
    });
}

/// Bind. A parameter is its value, or `None` for NULL.
pub fn bind<'a>(
    out: &mut Vec<u8>,
    portal: &[u8],
    statement: &[u8],
    parameter_formats: impl IntoIterator<Item = i16>,
    parameters: impl IntoIterator<Item = Option<&'a [u8]>>,
    result_formats: impl IntoIterator<Item = i16>,
) {
    let start = out.len();
    let mut whole = true;
    let framed = frame(out, frontend::BIND, |out| {
        string(out, portal);
        string(out, statement);
        counted(out, parameter_formats, int16);
        counted(out, parameters, |out, parameter| whole &= value(out, parameter).is_ok());
        counted(out, result_formats, int16);
    });
    if framed && !whole {
        out.truncate(start);
    }
}

/// Describe.
pub fn describe(out: &mut Vec<u8>, target: Target, name: &[u8]) {
    frame(out, frontend::DESCRIBE, |out| {
        out.push(target.byte());
        string(out, name);
    });
}

/// Close.
pub fn close(out: &mut Vec<u8>, target: Target, name: &[u8]) {
    frame(out, frontend::CLOSE, |out| {
        out.push(target.byte());
        string(out, name);
    });
}

/// Execute; `max_rows` 0 means all.
pub fn execute(out: &mut Vec<u8>, portal: &[u8], max_rows: i32) {
    frame(out, frontend::EXECUTE, |out| {
        string(out, portal);
        int32(out, max_rows);
    });
}

/// Sync.
pub fn sync(out: &mut Vec<u8>) {
    empty(out, frontend::SYNC);
}

/// Flush.
pub fn flush(out: &mut Vec<u8>) {
    empty(out, frontend::FLUSH);
}

/// Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    empty(out, frontend::TERMINATE);
}

/// CopyData, of either side.
pub fn copy_data(out: &mut Vec<u8>, data: &[u8]) {
    frame(out, frontend::COPY_DATA, |out| out.extend_from_slice(data));
}

/// CopyDone, of either side.
pub fn copy_done(out: &mut Vec<u8>) {
    empty(out, frontend::COPY_DONE);
}

/// CopyFail.
pub fn copy_fail(out: &mut Vec<u8>, reason: &[u8]) {
    frame(out, frontend::COPY_FAIL, |out| string(out, reason));
}

/// PasswordMessage.
pub fn password(out: &mut Vec<u8>, password: &[u8]) {
    frame(out, frontend::PASSWORD, |out| string(out, password));
}

/// SASLInitialResponse.
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &[u8], response: Option<&[u8]>) {
    let start = out.len();
    let mut whole = true;
    let framed = frame(out, frontend::PASSWORD, |out| {
        string(out, mechanism);
        whole = value(out, response).is_ok();
    });
    if framed && !whole {
        out.truncate(start);
    }
}

/// SASLResponse.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    frame(out, frontend::PASSWORD, |out| out.extend_from_slice(data));
}

/// StartupMessage. An empty name would end the message and is left out.
pub fn startup<'a>(
    out: &mut Vec<u8>,
    major: u16,
    minor: u16,
    parameters: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) {
    packet(out, |out| {
        oid(out, (u32::from(major) << 16) | u32::from(minor));
        for (name, value) in parameters {
            if !matches!(name, [] | [0, ..]) {
                string(out, name);
                string(out, value);
            }
        }
        out.push(0);
    });
}

/// SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    packet(out, |out| oid(out, startup::SSL_CODE));
}

/// GSSENCRequest.
pub fn gss_request(out: &mut Vec<u8>) {
    packet(out, |out| oid(out, startup::GSS_CODE));
}

/// CancelRequest.
pub fn cancel(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    packet(out, |out| {
        oid(out, startup::CANCEL_CODE);
        int32(out, pid);
        out.extend_from_slice(secret);
    });
}
