//! RowDescription and DataRow.

use crate::error::WireError;
use crate::reader::Reader;

/// The columns of the rows that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowDescription<'a> {
    count: u16,
    body: &'a [u8],
}

/// One column of a RowDescription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name, in the client's encoding.
    pub name: &'a [u8],
    /// Table that the column comes from unmodified; 0 if it is computed.
    pub table_oid: u32,
    /// Number of the column in that table; 0 if it is computed.
    pub attnum: i16,
    /// Type.
    pub type_oid: u32,
    /// Size of the type; negative if variable.
    pub type_len: i16,
    /// Type modifier; -1 for none.
    pub typmod: i32,
    /// 0 text, 1 binary; 0 where a statement is described, since it is not known yet.
    pub format: i16,
}

impl<'a> RowDescription<'a> {
    const MESSAGE: &'static str = "RowDescription";

    /// Parses the body of a `T`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(Self::MESSAGE, body);
        let count = reader.count()?;
        for _ in 0..count {
            Field::read(&mut reader)?;
        }
        reader.end()?;
        Ok(Self { count, body })
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Rows without columns (`SELECT` alone) are legal.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + Clone + use<'a> {
        let mut reader = Reader::new(Self::MESSAGE, self.body.get(2..).unwrap_or_default());
        (0..self.count).map_while(move |_| Field::read(&mut reader).ok())
    }
}

impl<'a> Field<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            name: reader.string()?,
            table_oid: reader.oid()?,
            attnum: reader.int16()?,
            type_oid: reader.oid()?,
            type_len: reader.int16()?,
            typmod: reader.int32()?,
            format: reader.int16()?,
        })
    }
}

/// One row, checked as a whole. For a single pass over many rows see [`DataRow::walk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRow<'a> {
    body: &'a [u8],
    count: u16,
}

/// One value of a row and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// `None` is NULL.
    pub value: Option<&'a [u8]>,
    /// Offset of its length word in the body.
    pub start: usize,
    /// Offset after its last byte in the body.
    pub end: usize,
}

impl<'a> DataRow<'a> {
    const MESSAGE: &'static str = "DataRow";

    /// Parses the body of a `D`.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut walk = Self::walk(body)?;
        let count = walk.left;
        while walk.step()?.is_some() {}
        Ok(Self { body, count })
    }

    /// Walks a body that has not been checked, checking as it goes: one pass, for rewriters.
    #[inline]
    pub fn walk(body: &'a [u8]) -> Result<ColumnWalk<'a>, WireError> {
        let mut reader = Reader::new(Self::MESSAGE, body);
        let left = reader.count()?;
        Ok(ColumnWalk { reader, left })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Rows without columns (`SELECT` alone) are legal.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values in order; `None` is NULL.
    pub fn columns(&self) -> impl Iterator<Item = Option<&'a [u8]>> + Clone + use<'a> {
        self.spans().map(|column| column.value)
    }

    /// The values with their places in the body, so that unchanged runs can be copied at once.
    pub fn spans(&self) -> impl Iterator<Item = Column<'a>> + Clone + use<'a> {
        let mut walk = Self::walk(self.body).ok();
        std::iter::from_fn(move || walk.as_mut()?.step().ok().flatten())
    }
}

/// A pass over the values of one row. The row is well-formed once [`step`](Self::step) has returned `Ok(None)`.
#[derive(Debug, Clone)]
pub struct ColumnWalk<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl<'a> ColumnWalk<'a> {
    /// Values not yet returned; before the first step, the row's number of columns.
    pub fn remaining(&self) -> usize {
        usize::from(self.left)
    }

    /// Offset in the body of the next value's length word.
    pub fn at(&self) -> usize {
        self.reader.at()
    }

    /// The next value; `None` after the last, when the body has ended with it.
    #[inline]
    pub fn step(&mut self) -> Result<Option<Column<'a>>, WireError> {
        let Some(left) = self.left.checked_sub(1) else {
            self.reader.end()?;
            return Ok(None);
        };
        let start = self.reader.at();
        let value = self.reader.value()?;
        self.left = left;
        Ok(Some(Column { value, start, end: self.reader.at() }))
    }
}
