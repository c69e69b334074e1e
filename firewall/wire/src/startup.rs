//! The packets that open a connection. They have no tag: a length word and a code.

use std::ops::RangeInclusive;

use crate::error::{Fault, WireError};
use crate::reader::Reader;

/// Largest body (after the length word) of a packet before authentication.
pub const CAP: usize = 10_000;
/// Bytes that a cancel secret may have.
pub const SECRET_LEN: RangeInclusive<usize> = 4..=256;
/// The first byte of a TLS handshake: a client that speaks TLS at once. No packet that is short
/// enough begins with it.
pub const TLS_HANDSHAKE: u8 = 0x16;

/// Code of a CancelRequest.
pub const CANCEL_CODE: u32 = 80_877_102;
/// Code of an SSLRequest.
pub const SSL_CODE: u32 = 80_877_103;
/// Code of a GSSENCRequest.
pub const GSS_CODE: u32 = 80_877_104;

/// Reads the length word at the start of `buf`: bytes of the packet's body, which follows it.
/// `None`: fewer than four bytes are there yet.
pub fn body_len(buf: &[u8]) -> Result<Option<usize>, WireError> {
    let Some((word, _)) = buf.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*word);
    let fail = |fault| WireError {
        message: "startup",
        at: 0,
        fault,
    };
    let whole = usize::try_from(length).map_err(|_| fail(Fault::BadLength(length)))?;
    match whole.checked_sub(4) {
        Some(body) if body > CAP => Err(fail(Fault::TooLong(CAP))),
        // The code is always there.
        Some(body) if body >= 4 => Ok(Some(body)),
        _ => Err(fail(Fault::BadLength(length))),
    }
}

/// One of the packets that open a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial<'a> {
    /// SSLRequest: may I speak TLS?
    Ssl,
    /// GSSENCRequest: may I speak GSSAPI encryption?
    Gss,
    /// CancelRequest: interrupt another connection.
    Cancel {
        /// Process, as BackendKeyData named it.
        pid: i32,
        /// Its secret.
        secret: &'a [u8],
    },
    /// StartupMessage.
    Startup {
        /// Major version; only of 3 are the parameters known.
        major: u16,
        /// Minor version; one that is unknown is to be negotiated down.
        minor: u16,
        /// User, database, settings and protocol options (`_pq_.…`); none if the major version is not 3.
        parameters: Parameters<'a>,
    },
}

impl<'a> Initial<'a> {
    /// Parses what follows the length word.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("startup", body);
        if body.len() > CAP {
            return Err(reader.fail(Fault::TooLong(CAP)));
        }
        match reader.oid()? {
            SSL_CODE => {
                reader.end()?;
                Ok(Self::Ssl)
            }
            GSS_CODE => {
                reader.end()?;
                Ok(Self::Gss)
            }
            CANCEL_CODE => {
                let pid = reader.int32()?;
                let before = reader;
                let secret = reader.remainder();
                if secret.len() < *SECRET_LEN.start() {
                    return Err(before.fail(Fault::Truncated));
                }
                if secret.len() > *SECRET_LEN.end() {
                    return Err(before.fail(Fault::TooLong(*SECRET_LEN.end())));
                }
                Ok(Self::Cancel { pid, secret })
            }
            version => {
                let [high, low, minor @ ..] = version.to_be_bytes();
                let major = u16::from_be_bytes([high, low]);
                let minor = u16::from_be_bytes(minor);
                let parameters = if major == 3 {
                    Parameters::read(reader)?
                } else {
                    Parameters(Reader::new("startup", &[]))
                };
                Ok(Self::Startup {
                    major,
                    minor,
                    parameters,
                })
            }
        }
    }
}

/// The parameters of a StartupMessage, checked.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a>(Reader<'a>);

impl<'a> Parameters<'a> {
    fn read(reader: Reader<'a>) -> Result<Self, WireError> {
        let mut check = reader;
        while next(&mut check)?.is_some() {}
        check.end()?;
        Ok(Self(reader))
    }

    /// Names and values in order. A name may occur twice; the server takes the last.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut reader = self.0;
        std::iter::from_fn(move || next(&mut reader).ok().flatten())
    }

    /// The value that counts: the last with this name.
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .filter(|(found, _)| *found == name)
            .last()
            .map(|(_, value)| value)
    }
}

impl PartialEq for Parameters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Parameters<'_> {}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// A pair, or `None` at the terminator (an empty name), which is consumed.
fn next<'a>(reader: &mut Reader<'a>) -> Result<Option<Pair<'a>>, WireError> {
    let name = reader.string()?;
    if name.is_empty() {
        return Ok(None);
    }
    Ok(Some((name, reader.string()?)))
}
