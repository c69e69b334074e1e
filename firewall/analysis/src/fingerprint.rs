//! A statement's shape as 64 bits: literals and numbers are one thing, white space and comments are none, lists of
//! literals have one length. Lexical, in one pass, without allocation, on any bytes.

use std::cell::RefCell;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const LITERAL: u64 = 0x3f;

/// The fingerprint of a text.
pub fn fingerprint(text: &[u8]) -> u64 {
    shape(text).0
}

/// The fingerprint of a text, and the number of its literals.
pub fn shape(text: &[u8]) -> (u64, u32) {
    recent(text).unwrap_or_else(|| lexed(text, State::new(text), text))
}

fn lexed<'t>(text: &'t [u8], mut state: State<'t>, rest: &'t [u8]) -> (u64, u32) {
    lex(rest, &mut state);
    let resume = state.resume;
    let shape = state.finish();
    remember(text, resume, shape);
    shape
}

/// Texts that a thread saw lately: an application says the same again and again, with other values.
const RECENT: usize = 64;
/// Shorter texts are lexed as fast, longer ones are not kept.
const KEPT: std::ops::RangeInclusive<usize> = 32..=1024;

struct Seen {
    text: Box<[u8]>,
    resume: Option<Resume>,
    shape: (u64, u32),
}

/// Before the first literal, where a token ends whatever follows it.
#[derive(Clone, Copy)]
struct Resume {
    at: usize,
    hash: u64,
    list: List,
}

thread_local! {
    static SEEN: RefCell<[Option<Seen>; RECENT]> = const { RefCell::new([const { None }; RECENT]) };
}

/// What is known of the text, or of its beginning.
fn recent(text: &[u8]) -> Option<(u64, u32)> {
    let slot = slot(text)?;
    SEEN.with_borrow(|seen| {
        let seen = seen.get(slot)?.as_ref()?;
        if *seen.text == *text {
            return Some(seen.shape);
        }
        let Resume { at, hash, list } = seen.resume?;
        let rest = text.strip_prefix(seen.text.get(..at)?)?;
        let mut state = State { hash, list, ..State::new(text) };
        lex(rest, &mut state);
        Some(state.finish())
    })
}

fn remember(text: &[u8], resume: Option<Resume>, shape: (u64, u32)) {
    if let Some(slot) = slot(text) {
        SEEN.with_borrow_mut(|seen| {
            if let Some(slot) = seen.get_mut(slot) {
                *slot = Some(Seen { text: text.into(), resume, shape });
            }
        });
    }
}

/// Texts that begin alike share a place.
fn slot(text: &[u8]) -> Option<usize> {
    if !KEPT.contains(&text.len()) {
        return None;
    }
    let start = text.first_chunk::<32>()?;
    let mix = start.as_chunks::<8>().0.iter().fold(SEED, |mix, chunk| {
        (mix ^ u64::from_le_bytes(*chunk)).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_right(29)
    });
    usize::try_from(mix % RECENT as u64).ok()
}

/// The literals of a text as they are written, quotes included. The same value written otherwise is another literal.
pub fn literals(text: &[u8], found: impl FnMut(&[u8])) {
    lex(text, &mut Literals(found));
}

/// Takes what the text is made of, in order.
trait Lexemes {
    /// The first `len` bytes of `text`.
    fn literal(&mut self, text: &[u8], len: usize);
    /// The first `len` bytes of `text`.
    fn word(&mut self, text: &[u8], len: usize);
    fn symbol(&mut self, symbol: u8);
}

struct Literals<F>(F);

impl<F: FnMut(&[u8])> Lexemes for Literals<F> {
    fn literal(&mut self, text: &[u8], len: usize) {
        let literal = split(text, len).0;
        // Not a parameter.
        if !matches!(literal, [b'$', b'0'..=b'9', ..]) {
            (self.0)(literal);
        }
    }

    fn word(&mut self, _: &[u8], _: usize) {}

    fn symbol(&mut self, _: u8) {}
}

fn lex(text: &[u8], into: &mut impl Lexemes) {
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = match class(first) {
            Class::Blank => tail,
            Class::Word => {
                let len = run(rest, b'$');
                let (word, after) = split(rest, len);
                match (word, after.first()) {
                    ([b'e' | b'E' | b'b' | b'B' | b'x' | b'X' | b'n' | b'N'], Some(b'\'')) => {
                        literal(rest, quoted(after, b'\'', matches!(word, [b'e' | b'E'])), into)
                    }
                    _ => {
                        into.word(rest, len);
                        after
                    }
                }
            }
            Class::Digit => literal(rest, split(rest, run(rest, b'.')).1, into),
            Class::Quote => literal(rest, quoted(rest, b'\'', false), into),
            Class::Name => {
                let after = quoted(rest, b'"', false);
                into.word(rest, rest.len() - after.len());
                after
            }
            Class::Dollar => match dollar(rest) {
                Some(after) => literal(rest, after, into),
                None => {
                    into.symbol(b'$');
                    tail
                }
            },
            Class::Other => match (first, tail.first()) {
                (b'-', Some(b'-')) => {
                    let len = span(rest, |b| b != b'\n');
                    split(rest, len).1
                }
                (b'/', Some(b'*')) => comment(rest),
                (b'.', Some(b'0'..=b'9')) => {
                    let len = span(tail, |b| matches!(class(b), Class::Word | Class::Digit));
                    literal(rest, split(tail, len).1, into)
                }
                _ => {
                    into.symbol(first);
                    tail
                }
            },
        };
    }
}

/// The literal at the start of `bytes`, up to `after`.
fn literal<'a>(bytes: &[u8], after: &'a [u8], into: &mut impl Lexemes) -> &'a [u8] {
    into.literal(bytes, bytes.len() - after.len());
    after
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    Word,
    Digit,
    Quote,
    Name,
    Dollar,
    Other,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut at = 0;
    while at < 256 {
        #[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]
        {
            table[at] = match at as u8 {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Blank,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Word,
                b'0'..=b'9' => Class::Digit,
                b'\'' => Class::Quote,
                b'"' => Class::Name,
                b'$' => Class::Dollar,
                _ => Class::Other,
            };
        }
        at += 1;
    }
    table
};

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

/// Where a list of literals stands: `(?`, `(?,`, ….
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    None,
    /// A literal was hashed.
    Literal,
    /// A comma after a literal is held back.
    Comma,
}

struct State<'t> {
    text: &'t [u8],
    hash: u64,
    list: List,
    literals: u32,
    resume: Option<Resume>,
}

impl<'t> State<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self { text, hash: SEED, list: List::None, literals: 0, resume: None }
    }

    fn mix(&mut self, value: u64) {
        let product = u128::from(self.hash ^ value) * u128::from(0xd6e8_feb8_6659_fd93_u64);
        #[allow(clippy::cast_possible_truncation)]
        {
            self.hash = (product >> 64) as u64 ^ product as u64;
        }
    }

    fn settle(&mut self) {
        if self.list == List::Comma {
            self.mix(u64::from(b','));
        }
        self.list = List::None;
    }

    fn finish(mut self) -> (u64, u32) {
        self.settle();
        self.mix(0);
        (self.hash, self.literals)
    }
}

impl Lexemes for State<'_> {
    /// Literals after the first of a comma-separated run leave no trace.
    fn literal(&mut self, rest: &[u8], _: usize) {
        if self.literals == 0 {
            let at = self.text.len() - rest.len();
            // Signs that no other joins.
            let before = at.checked_sub(1).and_then(|before| self.text.get(before));
            if matches!(before, Some(b' ' | b'\t' | b'\n' | b'(' | b',' | b'=')) {
                self.resume = Some(Resume { at, hash: self.hash, list: self.list });
            }
        }
        if self.list != List::Comma {
            self.mix(LITERAL);
        }
        self.literals = self.literals.wrapping_add(1);
        self.list = List::Literal;
    }

    fn symbol(&mut self, symbol: u8) {
        if symbol == b',' && self.list == List::Literal {
            self.list = List::Comma;
            return;
        }
        self.settle();
        // A trailing semicolon is not part of the statement.
        if symbol != b';' {
            self.mix(u64::from(symbol));
        }
    }

    fn word(&mut self, text: &[u8], len: usize) {
        self.settle();
        let mut rest = split(text, len - len % 8);
        for chunk in rest.0.as_chunks::<8>().0 {
            self.mix(folded(u64::from_le_bytes(*chunk)));
        }
        let left = len % 8;
        let last = match rest.1.first_chunk::<8>() {
            // What follows the word is cut off.
            Some(chunk) => u64::from_le_bytes(*chunk) & ((1 << (8 * left)) - 1),
            None => {
                rest.1 = rest.1.get(..left).unwrap_or_default();
                rest.1.iter().rev().fold(0, |last, byte| last << 8 | u64::from(*byte))
            }
        };
        // The length keeps words apart from each other and from symbols.
        self.mix(folded(last) ^ (0x100 + len as u64).rotate_right(12));
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
/// The high bit of every byte.
const HIGH: u64 = 0x80 * ONES;

/// Eight bytes with their ASCII capitals made small.
fn folded(bytes: u64) -> u64 {
    let low = bytes & !HIGH;
    let from_a = low + (0x80 - 0x41) * ONES;
    let after_z = low + (0x7f - 0x5a) * ONES;
    let capital = (from_a ^ after_z) & !bytes & HIGH;
    bytes | (capital >> 2)
}

/// How many bytes at the beginning are of words, digits, or `extra` (ASCII).
fn run(bytes: &[u8], extra: u8) -> usize {
    let mut at = 0;
    loop {
        let rest = split(bytes, at).1;
        let Some(chunk) = rest.first_chunk::<8>() else {
            return at + span(rest, |b| matches!(class(b), Class::Word | Class::Digit) || b == extra);
        };
        let inside = in_words(u64::from_le_bytes(*chunk), extra);
        let len = (!inside & HIGH).trailing_zeros() / 8;
        at += len as usize;
        if len < 8 {
            return at;
        }
    }
}

/// The high bits of those of eight bytes that are of words, digits, or `extra`: no sum below leaves its byte.
fn in_words(bytes: u64, extra: u8) -> u64 {
    let low = bytes & !HIGH;
    let small = low | (0x20 * ONES);
    let letter = (small + (0x80 - 0x61) * ONES) & !(small + (0x80 - 0x7b) * ONES);
    let digit = (low + (0x80 - 0x30) * ONES) & !(low + (0x80 - 0x3a) * ONES);
    let underscore = HIGH - (low ^ (0x5f * ONES));
    let extra = HIGH - (low ^ (u64::from(extra) * ONES));
    (letter | digit | underscore | extra | bytes) & HIGH
}

fn span(bytes: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !matches(*b)).unwrap_or(bytes.len())
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

/// What follows a quoted thing at the start of `bytes`.
fn quoted(bytes: &[u8], quote: u8, escapes: bool) -> &[u8] {
    let mut rest = split(bytes, 1).1;
    loop {
        let len = span(rest, |b| b != quote && !(escapes && b == b'\\'));
        rest = split(rest, len).1;
        match rest {
            [b'\\', _, tail @ ..] if escapes => rest = tail,
            [_, second, tail @ ..] if *second == quote => rest = tail,
            [_, tail @ ..] => return tail,
            [] => return &[],
        }
    }
}

/// What follows `$1`, `$$…$$` or `$tag$…$tag$`; `None`: a lone dollar.
fn dollar(bytes: &[u8]) -> Option<&[u8]> {
    let tail = split(bytes, 1).1;
    if tail.first().is_some_and(u8::is_ascii_digit) {
        return Some(split(tail, span(tail, |b| b.is_ascii_digit())).1);
    }
    let tag = span(tail, |b| matches!(class(b), Class::Word | Class::Digit));
    let (opening, body) = split(bytes, tag + 2);
    if opening.last() != Some(&b'$') || opening.len() != tag + 2 {
        return None;
    }
    let mut at = 0;
    while let Some(offset) = body.get(at..).and_then(|b| b.iter().position(|b| *b == b'$')) {
        at += offset;
        if body.get(at..).is_some_and(|b| b.starts_with(opening)) {
            return Some(split(body, at + opening.len()).1);
        }
        at += 1;
    }
    Some(&[])
}

/// What follows a (nested) comment.
fn comment(bytes: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    let mut rest = bytes;
    loop {
        match rest {
            [b'/', b'*', tail @ ..] => {
                depth += 1;
                rest = tail;
            }
            [b'*', b'/', tail @ ..] => {
                depth -= 1;
                rest = tail;
                if depth == 0 {
                    return rest;
                }
            }
            [_, tail @ ..] => rest = split(tail, span(tail, |b| b != b'*' && b != b'/')).1,
            [] => return &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fingerprint as f;

    fn same(a: &str, b: &str) {
        assert_eq!(f(a.as_bytes()), f(b.as_bytes()), "{a} / {b}");
    }

    fn other(a: &str, b: &str) {
        assert_ne!(f(a.as_bytes()), f(b.as_bytes()), "{a} / {b}");
    }

    #[test]
    fn literals_and_white_space_do_not_count() {
        same("SELECT 1", "select   2 ;");
        same("SELECT 'a'", "SELECT 'it''s'");
        same("SELECT 'a'", "SELECT E'it\\'s'");
        same("SELECT 'a'", "SELECT $t$ x $ $t$");
        same("SELECT $1", "SELECT 42.5e3");
        same("SELECT .5", "SELECT 1");
        same("SELECT a FROM t WHERE id IN (1)", "SELECT a FROM t WHERE id IN (1, 2,\n 3)");
        same("SELECT 1 -- a", "SELECT 1");
        same("SELECT 1 -- a\n", "SELECT 1");
        same("/* a /* b */ c */ SELECT 1", "SELECT 1");
        same("SELECT 1", "SELECT 1 /* open");
    }

    #[test]
    fn names_and_structure_do() {
        other("SELECT a", "SELECT b");
        other("SELECT a", "SELECT \"a\"");
        other("SELECT a, b", "SELECT a");
        other("SELECT 1, a", "SELECT 1");
        other("SELECT a.b", "SELECT a b");
        other("SELECT (1)", "SELECT 1");
        other("SELECT 1 + 1", "SELECT 1 - 1");
        other("", "SELECT");
    }

    /// The same, byte by byte.
    #[test]
    fn eight_bytes_at_once_are_eight_bytes() {
        use super::{Class, class, folded, in_words, run};
        for byte in 0..=255_u8 {
            for other in [b'a', b'$', 0, 0xff, b' ', b'9', b'Z', 0x7f] {
                for extra in [b'$', b'.'] {
                    let is = |b: u8| matches!(class(b), Class::Word | Class::Digit) || b == extra;
                    let bytes = [byte, other, byte, byte, other, other, byte, other];
                    let inside = in_words(u64::from_le_bytes(bytes), extra).to_le_bytes();
                    assert_eq!(inside, bytes.map(|b| if is(b) { 0x80 } else { 0 }), "{bytes:?}");
                    let twice = [bytes, bytes].concat();
                    assert_eq!(run(&twice, extra), twice.iter().take_while(|b| is(**b)).count());
                    assert_eq!(folded(u64::from_le_bytes(bytes)).to_le_bytes(), bytes.map(|b| b.to_ascii_lowercase()));
                }
            }
        }
    }

    /// Audit logs of other versions have them.
    #[test]
    fn values_stay() {
        assert_eq!(f(b"SELECT abalance FROM pgbench_accounts WHERE aid = 1;"), 0xe5d4_42e7_1661_49e8);
        assert_eq!(
            f(b"UPDATE t_long_name_of_32_characters_abc SET a$b = E'x', \"Mixed\" = .5 WHERE \xc3\xa9 IN (1,2)"),
            0x382e_1934_16d5_0e3e
        );
    }

    #[test]
    fn literals_are_counted() {
        use super::shape;
        assert_eq!(shape(b"SELECT 'a', 1, $1 FROM t1 WHERE x IN (1, 2, 3)").1, 6);
        assert_eq!(shape(b"SELECT a FROM b -- 1").1, 0);
    }

    /// What a thread remembers of one text is right for the next.
    #[test]
    fn beginnings_are_remembered_rightly() {
        use super::{State, lex, shape};
        let fresh = |text: &[u8]| {
            let mut state = State::new(text);
            lex(text, &mut state);
            state.finish()
        };
        let start = "SELECT description FROM transactions WHERE";
        for first in [" id = 1", " id = 'a'", " id IN (1,", " (id) =1", " id=-1", " x=.5", " e'a'", " 1", ""] {
            for text in [
                " id = 1",
                " id = 2 AND x",
                " id = 'b",
                " id = e'b\\'' x",
                " id = -- 1",
                " id = 1/* 2",
                " id = x",
                " id IN (1, 2, 3)",
                " id IN (1,2)",
                " (id) =-1",
                " id=--1",
                " x=.",
                " 'a",
                " 1.5e3x",
                " $1",
                " $$a$$",
                "1",
                "x",
                "",
            ] {
                let first = format!("{start}{first}");
                let text = format!("{start}{text}");
                assert_eq!(shape(first.as_bytes()), fresh(first.as_bytes()));
                assert_eq!(shape(text.as_bytes()), fresh(text.as_bytes()), "{text} after {first}");
                assert_eq!(shape(text.as_bytes()), fresh(text.as_bytes()), "{text} again");
            }
        }
    }

    #[test]
    fn any_bytes_end() {
        for text in
            [&b"'"[..], b"\"", b"$", b"$a", b"$$", b"/*", b"--", b"e'", b"\\", b"\xff\x00'\x80", b"E'\\", b"'a''"]
        {
            f(text);
        }
    }

    #[test]
    fn literals_are_found_as_written() {
        let of = |text: &str| {
            let mut found = Vec::new();
            super::literals(text.as_bytes(), |literal| found.push(String::from_utf8_lossy(literal).into_owned()));
            found
        };
        assert_eq!(
            of(
                "select \"a'b\" /* 'c' */ from t1 where x = 'it''s' and y in (1, 2.5, .5) -- 'd'\n or z = $1 or w = $q$e$q$"
            ),
            ["'it''s'", "1", "2.5", ".5", "$q$e$q$"]
        );
        assert_eq!(of("E'a\\'b' x'ff' n'c' 'open"), ["E'a\\'b'", "x'ff'", "n'c'", "'open"]);
        assert_eq!(of("a$1 $ $"), [""; 0]);
    }
}
