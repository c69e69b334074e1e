//! A cursor over one message's body. The only code that takes bytes apart.

use crate::error::{Fault, WireError};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    message: &'static str,
    total: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(message: &'static str, body: &'a [u8]) -> Self {
        Self { message, total: body.len(), rest: body }
    }

    /// Offset of the next unread byte.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    #[cold]
    pub(crate) fn fail(&self, fault: Fault) -> WireError {
        WireError { message: self.message, at: self.at(), fault }
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(*chunk)
            }
            None => Err(self.fail(Fault::Truncated)),
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, WireError> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn int16(&mut self) -> Result<i16, WireError> {
        self.chunk().map(i16::from_be_bytes)
    }

    /// Counts are unsigned: the server reads them so, and 65,535 parameters are legal.
    #[inline]
    pub(crate) fn count(&mut self) -> Result<u16, WireError> {
        self.chunk().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn int32(&mut self) -> Result<i32, WireError> {
        self.chunk().map(i32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn oid(&mut self) -> Result<u32, WireError> {
        self.chunk().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.fail(Fault::Truncated)),
        }
    }

    /// Up to the first NUL, which is consumed and not returned.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], WireError> {
        let Some(nul) = memchr::memchr(0, self.rest) else {
            return Err(self.fail(Fault::Unterminated));
        };
        let string = self.bytes(nul)?;
        self.byte()?;
        Ok(string)
    }

    /// A length word and that many bytes; -1 is NULL, anything below is malformed.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let Some((word, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(self.fail(Fault::Truncated));
        };
        let len = i32::from_be_bytes(*word);
        match usize::try_from(len) {
            Ok(len) => match rest.split_at_checked(len) {
                Some((value, rest)) => {
                    self.rest = rest;
                    Ok(Some(value))
                }
                None => Err(self.fail(Fault::Truncated)),
            },
            Err(_) if len == -1 => {
                self.rest = rest;
                Ok(None)
            }
            Err(_) => Err(self.fail(Fault::BadLength(len))),
        }
    }

    /// Everything that is left.
    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The body must end here.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fail(Fault::Trailing)) }
    }
}
