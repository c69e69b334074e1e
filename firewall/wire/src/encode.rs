//! Messages, appended to a `Vec<u8>`.
//!
//! Strings end at their first NUL, since the wire cannot carry one: nothing that is put into a
//! message can begin another. A message that would be longer than the protocol can say (2 GiB) is
//! left out; only rows can come near, and their encoder tells.

mod backend;
mod frontend;
mod rows;

pub use backend::*;
pub use frontend::*;
pub use rows::{DataRowBuilder, TooLong, field, row_description};

/// Appends a tag, a length word and what `body` appends. Takes everything back and says `false` if that
/// is more than a length word can say.
pub fn frame(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = out.len();
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
    body(out);
    seal(out, start, start + 1)
}

/// As [`frame`], for the packets without a tag.
pub(crate) fn packet(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    seal(out, start, start)
}

/// Writes the length word at `word`, counting from there to the end.
#[inline]
fn seal(out: &mut Vec<u8>, start: usize, word: usize) -> bool {
    let length = i32::try_from(out.len().saturating_sub(word)).ok();
    match (length, out.get_mut(word..).and_then(<[u8]>::first_chunk_mut::<4>)) {
        (Some(length), Some(place)) => {
            *place = length.to_be_bytes();
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

/// A string and its NUL; cut at its first NUL, if it holds one.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    out.extend_from_slice(text.get(..end).unwrap_or_default());
    out.push(0);
}

fn int16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
fn int32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn oid(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A count and as many items as the count can say.
fn counted<I>(out: &mut Vec<u8>, items: impl IntoIterator<Item = I>, mut item: impl FnMut(&mut Vec<u8>, I)) {
    let place = out.len();
    out.extend_from_slice(&[0; 2]);
    let mut count = 0u16;
    for next in items {
        let Some(more) = count.checked_add(1) else {
            break;
        };
        item(out, next);
        count = more;
    }
    if let Some(word) = out.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *word = count.to_be_bytes();
    }
}

/// A length word and the value, or -1 for NULL. A value too long for a length word is refused.
#[inline]
fn value(out: &mut Vec<u8>, value: Option<&[u8]>) -> Result<(), TooLong> {
    match value {
        Some(bytes) => {
            int32(out, i32::try_from(bytes.len()).map_err(|_| TooLong)?);
            out.extend_from_slice(bytes);
        }
        None => int32(out, -1),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_put_into_a_message_begins_another() {
        let mut out = Vec::new();
        query(&mut out, b"select 1\0Q\0\0\0\x05\0");
        assert_eq!(out, b"Q\0\0\0\x0dselect 1\0");
        out.clear();
        error(&mut out, &[(b'M', "a\0b"), (0, "c")]);
        assert_eq!(out, b"E\0\0\0\x08Ma\0\0");
        out.clear();
        startup(&mut out, 3, 0, [(&b""[..], &b"x"[..]), (b"\0user", b"y"), (b"user", b"me")]);
        assert_eq!(out, b"\0\0\0\x11\0\x03\0\0user\0me\0\0");
    }

    #[test]
    fn a_count_says_no_more_than_it_can() {
        let mut out = Vec::new();
        counted(&mut out, 0..70_000u32, oid);
        assert_eq!(out.len(), 2 + 4 * 65_535);
        assert!(out.starts_with(&[0xff, 0xff, 0, 0, 0, 0]));
    }

    #[test]
    fn a_row_that_cannot_be_sent_leaves_nothing() {
        let mut out = b"before".to_vec();
        let mut row = DataRowBuilder::begin(&mut out);
        row.run(b"", 65_535);
        row.null();
        assert_eq!(row.finish(), Err(TooLong));
        assert_eq!(out, b"before");

        let mut row = DataRowBuilder::begin(&mut out);
        row.col(b"x");
        drop(row);
        assert_eq!(out, b"before");

        let mut row = DataRowBuilder::begin(&mut out);
        row.col_with(|out| out.clear());
        assert_eq!(row.finish(), Err(TooLong));
        assert!(out.len() <= b"before".len());
    }
}
