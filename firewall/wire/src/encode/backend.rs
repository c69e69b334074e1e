//! What a server sends, rows apart.

use super::{counted, frame, int16, int32, oid, string};
use crate::backend;

/// ErrorResponse. A field is its code and text, see [`backend::field`].
pub fn error<T: AsRef<[u8]>>(out: &mut Vec<u8>, fields: &[(u8, T)]) {
    diagnostic(out, backend::ERROR_RESPONSE, fields.iter().map(|(code, text)| (*code, text.as_ref())));
}

/// NoticeResponse.
pub fn notice<T: AsRef<[u8]>>(out: &mut Vec<u8>, fields: &[(u8, T)]) {
    diagnostic(out, backend::NOTICE_RESPONSE, fields.iter().map(|(code, text)| (*code, text.as_ref())));
}

/// ErrorResponse or NoticeResponse, by its tag. A field with code 0 would end the message and is left out.
pub fn diagnostic<'a>(out: &mut Vec<u8>, tag: u8, fields: impl IntoIterator<Item = (u8, &'a [u8])>) {
    frame(out, tag, |out| {
        for (code, text) in fields.into_iter().filter(|(code, _)| *code != 0) {
            out.push(code);
            string(out, text);
        }
        out.push(0);
    });
}

/// ReadyForQuery; `status` is `I`, `T` or `E`.
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    out.extend_from_slice(&[backend::READY_FOR_QUERY, 0, 0, 0, 5, status]);
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &[u8]) {
    frame(out, backend::COMMAND_COMPLETE, |out| string(out, tag));
}

/// ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    empty(out, backend::PARSE_COMPLETE);
}

/// BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    empty(out, backend::BIND_COMPLETE);
}

/// CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    empty(out, backend::CLOSE_COMPLETE);
}

/// NoData.
pub fn no_data(out: &mut Vec<u8>) {
    empty(out, backend::NO_DATA);
}

/// EmptyQueryResponse.
pub fn empty_query_response(out: &mut Vec<u8>) {
    empty(out, backend::EMPTY_QUERY_RESPONSE);
}

/// PortalSuspended.
pub fn portal_suspended(out: &mut Vec<u8>) {
    empty(out, backend::PORTAL_SUSPENDED);
}

/// A message whose tag says everything.
pub(super) fn empty(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 4]);
}

/// ParameterDescription.
pub fn parameter_description(out: &mut Vec<u8>, types: impl IntoIterator<Item = u32>) {
    frame(out, backend::PARAMETER_DESCRIPTION, |out| counted(out, types, oid));
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    frame(out, backend::PARAMETER_STATUS, |out| {
        string(out, name);
        string(out, value);
    });
}

/// BackendKeyData.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    frame(out, backend::BACKEND_KEY_DATA, |out| {
        int32(out, pid);
        out.extend_from_slice(secret);
    });
}

/// NotificationResponse.
pub fn notification(out: &mut Vec<u8>, pid: i32, channel: &[u8], payload: &[u8]) {
    frame(out, backend::NOTIFICATION_RESPONSE, |out| {
        int32(out, pid);
        string(out, channel);
        string(out, payload);
    });
}

/// CopyInResponse, CopyOutResponse or CopyBothResponse, by its tag.
pub fn copy_response(out: &mut Vec<u8>, tag: u8, overall: u8, formats: impl IntoIterator<Item = i16>) {
    frame(out, tag, |out| {
        out.push(overall);
        counted(out, formats, int16);
    });
}

/// NegotiateProtocolVersion. `newest` is the newest minor version of 3 that is spoken.
pub fn negotiate_protocol_version<'a>(out: &mut Vec<u8>, newest: u32, options: impl IntoIterator<Item = &'a [u8]>) {
    frame(out, backend::NEGOTIATE_PROTOCOL_VERSION, |out| {
        oid(out, newest);
        let place = out.len();
        int32(out, 0);
        let mut count = 0i32;
        for option in options {
            string(out, option);
            count = count.saturating_add(1);
        }
        if let Some(word) = out.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *word = count.to_be_bytes();
        }
    });
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, 0, &[]);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext_password(out: &mut Vec<u8>) {
    authentication(out, 3, &[]);
}

/// AuthenticationMD5Password.
pub fn authentication_md5_password(out: &mut Vec<u8>, salt: [u8; 4]) {
    authentication(out, 5, &salt);
}

/// AuthenticationSASL: the mechanisms offered, best first.
pub fn authentication_sasl<'a>(out: &mut Vec<u8>, mechanisms: impl IntoIterator<Item = &'a [u8]>) {
    frame(out, backend::AUTHENTICATION, |out| {
        int32(out, 10);
        for mechanism in mechanisms.into_iter().filter(|name| !name.is_empty()) {
            string(out, mechanism);
        }
        out.push(0);
    });
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, challenge: &[u8]) {
    authentication(out, 11, challenge);
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, outcome: &[u8]) {
    authentication(out, 12, outcome);
}

fn authentication(out: &mut Vec<u8>, code: i32, data: &[u8]) {
    frame(out, backend::AUTHENTICATION, |out| {
        int32(out, code);
        out.extend_from_slice(data);
    });
}
