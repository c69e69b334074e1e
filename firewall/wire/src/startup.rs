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
    let fail = |fault| WireError { message: "startup", at: 0, fault };
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
                let parameters =
                    if major == 3 { Parameters::read(reader)? } else { Parameters(Reader::new("startup", &[])) };
                Ok(Self::Startup { major, minor, parameters })
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
        self.iter().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fault(body: &[u8]) -> (Fault, usize) {
        let error = Initial::parse(body).unwrap_err();
        (error.fault, error.at)
    }

    #[test]
    fn lengths() {
        assert_eq!(body_len(b"\0\0\0"), Ok(None));
        assert_eq!(body_len(b"\0\0\0\x08"), Ok(Some(4)));
        assert_eq!(body_len(b"\0\0\x27\x14"), Ok(Some(CAP)));
        assert_eq!(body_len(b"\0\0\x27\x15").unwrap_err().fault, Fault::TooLong(CAP));
        assert_eq!(body_len(b"\0\0\0\x07").unwrap_err().fault, Fault::BadLength(7));
        assert_eq!(body_len(b"\xff\xff\xff\xff").unwrap_err().fault, Fault::BadLength(-1));
        // A TLS ClientHello is too long to be a packet.
        assert!(body_len(&[TLS_HANDSHAKE, 3, 1, 0]).is_err());
    }

    #[test]
    fn requests() {
        assert_eq!(Initial::parse(&SSL_CODE.to_be_bytes()), Ok(Initial::Ssl));
        assert_eq!(Initial::parse(&GSS_CODE.to_be_bytes()), Ok(Initial::Gss));
        let ssl = [&SSL_CODE.to_be_bytes()[..], b"x"].concat();
        assert_eq!(fault(&ssl), (Fault::Trailing, 4));
        let cancel = |secret: &[u8]| [&CANCEL_CODE.to_be_bytes()[..], &[0, 0, 0, 9], secret].concat();
        assert_eq!(Initial::parse(&cancel(b"abcd")), Ok(Initial::Cancel { pid: 9, secret: b"abcd" }));
        assert!(Initial::parse(&cancel(&[1; 256])).is_ok());
        assert_eq!(fault(&cancel(b"abc")), (Fault::Truncated, 8));
        assert_eq!(fault(&cancel(&[1; 257])), (Fault::TooLong(256), 8));
    }

    #[test]
    fn parameters() {
        let startup = |rest: &[u8]| [&[0, 3, 0, 0][..], rest].concat();
        let body = startup(b"user\0me\0user\0you\0database\0\0\0");
        let Ok(Initial::Startup { major: 3, minor: 0, parameters }) = Initial::parse(&body) else {
            unreachable!("not a startup message");
        };
        assert_eq!(parameters.iter().count(), 3);
        assert_eq!(parameters.get(b"user"), Some(&b"you"[..]));
        assert_eq!(parameters.get(b"database"), Some(&b""[..]));
        assert_eq!(fault(&startup(b"")), (Fault::Unterminated, 4));
        assert_eq!(fault(&startup(b"user\0me\0")), (Fault::Unterminated, 12));
        assert_eq!(fault(&startup(b"user\0\0")), (Fault::Unterminated, 10));
        assert_eq!(fault(&startup(b"\0x")), (Fault::Trailing, 5));
    }

    #[test]
    fn other_versions_keep_their_secrets() {
        let Ok(Initial::Startup { major, minor, parameters }) = Initial::parse(&[0, 2, 0, 1, 9, 9]) else {
            unreachable!("not a startup message");
        };
        assert_eq!((major, minor, parameters.iter().count()), (2, 1, 0));
    }
}
