//! Bind, and the part of it that can be read before the rest has arrived.

use crate::error::{Fault, WireError};
use crate::ints::Formats;
use crate::reader::Reader;

/// Bytes within which both names of a Bind must end, so that a session can decide on a Bind
/// whose parameters are still on their way without buffering much of it.
pub const BIND_HEAD_CAP: usize = 10_000;

/// The two names at the start of a Bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindHead<'a> {
    /// Portal to make; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Statement to bind; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Bytes of the body that the two take, NULs included.
    pub consumed: usize,
}

impl<'a> BindHead<'a> {
    /// Reads the names from the start of a body of which `prefix` has arrived. `None`: not all there yet
    /// (an error, if `prefix` is the whole body).
    pub fn read(prefix: &'a [u8]) -> Result<Option<Self>, WireError> {
        let window = prefix.get(..BIND_HEAD_CAP).unwrap_or(prefix);
        let mut reader = Reader::new("Bind", window);
        let (Ok(portal), Ok(statement)) = (reader.string(), reader.string()) else {
            return if prefix.len() < BIND_HEAD_CAP {
                Ok(None)
            } else {
                Err(reader.fail(Fault::TooLong(BIND_HEAD_CAP)))
            };
        };
        Ok(Some(Self { portal, statement, consumed: reader.at() }))
    }
}

/// Parameters for a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Portal to make; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Statement to bind; empty for the unnamed one.
    pub statement: &'a [u8],
    /// How each parameter is encoded.
    pub parameter_formats: Formats<'a>,
    /// How each result column shall be encoded.
    pub result_formats: Formats<'a>,
    count: u16,
    /// The parameters, checked; the offset is into the body.
    values: &'a [u8],
    values_at: usize,
}

impl<'a> Bind<'a> {
    /// Parses the body of a `B`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Bind", body);
        let portal = reader.string()?;
        let statement = reader.string()?;
        let parameter_formats = Formats::read(&mut reader)?;
        let count = reader.count()?;
        let values_at = reader.at();
        for _ in 0..count {
            reader.value()?;
        }
        let values = body.get(values_at..reader.at()).unwrap_or_default();
        let result_formats = Formats::read(&mut reader)?;
        reader.end()?;
        Ok(Self { portal, statement, parameter_formats, result_formats, count, values, values_at })
    }

    /// How many parameters there are.
    pub fn parameter_count(&self) -> usize {
        usize::from(self.count)
    }

    /// The parameters in order; `None` is NULL.
    pub fn parameters(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        self.parameter_spans().map(|parameter| parameter.value)
    }

    /// The parameters with their places in the body, for a caller that replaces some of them.
    pub fn parameter_spans(&self) -> impl Iterator<Item = Parameter<'a>> + use<'a> {
        let mut reader = Reader::new("Bind", self.values);
        let base = self.values_at;
        (0..self.count).map_while(move |_| {
            let start = base + reader.at();
            let value = reader.value().ok()?;
            Some(Parameter { value, start, end: base + reader.at() })
        })
    }
}

/// One parameter of a Bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// `None` is NULL.
    pub value: Option<&'a [u8]>,
    /// Offset of its length word in the body.
    pub start: usize,
    /// Offset after its last byte in the body.
    pub end: usize,
}
