//! Borrowed arrays of big-endian integers, as messages hold them.

use crate::error::WireError;
use crate::reader::Reader;

/// Format codes: 0 is text, 1 is binary; the server rejects others, parsing does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats<'a>(&'a [[u8; 2]]);

impl<'a> Formats<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let count = usize::from(reader.count()?);
        Ok(Self(reader.bytes(count * 2)?.as_chunks().0))
    }

    /// How many codes the message holds.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// No code: everything is text.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The codes in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i16> + Clone + use<'a> {
        self.0.iter().map(|code| i16::from_be_bytes(*code))
    }

    /// The code for value `index`: no code means text for all, one code holds for all.
    /// `None`: the message holds several codes, but not that many.
    pub fn of(self, index: usize) -> Option<i16> {
        match self.0 {
            [] => Some(0),
            [one] => Some(i16::from_be_bytes(*one)),
            several => several.get(index).map(|code| i16::from_be_bytes(*code)),
        }
    }
}

/// Type OIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oids<'a>(&'a [[u8; 4]]);

impl<'a> Oids<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let count = usize::from(reader.count()?);
        Ok(Self(reader.bytes(count * 4)?.as_chunks().0))
    }

    /// How many OIDs the message holds.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// No OID.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The OIDs in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> + Clone + use<'a> {
        self.0.iter().map(|oid| u32::from_be_bytes(*oid))
    }

    /// The OID at `index`.
    pub fn get(self, index: usize) -> Option<u32> {
        self.0.get(index).map(|oid| u32::from_be_bytes(*oid))
    }
}
