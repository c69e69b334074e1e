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
fn seal(out: &mut Vec<u8>, start: usize, word: usize) -> bool {
    let length = i32::try_from(out.len().saturating_sub(word)).ok();
    match (
        length,
        out.get_mut(word..).and_then(<[u8]>::first_chunk_mut::<4>),
    ) {
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

fn int32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn oid(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A count and as many items as the count can say.
fn counted<I>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = I>,
    mut item: impl FnMut(&mut Vec<u8>, I),
) {
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
