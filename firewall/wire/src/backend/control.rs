//! The server's small messages.

use crate::error::{Fault, WireError};
use crate::ints::{Formats, Oids};
use crate::reader::Reader;
use crate::startup::SECRET_LEN;

/// A setting's value, at login and whenever it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// Name of the setting.
    pub name: &'a [u8],
    /// Its value now.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Parses the body of an `S`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("ParameterStatus", body);
        let name = reader.string()?;
        let value = reader.string()?;
        reader.end()?;
        Ok(Self { name, value })
    }
}

/// The server waits for the next statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyForQuery {
    /// `I` idle, `T` in a transaction, `E` in a failed one.
    pub status: u8,
}

impl ReadyForQuery {
    /// Parses the body of a `Z`.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("ReadyForQuery", body);
        let before = reader;
        let status = reader.byte()?;
        reader.end()?;
        if matches!(status, b'I' | b'T' | b'E') {
            Ok(Self { status })
        } else {
            Err(before.fail(Fault::BadByte(status)))
        }
    }
}

/// A statement is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// Command and number of rows, such as `SELECT 5`.
    pub tag: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Parses the body of a `C`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("CommandComplete", body);
        let tag = reader.string()?;
        reader.end()?;
        Ok(Self { tag })
    }

    /// The number at the tag's end: rows returned or touched.
    pub fn rows(&self) -> Option<u64> {
        let digits = self.tag.rsplit(|&byte| byte == b' ').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// A NOTIFY that the session listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification<'a> {
    /// Backend that sent it.
    pub pid: i32,
    /// Channel.
    pub channel: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> Notification<'a> {
    /// Parses the body of an `A`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("NotificationResponse", body);
        let pid = reader.int32()?;
        let channel = reader.string()?;
        let payload = reader.string()?;
        reader.end()?;
        Ok(Self { pid, channel, payload })
    }
}

/// COPY begins: CopyInResponse, CopyOutResponse or CopyBothResponse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// 0 text or CSV, 1 binary.
    pub overall: u8,
    /// One for each column.
    pub formats: Formats<'a>,
}

impl<'a> CopyResponse<'a> {
    /// Parses the body of a `G`, `H` or `W`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("CopyResponse", body);
        let before = reader;
        let overall = reader.byte()?;
        if overall > 1 {
            return Err(before.fail(Fault::BadByte(overall)));
        }
        let formats = Formats::read(&mut reader)?;
        reader.end()?;
        Ok(Self { overall, formats })
    }
}

/// The parameters of a described statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterDescription<'a> {
    /// Their types.
    pub types: Oids<'a>,
}

impl<'a> ParameterDescription<'a> {
    /// Parses the body of a `t`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("ParameterDescription", body);
        let types = Oids::read(&mut reader)?;
        reader.end()?;
        Ok(Self { types })
    }
}

/// What a CancelRequest must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// Process.
    pub pid: i32,
    /// Its secret: 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// Parses the body of a `K`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("BackendKeyData", body);
        let pid = reader.int32()?;
        let before = reader;
        let secret = reader.remainder();
        if secret.len() < *SECRET_LEN.start() {
            return Err(before.fail(Fault::Truncated));
        }
        if secret.len() > *SECRET_LEN.end() {
            return Err(before.fail(Fault::TooLong(*SECRET_LEN.end())));
        }
        Ok(Self { pid, secret })
    }
}

/// The server speaks an older minor version, or lacks options that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// Newest version that it speaks: minor number, in newer servers with the major one above it.
    pub newest: u32,
    count: u32,
    options: &'a [u8],
}

impl<'a> NegotiateProtocolVersion<'a> {
    const MESSAGE: &'static str = "NegotiateProtocolVersion";

    /// Parses the body of a `v`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(Self::MESSAGE, body);
        let newest = reader.oid()?;
        let before = reader;
        let count = reader.int32()?;
        let count = u32::try_from(count).map_err(|_| before.fail(Fault::BadLength(count)))?;
        let mut check = reader;
        let options = reader.remainder();
        // Each option takes a byte at least, so a huge count ends this soon.
        for _ in 0..count {
            check.string()?;
        }
        check.end()?;
        Ok(Self { newest, count, options })
    }

    /// The options that the server does not know.
    pub fn options(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(Self::MESSAGE, self.options);
        (0..self.count).map_while(move |_| reader.string().ok())
    }
}
