//! Parse, Describe, Close, Execute.

use crate::error::{Fault, WireError};
use crate::ints::Oids;
use crate::reader::Reader;

/// Prepare a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Empty for the unnamed statement. See [`name_key`](super::name_key).
    pub name: &'a [u8],
    /// Without the terminating NUL; in the client's encoding.
    pub text: &'a [u8],
    /// Types that the client prescribes; 0 leaves one to the server, and there may be fewer than parameters.
    pub parameter_types: Oids<'a>,
}

impl<'a> Parse<'a> {
    /// Parses the body of a `P`.
    #[expect(clippy::self_named_constructors, reason = "every message has a `parse`")]
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Parse", body);
        let name = reader.string()?;
        let text = reader.string()?;
        let parameter_types = Oids::read(&mut reader)?;
        reader.end()?;
        Ok(Self { name, text, parameter_types })
    }
}

/// What a Describe or Close is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A bound portal.
    Portal,
}

impl Target {
    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let before = *reader;
        match reader.byte()? {
            b'S' => Ok(Self::Statement),
            b'P' => Ok(Self::Portal),
            other => Err(before.fail(Fault::BadByte(other))),
        }
    }
}

/// What does a statement or portal take and return?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Describe<'a> {
    /// Statement or portal.
    pub target: Target,
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Describe<'a> {
    /// Parses the body of a `D`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let (target, name) = named(Reader::new("Describe", body))?;
        Ok(Self { target, name })
    }
}

/// Forget a statement or portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// Statement or portal.
    pub target: Target,
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Close<'a> {
    /// Parses the body of a `C`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let (target, name) = named(Reader::new("Close", body))?;
        Ok(Self { target, name })
    }
}

fn named(mut reader: Reader<'_>) -> Result<(Target, &[u8]), WireError> {
    let target = Target::read(&mut reader)?;
    let name = reader.string()?;
    reader.end()?;
    Ok((target, name))
}

/// Run a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Its name; empty for the unnamed portal.
    pub portal: &'a [u8],
    /// Rows after which to suspend; zero or less means all.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Parses the body of an `E`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Execute", body);
        let portal = reader.string()?;
        let max_rows = reader.int32()?;
        reader.end()?;
        Ok(Self { portal, max_rows })
    }
}
