//! Where a message begins and ends: one tag byte, a length word, a body.

use crate::error::{Fault, WireError};

/// Largest body of any message: the length word counts itself and is a positive i32.
pub const MAX_BODY: usize = (i32::MAX - 4) as usize;

/// The first five bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What kind of message follows.
    pub tag: u8,
    /// Bytes after the length word.
    pub body: usize,
}

impl Header {
    /// Bytes of a header: tag and length word.
    pub const LEN: usize = 5;

    /// Reads the header at the start of `buf`. `None`: fewer than five bytes are there yet.
    #[inline]
    pub fn read(buf: &[u8]) -> Result<Option<Self>, WireError> {
        let Some(([tag, length @ ..], _)) = buf.split_first_chunk::<{ Self::LEN }>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(whole) if whole >= 4 => Ok(Some(Self { tag: *tag, body: whole - 4 })),
            _ => Err(WireError { message: "frame", at: 1, fault: Fault::BadLength(length) }),
        }
    }

    /// Bytes of the whole message, header included.
    #[inline]
    pub fn frame_len(&self) -> usize {
        Self::LEN + self.body
    }
}

/// One whole message in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What kind of message it is.
    pub tag: u8,
    /// After the length word.
    pub body: &'a [u8],
    /// With tag and length word: what is forwarded.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes the first message off `buf`, returning it and what follows it.
    /// `None`: the message is not there as a whole yet.
    #[inline]
    pub fn split(buf: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, WireError> {
        let Some(header) = Header::read(buf)? else {
            return Ok(None);
        };
        let Some((bytes, rest)) = buf.split_at_checked(header.frame_len()) else {
            return Ok(None);
        };
        let body = bytes.get(Header::LEN..).unwrap_or_default();
        Ok(Some((Self { tag: header.tag, body, bytes }, rest)))
    }
}

/// Iterates over the whole messages at the start of a buffer.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Starts at the beginning of `buf`, which must be the beginning of a message.
    pub fn new(buf: &'a [u8]) -> Self {
        Self { rest: buf }
    }

    /// What no returned message covers: nothing, or the beginning of an incomplete one.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, WireError>;

    /// After an error the iterator stays where it is; stop there.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match Frame::split(self.rest) {
            Ok(Some((frame, rest))) => {
                self.rest = rest;
                Some(Ok(frame))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_needs_five_bytes() {
        for short in 0..5 {
            assert_eq!(Header::read(b"S\0\0\0\x04".get(..short).unwrap()), Ok(None));
        }
        assert_eq!(Header::read(b"S\0\0\0\x04"), Ok(Some(Header { tag: b'S', body: 0 })));
    }

    #[test]
    fn impossible_lengths() {
        for length in [i32::MIN, -1, 0, 3] {
            let header = [&b"Q"[..], &length.to_be_bytes()].concat();
            assert_eq!(Header::read(&header).unwrap_err().fault, Fault::BadLength(length));
        }
    }

    #[test]
    fn the_longest_length_does_not_overflow() {
        let header = Header::read(b"d\x7f\xff\xff\xff").unwrap().unwrap();
        assert_eq!(header.body, MAX_BODY);
        assert_eq!(header.frame_len(), 1 + i32::MAX as usize);
        assert_eq!(Frame::split(b"d\x7f\xff\xff\xffabc"), Ok(None));
    }

    #[test]
    fn frames_in_a_row() {
        let mut frames = Frames::new(b"S\0\0\0\x04Q\0\0\0\x06x\0Z\0\0");
        assert_eq!(frames.next().unwrap().unwrap().bytes, b"S\0\0\0\x04");
        let query = frames.next().unwrap().unwrap();
        assert_eq!((query.tag, query.body), (b'Q', &b"x\0"[..]));
        assert!(frames.next().is_none());
        assert_eq!(frames.rest(), b"Z\0\0");
    }
}
