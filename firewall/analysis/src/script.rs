//! Files of statements, as psql reads them: where each statement begins and ends, what is psql's own, and what is data.

use std::ops::Range;

/// A file, cut into statements.
#[derive(Debug, Default)]
pub struct Script<'t> {
    pub pieces: Vec<Piece<'t>>,
    pub skipped: Vec<Skipped>,
}

/// One statement, without its semicolon and the comments before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'t> {
    pub text: &'t str,
    /// Byte offset in the file.
    pub offset: usize,
    /// From 1.
    pub line: usize,
}

/// Lines that are no statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// From 1.
    pub line: usize,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A psql command, by its name (`\restrict`).
    Command(Box<str>),
    /// Rows of a COPY, so many lines.
    Data(usize),
}

/// A word or sign of a statement that matters for where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Word,
    Open,
    Close,
    Semicolon,
    Backslash,
    /// A literal, a quoted name, an operator, a number.
    Other,
}

/// Cuts a file. Never fails: what is odd ends up in a statement, where the parser complains of it.
pub fn split(text: &str) -> Script<'_> {
    let mut reader = Reader { text, at: 0, script: Script::default(), counted: (0, 1) };
    while reader.statement() {}
    reader.script
}

/// The words and signs of one statement with their places, comments left out: (range, whether it is a word).
pub(crate) fn words(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    let mut depth = 0_usize;
    std::iter::from_fn(move || {
        while let Some((token, range)) = next(text, at) {
            at = range.end;
            match token {
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                Token::Word if depth == 0 => return Some(range),
                Token::Word | Token::Semicolon | Token::Backslash | Token::Other => {}
            }
        }
        None
    })
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    script: Script<'t>,
    /// Up to this byte lines have been counted, and how many.
    counted: (usize, usize),
}

impl<'t> Reader<'t> {
    /// Reads one statement, command or block of data; false at the end.
    fn statement(&mut self) -> bool {
        let mut start = None;
        let mut depth = 0_usize;
        let mut words = Words::default();
        while let Some((token, range)) = next(self.text, self.at) {
            self.at = range.end;
            match token {
                Token::Backslash => return self.backslash(start, range.start),
                Token::Semicolon if depth == 0 && !words.in_body() => {
                    if let Some(start) = start {
                        self.piece(start..range.start);
                        if words.copies_in() {
                            self.data();
                        }
                    }
                    return true;
                }
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                Token::Word if depth == 0 => words.see(self.text.get(range.clone()).unwrap_or_default()),
                Token::Word | Token::Semicolon | Token::Other => {}
            }
            start.get_or_insert(range.start);
        }
        if let Some(start) = start {
            self.piece(start..self.text.len());
        }
        false
    }

    /// A psql command, up to the end of the line. Within a statement it sends it off (`\g`, `\gset`), or is `\;`.
    fn backslash(&mut self, start: Option<usize>, at: usize) -> bool {
        if let Some(start) = start {
            self.piece(start..at);
        }
        let rest = self.text.get(at..).unwrap_or_default();
        if rest.starts_with("\\;") {
            self.at = at + 2;
            return true;
        }
        let line = rest.lines().next().unwrap_or_default();
        let name = line.split_whitespace().next().unwrap_or("\\");
        let command: Box<str> = name.chars().take(24).collect::<String>().into();
        self.at = at + line.len();
        let number = self.line(at);
        self.script.skipped.push(Skipped { line: number, what: What::Command(command) });
        true
    }

    fn piece(&mut self, range: Range<usize>) {
        let text = self.text.get(range.clone()).unwrap_or_default().trim_end();
        let line = self.line(range.start);
        self.script.pieces.push(Piece { text, offset: range.start, line });
    }

    /// Rows after `COPY … FROM stdin;`, to the line `\.` or the end.
    fn data(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut lines = 0;
        // The rest of the line of the semicolon.
        let mut length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let first = self.line((self.at + length).min(self.text.len()));
        for line in rest.get(length..).unwrap_or_default().split_inclusive('\n') {
            length += line.len();
            if line.trim_end_matches(['\n', '\r']) == "\\." {
                break;
            }
            lines += 1;
        }
        self.at += length;
        if lines > 0 {
            self.script.skipped.push(Skipped { line: first, what: What::Data(lines) });
        }
    }

    /// The line of a byte that is not before the last one asked for.
    fn line(&mut self, at: usize) -> usize {
        let (from, lines) = self.counted;
        let between = self.text.as_bytes().get(from..at).unwrap_or_default();
        let line = lines + between.iter().filter(|byte| **byte == b'\n').count();
        self.counted = (at.max(from), line);
        line
    }
}

/// What of a statement's words says where it ends.
#[derive(Debug, Default)]
struct Words {
    count: usize,
    /// CREATE …
    create: bool,
    /// … FUNCTION or PROCEDURE.
    routine: bool,
    /// BEGIN ATOMIC, and CASE within.
    begun: usize,
    copy: bool,
    from: bool,
    stdin: bool,
}

impl Words {
    fn see(&mut self, word: &str) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        self.count += 1;
        if self.count == 1 {
            self.create = is("create");
            self.copy = is("copy");
        }
        if self.create && self.count <= 4 && (is("function") || is("procedure")) {
            self.routine = true;
        }
        if self.copy {
            self.stdin |= self.from && is("stdin");
            self.from = is("from");
        }
        if self.routine {
            if is("begin") || (self.begun > 0 && is("case")) {
                self.begun += 1;
            } else if is("end") {
                self.begun = self.begun.saturating_sub(1);
            }
        }
    }

    fn in_body(&self) -> bool {
        self.begun > 0
    }

    fn copies_in(&self) -> bool {
        self.stdin
    }
}

/// The next token from a byte on, white space and comments skipped.
fn next(text: &str, from: usize) -> Option<(Token, Range<usize>)> {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied();
    let mut at = from;
    loop {
        let first = byte(at)?;
        let second = byte(at + 1);
        let end = match (first, second) {
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => {
                at += 1;
                continue;
            }
            (b'-', Some(b'-')) => {
                at = find(bytes, at, b'\n');
                continue;
            }
            (b'/', Some(b'*')) => {
                at = comment(bytes, at);
                continue;
            }
            // The mark that some editors put first.
            (0xef, Some(0xbb)) if at == 0 && byte(2) == Some(0xbf) => {
                at = 3;
                continue;
            }
            (b'\'', _) => quoted(bytes, at + 1, b'\'', false),
            (b'"', _) => quoted(bytes, at + 1, b'"', false),
            (b'e' | b'E', Some(b'\'')) => quoted(bytes, at + 2, b'\'', true),
            (b'$', _) => match tag(bytes, at) {
                Some(length) => dollar(bytes, at, length),
                None => at + 1,
            },
            (b'(' | b'[', _) => return Some((Token::Open, at..at + 1)),
            (b')' | b']', _) => return Some((Token::Close, at..at + 1)),
            (b';', _) => return Some((Token::Semicolon, at..at + 1)),
            (b'\\', _) => return Some((Token::Backslash, at..at + 1)),
            (b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.., _) => {
                let end = run(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80);
                return Some((Token::Word, at..end));
            }
            (b'0'..=b'9', _) => run(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'_'),
            _ => at + 1,
        };
        return Some((Token::Other, at..end));
    }
}

fn find(bytes: &[u8], from: usize, wanted: u8) -> usize {
    bytes.iter().skip(from).position(|b| *b == wanted).map_or(bytes.len(), |at| from + at)
}

fn run(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(from).position(|b| !belongs(*b)).map_or(bytes.len(), |at| from + at)
}

/// Comments nest.
fn comment(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < bytes.len() {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'/'), Some(b'*')) => {
                depth += 1;
                at += 2;
            }
            (Some(b'*'), Some(b'/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a literal or quoted name; doubled quotes read as two literals, which is as good here.
fn quoted(bytes: &[u8], from: usize, quote: u8, escapes: bool) -> usize {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte == quote {
            return at;
        }
        if escapes && byte == b'\\' {
            at += 1;
        }
    }
    bytes.len()
}

/// The length of `$tag$` at this byte.
fn tag(bytes: &[u8], at: usize) -> Option<usize> {
    let end = run(bytes, at + 1, |b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80);
    let digit = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    (!digit && bytes.get(end) == Some(&b'$')).then_some(end + 1 - at)
}

fn dollar(bytes: &[u8], at: usize, length: usize) -> usize {
    let tag = bytes.get(at..at + length).unwrap_or_default();
    let body = at + length;
    let found = bytes.get(body..).unwrap_or_default().windows(length).position(|window| window == tag);
    found.map_or(bytes.len(), |inside| body + inside + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(usize, &str)> {
        split(text).pieces.iter().map(|piece| (piece.line, piece.text)).collect()
    }

    #[test]
    fn semicolons_in_literals_comments_bodies_and_brackets_end_nothing() {
        assert_eq!(
            pieces(
                "SELECT 1; -- a;\n/* ; /* ; */ ; */ SELECT ';', \";\", E'\\';', $$;$$, $a$;$b$;$a$ ;;\nSELECT (1;2)"
            ),
            [(1, "SELECT 1"), (2, "SELECT ';', \";\", E'\\';', $$;$$, $a$;$b$;$a$"), (3, "SELECT (1;2)")]
        );
        assert_eq!(pieces("SELECT 'it''s;' ; SELECT $1;"), [(1, "SELECT 'it''s;'"), (1, "SELECT $1")]);
        let body = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
        assert_eq!(pieces(&format!("{body}; SELECT 3")), [(1, body), (1, "SELECT 3")]);
        assert_eq!(pieces("BEGIN; SELECT 1; END;").len(), 3);
    }

    #[test]
    fn what_is_psqls_own_is_skipped_and_named() {
        let script = split("\\restrict abc\nSELECT 1 \\gset x_\nSELECT 2 \\; SELECT 3;\n\\if :x\n");
        let texts: Vec<&str> = script.pieces.iter().map(|p| p.text).collect();
        assert_eq!(texts, ["SELECT 1", "SELECT 2", "SELECT 3"]);
        let skipped: Vec<(usize, &What)> = script.skipped.iter().map(|s| (s.line, &s.what)).collect();
        assert_eq!(
            skipped,
            [
                (1, &What::Command("\\restrict".into())),
                (2, &What::Command("\\gset".into())),
                (4, &What::Command("\\if".into()))
            ]
        );
    }

    #[test]
    fn rows_of_a_copy_are_skipped() {
        let script = split("COPY public.t (a) FROM stdin;\n1;\n'\n\\.\n\nSELECT 1;\nCOPY t TO stdout;\nSELECT 2");
        assert_eq!(script.pieces.iter().map(|p| p.line).collect::<Vec<_>>(), [1, 6, 7, 8]);
        assert_eq!(script.skipped, [Skipped { line: 2, what: What::Data(2) }]);
    }

    #[test]
    fn nothing_and_disorder_do_no_harm() {
        for text in
            ["", "  \n", ";;;", "'", "\"", "$$", "/*", "--", "\\", "(", "$1$", "E'\\", "\u{feff}SELECT 1", "é;ü"]
        {
            let script = split(text);
            assert!(script.pieces.len() <= 2, "{text}");
        }
        assert_eq!(pieces("\u{feff}SELECT 1"), [(1, "SELECT 1")]);
    }
}
