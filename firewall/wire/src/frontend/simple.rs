//! Messages of the simple protocol, of COPY, and those without a body.

use crate::error::WireError;
use crate::reader::Reader;

/// A text of any number of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// Without the terminating NUL; in the client's encoding.
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    /// Parses the body of a `Q`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Query", body);
        let text = reader.string()?;
        reader.end()?;
        Ok(Self { text })
    }
}

/// The client gives up sending COPY data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFail<'a> {
    /// Its reason, which the server repeats in an error.
    pub reason: &'a [u8],
}

impl<'a> CopyFail<'a> {
    /// Parses the body of an `f`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("CopyFail", body);
        let reason = reader.string()?;
        reader.end()?;
        Ok(Self { reason })
    }
}

/// A message whose tag says everything: Sync, Flush, Terminate, CopyDone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Empty;

impl Empty {
    /// The body must be empty; `message` names it in the error.
    pub fn parse(message: &'static str, body: &[u8]) -> Result<Self, WireError> {
        Reader::new(message, body).end()?;
        Ok(Self)
    }
}
