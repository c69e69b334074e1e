//! A refusal as the client sees it.

use ringfence_policy::Refusal;
use ringfence_wire::encode;

/// ErrorResponse for `refusal`; `text` gives the position in characters, as the protocol counts.
pub(crate) fn error_response(refusal: &Refusal, text: Option<&[u8]>) -> Vec<u8> {
    let position = refusal
        .position
        .and_then(|at| text.and_then(|text| text.get(..at)))
        .map(|before| (before.iter().filter(|byte| (**byte & 0xC0) != 0x80).count() + 1).to_string());
    let detail = format!("Rule {}.", name(refusal));
    let mut fields: Vec<(u8, &[u8])> = vec![
        (b'S', b"ERROR"),
        (b'V', b"ERROR"),
        (b'C', refusal.sqlstate.as_bytes()),
        (b'M', refusal.message.as_bytes()),
    ];
    if refusal.sqlstate != "42601" && refusal.sqlstate != "42P01" {
        fields.push((b'D', detail.as_bytes()));
    }
    if let Some(hint) = &refusal.hint {
        fields.push((b'H', hint.as_bytes()));
    }
    if let Some(position) = &position {
        fields.push((b'P', position.as_bytes()));
    }
    let mut out = Vec::with_capacity(256);
    encode::error(&mut out, &fields);
    out
}

fn name(refusal: &Refusal) -> &'static str {
    refusal.rule.name()
}

/// FATAL, for what ends the connection.
pub(crate) fn fatal(sqlstate: &str, message: &str, hint: Option<&str>) -> Vec<u8> {
    let mut fields: Vec<(u8, &[u8])> =
        vec![(b'S', b"FATAL"), (b'V', b"FATAL"), (b'C', sqlstate.as_bytes()), (b'M', message.as_bytes())];
    if let Some(hint) = hint {
        fields.push((b'H', hint.as_bytes()));
    }
    let mut out = Vec::with_capacity(128);
    encode::error(&mut out, &fields);
    out
}
