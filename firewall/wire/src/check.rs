//! Parsers and encoders turned on each other: whatever is accepted must come out again byte for byte.
//!
//! Each function takes any bytes and panics if that does not hold. Every message has one encoding, so a
//! parser that overlooked a byte, or read one twice, is found out.

use crate::auth::{Authentication, Password, SaslInitialResponse};
use crate::backend::{self, DataRow, Diagnostic, RowDescription};
use crate::encode::{self, DataRowBuilder};
use crate::frame::{Frame, Frames, Header};
use crate::frontend::{self, Bind, BindHead};
use crate::startup::{self, Initial};

/// Splits `bytes` into frames, as a whole and cut in two at every place.
pub fn frames(bytes: &[u8]) {
    let (whole, rest) = split(bytes);
    assert_eq!(whole.iter().map(|frame| frame.len()).sum::<usize>() + rest, bytes.len());
    for cut in 0..bytes.len() {
        let (first, _) = split(bytes.get(..cut).unwrap_or_default());
        assert!(whole.starts_with(&first), "a shorter buffer holds other frames");
    }
}

fn split(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut frames = Frames::new(bytes);
    let mut found = Vec::new();
    while let Some(Ok(frame)) = frames.next() {
        let header = Header::read(frame.bytes).ok().flatten();
        assert_eq!(header, Some(Header { tag: frame.tag, body: frame.body.len() }));
        found.push(frame.bytes);
    }
    (found, frames.rest().len())
}

/// Reads `bytes` as the packet that opens a connection, without its length word.
pub fn startup(bytes: &[u8]) {
    let Ok(packet) = Initial::parse(bytes) else {
        return;
    };
    let mut out = Vec::new();
    match packet {
        Initial::Ssl => encode::ssl_request(&mut out),
        Initial::Gss => encode::gss_request(&mut out),
        Initial::Cancel { pid, secret } => encode::cancel(&mut out, pid, secret),
        Initial::Startup { major: 3, minor, parameters } => encode::startup(&mut out, 3, minor, parameters.iter()),
        // Of another version nothing but the number is known.
        Initial::Startup { parameters, .. } => return assert_eq!(parameters.iter().count(), 0),
    }
    assert_eq!(startup::body_len(&out), Ok(Some(bytes.len())));
    assert_eq!(out.get(4..), Some(bytes));
}

/// Reads each frame of `bytes` as a client's message.
pub fn frontend(bytes: &[u8]) {
    for frame in Frames::new(bytes).map_while(Result::ok) {
        same(frame, frontend_again(frame));
        if frame.tag == frontend::BIND {
            bind_head(frame.body);
        }
    }
}

/// Reads each frame of `bytes` as a server's message.
pub fn backend(bytes: &[u8]) {
    for frame in Frames::new(bytes).map_while(Result::ok) {
        same(frame, backend_again(frame));
    }
}

fn same(frame: Frame<'_>, again: Option<Vec<u8>>) {
    if let Some(again) = again {
        assert_eq!(again, frame.bytes, "accepted, but encoded differently");
    }
}

/// Parses and encodes again; `None` if it is malformed or of no known kind.
fn frontend_again(frame: Frame<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let body = frame.body;
    match frame.tag {
        frontend::QUERY => encode::query(&mut out, frontend::Query::parse(body).ok()?.text),
        frontend::PARSE => {
            let parse = frontend::Parse::parse(body).ok()?;
            let types: Vec<u32> = parse.parameter_types.iter().collect();
            assert_eq!(parse.parameter_types.len(), types.len());
            encode::parse(&mut out, parse.name, parse.text, &types);
        }
        frontend::BIND => {
            let bind = Bind::parse(body).ok()?;
            assert_eq!(bind.parameter_count(), bind.parameters().count());
            for span in bind.parameter_spans() {
                let place = body.get(span.start + 4..span.end);
                assert_eq!(place, Some(span.value.unwrap_or_default()));
            }
            let (formats, results) = (bind.parameter_formats.iter(), bind.result_formats.iter());
            encode::bind(&mut out, bind.portal, bind.statement, formats, bind.parameters(), results);
        }
        frontend::DESCRIBE => {
            let describe = frontend::Describe::parse(body).ok()?;
            encode::describe(&mut out, describe.target, describe.name);
        }
        frontend::CLOSE => {
            let close = frontend::Close::parse(body).ok()?;
            encode::close(&mut out, close.target, close.name);
        }
        frontend::EXECUTE => {
            let execute = frontend::Execute::parse(body).ok()?;
            encode::execute(&mut out, execute.portal, execute.max_rows);
        }
        frontend::COPY_FAIL => encode::copy_fail(&mut out, frontend::CopyFail::parse(body).ok()?.reason),
        frontend::PASSWORD => {
            if let Ok(first) = SaslInitialResponse::parse(body) {
                encode::sasl_initial_response(&mut out, first.mechanism, first.response);
            } else {
                encode::password(&mut out, Password::parse(body).ok()?.password);
            }
        }
        _ => return None,
    }
    Some(out)
}

/// Names read early must be the names that the whole Bind has.
fn bind_head(body: &[u8]) {
    let Ok(bind) = Bind::parse(body) else { return };
    for cut in 0..=body.len() {
        match BindHead::read(body.get(..cut).unwrap_or_default()) {
            Ok(Some(head)) => {
                assert_eq!((head.portal, head.statement), (bind.portal, bind.statement))
            }
            Ok(None) => assert!(cut < body.len()),
            Err(_) => assert!(cut >= frontend::BIND_HEAD_CAP),
        }
    }
}

/// Parses and encodes again; `None` if it is malformed or of no known kind.
fn backend_again(frame: Frame<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let body = frame.body;
    match frame.tag {
        backend::ROW_DESCRIPTION => {
            let description = RowDescription::parse(body).ok()?;
            assert_eq!(description.len(), description.fields().count());
            encode::row_description(&mut out, description.fields());
        }
        backend::DATA_ROW => return data_row(body),
        backend::ERROR_RESPONSE | backend::NOTICE_RESPONSE => {
            encode::diagnostic(&mut out, frame.tag, Diagnostic::parse(body).ok()?.fields());
        }
        backend::PARAMETER_STATUS => {
            let status = backend::ParameterStatus::parse(body).ok()?;
            encode::parameter_status(&mut out, status.name, status.value);
        }
        backend::READY_FOR_QUERY => {
            encode::ready_for_query(&mut out, backend::ReadyForQuery::parse(body).ok()?.status);
        }
        backend::COMMAND_COMPLETE => {
            let complete = backend::CommandComplete::parse(body).ok()?;
            complete.rows();
            encode::command_complete(&mut out, complete.tag);
        }
        backend::NOTIFICATION_RESPONSE => {
            let told = backend::Notification::parse(body).ok()?;
            encode::notification(&mut out, told.pid, told.channel, told.payload);
        }
        backend::COPY_IN_RESPONSE | backend::COPY_OUT_RESPONSE | backend::COPY_BOTH_RESPONSE => {
            let copy = backend::CopyResponse::parse(body).ok()?;
            encode::copy_response(&mut out, frame.tag, copy.overall, copy.formats.iter());
        }
        backend::PARAMETER_DESCRIPTION => {
            encode::parameter_description(&mut out, backend::ParameterDescription::parse(body).ok()?.types.iter());
        }
        backend::BACKEND_KEY_DATA => {
            let key = backend::BackendKeyData::parse(body).ok()?;
            encode::backend_key_data(&mut out, key.pid, key.secret);
        }
        backend::NEGOTIATE_PROTOCOL_VERSION => {
            let version = backend::NegotiateProtocolVersion::parse(body).ok()?;
            encode::negotiate_protocol_version(&mut out, version.newest, version.options());
        }
        backend::AUTHENTICATION => match Authentication::parse(body).ok()? {
            Authentication::Ok => encode::authentication_ok(&mut out),
            Authentication::CleartextPassword => encode::authentication_cleartext_password(&mut out),
            Authentication::Md5Password { salt } => encode::authentication_md5_password(&mut out, salt),
            Authentication::Sasl(mechanisms) => encode::authentication_sasl(&mut out, mechanisms.iter()),
            Authentication::SaslContinue(data) => encode::authentication_sasl_continue(&mut out, data),
            Authentication::SaslFinal(data) => encode::authentication_sasl_final(&mut out, data),
            Authentication::Other(_) => return None,
        },
        _ => return None,
    }
    Some(out)
}

/// A row value by value; then every second value by value and the others as runs.
fn data_row(body: &[u8]) -> Option<Vec<u8>> {
    let row = DataRow::parse(body).ok()?;
    assert_eq!(row.len(), row.columns().count());
    let mut plain = Vec::new();
    let mut builder = DataRowBuilder::begin(&mut plain);
    for value in row.columns() {
        match value {
            Some(bytes) => builder.col(bytes),
            None => builder.null(),
        }
    }
    builder.finish().ok()?;

    let mut mixed = Vec::new();
    let mut builder = DataRowBuilder::begin(&mut mixed);
    for (index, column) in row.spans().enumerate() {
        match column.value {
            Some(bytes) if index % 2 == 0 => builder.col_with(|out| out.extend_from_slice(bytes)),
            _ => builder.run(body.get(column.start..column.end).unwrap_or_default(), 1),
        }
    }
    builder.finish().ok()?;
    assert_eq!(plain, mixed);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Frames that have the right outside and anything, or nearly the right thing, inside.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let tag = prop::sample::select(b"QPBDCEHSXdcfpRSKCDEINTtZGHWAvV123ns".to_vec());
        let piece = prop_oneof![
            Just(vec![0]),
            Just(b"SP".to_vec()),
            any::<i16>().prop_map(|n| n.to_be_bytes().to_vec()),
            (0i16..4).prop_map(|n| n.to_be_bytes().to_vec()),
            (-2i32..5).prop_map(|n| n.to_be_bytes().to_vec()),
            Just(i32::MAX.to_be_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..8),
            "[a-z]{0,5}".prop_map(|text| [text.as_bytes(), &[0]].concat()),
        ];
        (tag, prop::collection::vec(piece, 0..12)).prop_map(|(tag, pieces)| {
            let body = pieces.concat();
            let length = u32::try_from(body.len() + 4).unwrap_or_default();
            [&[tag][..], &length.to_be_bytes(), &body].concat()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            super::frames(&bytes);
            super::startup(&bytes);
            super::frontend(&bytes);
            super::backend(&bytes);
        }

        #[test]
        fn likely_frames(frames in prop::collection::vec(frame(), 1..4)) {
            let bytes = frames.concat();
            super::frames(&bytes);
            super::frontend(&bytes);
            super::backend(&bytes);
            super::startup(bytes.get(5..).unwrap_or_default());
        }
    }
}
