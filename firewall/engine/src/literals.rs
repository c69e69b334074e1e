//! The constants in a definition. A definition's wording changes with `search_path`, with `quote_all_identifiers`, with
//! the arguments of `pg_get_expr`; the constants in it stay.

use ringfence_analysis::text_hash;

/// Shorter ones tell too little, and stand in every other definition.
const QUOTED: usize = 4;
const DIGITS: usize = 5;

/// Hashes of the constants in a text, none for a node tree: those have one wording only.
pub fn hashes(text: &[u8]) -> impl Iterator<Item = u128> {
    let tree = text.starts_with(b"{") || text.starts_with(b"({");
    Constants { rest: if tree { b"" } else { text }, word: false }.map(hash)
}

/// Not to be confused with the hash of a whole text.
fn hash(constant: &[u8]) -> u128 {
    text_hash(&[b"constant ", constant].concat())
}

struct Constants<'t> {
    rest: &'t [u8],
    /// What precedes is part of a name.
    word: bool,
}

impl<'t> Iterator for Constants<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        while let [first, after @ ..] = self.rest {
            match first {
                b'\'' | b'"' => {
                    let length = quoted(after, *first);
                    let inside = after.get(..length).unwrap_or(after);
                    let closed = length < after.len();
                    self.rest = after.get(length + 1..).unwrap_or_default();
                    self.word = false;
                    if *first == b'\'' && closed && length >= QUOTED {
                        return Some(inside);
                    }
                }
                b'0'..=b'9' if !self.word => {
                    let number = |b: &u8| b.is_ascii_digit() || *b == b'.';
                    let length = self.rest.iter().take_while(|b| number(b)).count();
                    let (found, rest) = self.rest.split_at(length);
                    self.rest = rest;
                    if length >= DIGITS {
                        return Some(found);
                    }
                }
                other => {
                    self.word = other.is_ascii_alphanumeric() || *other == b'_' || *other >= 0x80;
                    self.rest = after;
                }
            }
        }
        None
    }
}

/// The length up to the closing quote, doubled ones skipped; all of it if there is none.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte == quote {
            if text.get(at + 1) != Some(&quote) {
                return at;
            }
            at += 1;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        Constants { rest: text.as_bytes(), word: false }.map(|c| String::from_utf8_lossy(c).into_owned()).collect()
    }

    #[test]
    fn constants_are_found_whatever_surrounds_them() {
        assert_eq!(found("CHECK ((length(a) > 2) OR (a = '4111''1'::text))"), ["4111''1"]);
        assert_eq!(found("(\"it's\".\"a\" = '4111'::\"text\")"), ["4111"]);
        assert_eq!(found("x_12345 > 12345 AND y < 12.345 AND z = 'abc' AND w = '' AND v = 1234"), ["12345", "12.345"]);
        assert_eq!(found("a = 'open"), [""; 0]);
        assert_eq!(hashes(b"{CONST :location 123456}").count(), 0);
        assert_eq!(hashes(b"('4111'::text)").count(), 1);
    }

    #[test]
    fn a_text_is_not_a_constant_of_itself() {
        assert_ne!(hashes(b"'4111'").next(), Some(text_hash(b"4111")));
    }
}
