//! ErrorResponse and NoticeResponse: the same body.

use crate::error::{Fault, WireError};
use crate::reader::Reader;

/// The codes of a diagnostic's fields.
pub mod field {
    /// Severity, in the server's language.
    pub const SEVERITY: u8 = b'S';
    /// Severity, never translated.
    pub const SEVERITY_PLAIN: u8 = b'V';
    /// SQLSTATE.
    pub const CODE: u8 = b'C';
    /// Primary message.
    pub const MESSAGE: u8 = b'M';
    /// Detail.
    pub const DETAIL: u8 = b'D';
    /// Hint.
    pub const HINT: u8 = b'H';
    /// Position in the client's text, in characters from 1.
    pub const POSITION: u8 = b'P';
    /// Position in [`INTERNAL_QUERY`].
    pub const INTERNAL_POSITION: u8 = b'p';
    /// Text of a statement that the server made up.
    pub const INTERNAL_QUERY: u8 = b'q';
    /// Call stack.
    pub const WHERE: u8 = b'W';
    /// Schema concerned.
    pub const SCHEMA: u8 = b's';
    /// Table concerned.
    pub const TABLE: u8 = b't';
    /// Column concerned.
    pub const COLUMN: u8 = b'c';
    /// Data type concerned.
    pub const DATA_TYPE: u8 = b'd';
    /// Constraint concerned.
    pub const CONSTRAINT: u8 = b'n';
    /// Server source file.
    pub const FILE: u8 = b'F';
    /// Line in it.
    pub const LINE: u8 = b'L';
    /// Server function.
    pub const ROUTINE: u8 = b'R';
}

/// An error or notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnostic<'a> {
    body: &'a [u8],
}

impl<'a> Diagnostic<'a> {
    const MESSAGE: &'static str = "ErrorResponse";

    /// Parses the body of an `E` or `N`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(Self::MESSAGE, body);
        while next(&mut reader)?.is_some() {}
        reader.end()?;
        Ok(Self { body })
    }

    /// The fields in order: code and text.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &'a [u8])> + Clone + use<'a> {
        let mut reader = Reader::new(Self::MESSAGE, self.body);
        std::iter::from_fn(move || next(&mut reader).ok().flatten())
    }

    /// The first field with this code.
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.fields().find_map(|(found, text)| (found == code).then_some(text))
    }
}

/// A field, or `None` at the terminator, which is consumed.
fn next<'a>(reader: &mut Reader<'a>) -> Result<Option<(u8, &'a [u8])>, WireError> {
    let before = *reader;
    match reader.byte() {
        Ok(0) => Ok(None),
        Ok(code) => Ok(Some((code, reader.string()?))),
        Err(_) => Err(before.fail(Fault::Unterminated)),
    }
}
