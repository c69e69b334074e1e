//! The messages of authentication.

use crate::error::{Fault, WireError};
use crate::reader::Reader;

/// What a server asks for (`R`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Nothing more.
    Ok,
    /// The password in clear text.
    CleartextPassword,
    /// The password, hashed with MD5 and this salt.
    Md5Password {
        /// Salt of this connection.
        salt: [u8; 4],
    },
    /// A SASL exchange with one of these mechanisms.
    Sasl(Mechanisms<'a>),
    /// The next challenge.
    SaslContinue(&'a [u8]),
    /// The server's last word.
    SaslFinal(&'a [u8]),
    /// Kerberos, GSSAPI, SSPI or something newer.
    Other(i32),
}

impl<'a> Authentication<'a> {
    /// Parses the body of an `R`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("Authentication", body);
        let request = match reader.int32()? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => Self::Md5Password { salt: reader.oid()?.to_be_bytes() },
            10 => Self::Sasl(Mechanisms::read(&mut reader)?),
            11 => Self::SaslContinue(reader.remainder()),
            12 => Self::SaslFinal(reader.remainder()),
            code => {
                reader.remainder();
                Self::Other(code)
            }
        };
        reader.end()?;
        Ok(request)
    }
}

/// SASL mechanisms that a server offers, best first.
#[derive(Debug, Clone, Copy)]
pub struct Mechanisms<'a>(Reader<'a>);

impl<'a> Mechanisms<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let start = *reader;
        while !reader.string()?.is_empty() {}
        Ok(Self(start))
    }

    /// Their names in order.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let mut reader = self.0;
        std::iter::from_fn(move || reader.string().ok().filter(|name| !name.is_empty()))
    }
}

impl PartialEq for Mechanisms<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Mechanisms<'_> {}

/// A client's password (`p` after CleartextPassword or Md5Password).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a> {
    /// Secret: never to be logged, hence no `Debug` of it.
    pub password: &'a [u8],
}

impl std::fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

impl<'a> Password<'a> {
    /// Parses the body of a `p`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("PasswordMessage", body);
        let password = reader.string()?;
        reader.end()?;
        Ok(Self { password })
    }
}

/// A client's choice of mechanism (`p` after Sasl). Later answers are the bare body of a `p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// One of those offered.
    pub mechanism: &'a [u8],
    /// First message of the mechanism, if it begins with the client.
    pub response: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Parses the body of a `p`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new("SASLInitialResponse", body);
        let mechanism = reader.string()?;
        if mechanism.is_empty() {
            return Err(reader.fail(Fault::BadByte(0)));
        }
        let response = reader.value()?;
        reader.end()?;
        Ok(Self { mechanism, response })
    }
}
