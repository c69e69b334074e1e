//! The second parser's lines and columns as byte offsets.

use crate::arbiter::seen::Edit;
use crate::parse::ast::{Ident, Spanned};

pub(super) struct Positions<'e> {
    base: usize,
    /// What was put in other words: the bytes of the new words are where the old ones began.
    edits: &'e [Edit],
    /// For each line: its first character's number, and its byte offset.
    lines: Vec<(usize, usize)>,
    /// Byte offset of every character, unless all are one byte.
    characters: Option<Vec<usize>>,
}

impl<'e> Positions<'e> {
    pub(super) fn new(text: &str, base: usize, edits: &'e [Edit]) -> Self {
        let mut lines = vec![(0, 0)];
        if text.is_ascii() {
            lines.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| (at + 1, at + 1)));
            return Self { base, edits, lines, characters: None };
        }
        let newlines = text.char_indices().enumerate().filter(|(_, (_, c))| *c == '\n');
        lines.extend(newlines.map(|(number, (at, _))| (number + 1, at + 1)));
        Self { base, edits, lines, characters: Some(text.char_indices().map(|(at, _)| at).collect()) }
    }

    /// Byte offset of what begins at this line and column (both from 1; columns are characters).
    fn offset(&self, line: u64, column: u64) -> Option<usize> {
        let line = usize::try_from(line).ok()?.checked_sub(1)?;
        let column = usize::try_from(column).ok()?.checked_sub(1)?;
        let (character, byte) = *self.lines.get(line)?;
        let at = match &self.characters {
            None => byte + column,
            Some(characters) => *characters.get(character + column)?,
        };
        Some(self.original(self.base + at))
    }

    /// The byte of the client's text that one of the readable text stands for.
    fn original(&self, mut at: usize) -> usize {
        for edit in self.edits.iter().filter(|edit| edit.range.start >= self.base) {
            if at < edit.range.start {
                break;
            }
            if at < edit.range.start + edit.instead.len() {
                return edit.range.start;
            }
            at = at + edit.range.len() - edit.instead.len();
        }
        at
    }

    pub(super) fn ident(&self, ident: &Ident) -> Option<usize> {
        self.offset(ident.span.start.line, ident.span.start.column)
    }

    pub(super) fn of(&self, node: &impl Spanned) -> Option<usize> {
        let start = node.span().start;
        self.offset(start.line, start.column)
    }
}
