//! RowDescription and DataRow.

use thiserror::Error;

use super::{counted, frame, int16, int32, oid, seal, string, value};
use crate::backend::{self, Field};

/// A row that is longer than a message can be. Nothing of it was left in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a row of more than 2 GiB or 65,535 columns cannot be sent")]
pub struct TooLong;

/// RowDescription. Change a [`Field`]'s `type_oid`, `type_len`, `typmod` or `format` on its way here to tell
/// the client another type.
pub fn row_description<'a>(out: &mut Vec<u8>, fields: impl IntoIterator<Item = Field<'a>>) {
    frame(out, backend::ROW_DESCRIPTION, |out| counted(out, fields, |out, next| field(out, &next)));
}

/// One column as a RowDescription holds it, without any framing.
pub fn field(out: &mut Vec<u8>, field: &Field<'_>) {
    string(out, field.name);
    oid(out, field.table_oid);
    int16(out, field.attnum);
    oid(out, field.type_oid);
    int16(out, field.type_len);
    int32(out, field.typmod);
    int16(out, field.format);
}

/// Writes one DataRow into an output. Dropped before [`finish`](Self::finish), it takes back what it wrote.
#[derive(Debug)]
pub struct DataRowBuilder<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    columns: usize,
    failed: bool,
    done: bool,
}

impl<'o> DataRowBuilder<'o> {
    /// Begins a row.
    #[inline]
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[backend::DATA_ROW, 0, 0, 0, 0, 0, 0]);
        Self { out, start, columns: 0, failed: false, done: false }
    }

    /// A value.
    #[inline]
    pub fn col(&mut self, bytes: &[u8]) {
        self.failed |= value(self.out, Some(bytes)).is_err();
        self.columns += 1;
    }

    /// NULL.
    #[inline]
    pub fn null(&mut self) {
        int32(self.out, -1);
        self.columns += 1;
    }

    /// `columns` values copied from another row's body, length words included.
    #[inline]
    pub fn run(&mut self, bytes: &[u8], columns: usize) {
        self.out.extend_from_slice(bytes);
        self.columns += columns;
    }

    /// A value that `write` appends. What was in the output before must stay; an output cut
    /// below the value's beginning makes the row fail.
    #[inline]
    pub fn col_with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let word = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let written = write(self.out);
        let length = self.out.len().checked_sub(word + 4).and_then(|length| i32::try_from(length).ok());
        match (length, self.out.get_mut(word..).and_then(<[u8]>::first_chunk_mut::<4>)) {
            (Some(length), Some(place)) => *place = length.to_be_bytes(),
            _ => self.failed = true,
        }
        self.columns += 1;
        written
    }

    /// Ends the row: writes its length and number of columns.
    #[inline]
    pub fn finish(mut self) -> Result<(), TooLong> {
        let count = u16::try_from(self.columns).ok().filter(|_| !self.failed).ok_or(TooLong)?;
        let place = self.out.get_mut(self.start + 5..).and_then(<[u8]>::first_chunk_mut::<2>).ok_or(TooLong)?;
        *place = count.to_be_bytes();
        self.done = seal(self.out, self.start, self.start + 1);
        if self.done { Ok(()) } else { Err(TooLong) }
    }
}

impl Drop for DataRowBuilder<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.out.truncate(self.start);
        }
    }
}
