//! The second parser's lines and columns as byte offsets.

use crate::parse::ast::{Ident, Spanned};

pub(super) struct Positions<'t> {
    text: &'t str,
    base: usize,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Positions<'t> {
    pub(super) fn new(text: &'t str, base: usize) -> Self {
        let mut lines = vec![0];
        lines.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1));
        Self { text, base, lines }
    }

    /// Byte offset of what begins at this line and column (both from 1; columns are characters).
    fn offset(&self, line: u64, column: u64) -> Option<usize> {
        let line = usize::try_from(line).ok()?.checked_sub(1)?;
        let column = usize::try_from(column).ok()?.checked_sub(1)?;
        let start = *self.lines.get(line)?;
        let rest = self.text.get(start..)?;
        let bytes = if rest.as_bytes().get(..column).is_some_and(<[u8]>::is_ascii) {
            column
        } else {
            rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
        };
        Some(self.base + start + bytes)
    }

    pub(super) fn ident(&self, ident: &Ident) -> Option<usize> {
        self.offset(ident.span.start.line, ident.span.start.column)
    }

    pub(super) fn of(&self, node: &impl Spanned) -> Option<usize> {
        let start = node.span().start;
        self.offset(start.line, start.column)
    }
}
