//! A place in a text, as people count: lines and columns from 1.

use serde::{Deserialize, Serialize};

/// Where in a statement something stands, with the line that it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Byte offset in the text.
    pub offset: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, without its end.
    pub text: String,
}

/// Longer lines are shown in part, around the place.
const WIDEST: usize = 100;
/// So much of a longer line stands before the place.
const BEFORE: usize = 60;

impl Place {
    /// The place of a byte; one beyond the end is the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let (before, after) = text.split_at(offset);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        let end = after.find('\n').map_or(text.len(), |at| offset + at);
        Self {
            offset,
            line: line_of(text, offset),
            column,
            text: text.get(start..end).unwrap_or_default().trim_end_matches('\r').to_owned(),
        }
    }

    /// As psql shows it: `LINE 1: SELECT …`, and a caret under the place.
    pub fn show(&self) -> String {
        let mut shown: Vec<char> = self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut at = self.column.saturating_sub(1).min(shown.len());
        let mut head = format!("LINE {}: ", self.line);
        if shown.len() > WIDEST {
            let from = at.saturating_sub(BEFORE).min(shown.len() - WIDEST);
            let tail = from + WIDEST < shown.len();
            shown = shown.into_iter().skip(from).take(WIDEST).collect();
            at -= from;
            if from > 0 {
                head.push_str("...");
            }
            if tail {
                shown.extend("...".chars());
            }
        }
        let margin = " ".repeat(head.chars().count() + at);
        format!("{head}{}\n{margin}^\n", shown.into_iter().collect::<String>())
    }
}

/// The line that a byte is on, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let text = "SELECT id\nFROM größe WHERE email = 'x'";
        let place = Place::of(text, text.find("email").unwrap_or_default());
        assert_eq!((place.line, place.column), (2, 18));
        assert_eq!(place.show(), "LINE 2: FROM größe WHERE email = 'x'\n                         ^\n");
        assert_eq!(Place::of(text, 9_999).line, 2);
        assert_eq!(Place::of("", 3).show(), "LINE 1: \n        ^\n");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}email{}", "x".repeat(300), "y".repeat(300));
        let shown = Place::of(&text, 300).show();
        let (line, caret) = shown.split_once('\n').unwrap_or_default();
        assert!(line.len() < 130 && line.starts_with("LINE 1: ...x") && line.ends_with("y..."), "{line}");
        let at = caret.trim_end().len() - 1;
        assert_eq!(line.get(at..at + 5), Some("email"));
    }

    #[test]
    fn tabs_and_control_characters_are_blanks() {
        assert_eq!(Place::of("a\tb\u{1b}[31m", 2).show(), "LINE 1: a b [31m\n          ^\n");
    }
}
