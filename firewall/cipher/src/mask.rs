//! Masks over text: what is hidden is replaced by stars, character by character.
//!
//! A mask never shows a whole value: where a value is too short for what the mask's name promises, all of it is
//! hidden. What is not UTF-8 is hidden byte by byte.

/// What a mask leaves visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask<'a> {
    /// The last four characters of at least eight.
    Last4,
    /// The first six and the last four characters of at least fourteen.
    First6Last4,
    /// The first character of an address's local part (if it has more than one) and the domain; the local part's
    /// length is hidden.
    Email,
    /// Nothing: a fixed text instead.
    Fixed(&'a str),
}

/// At least this many characters stay hidden between or before the visible ones.
const HIDDEN: usize = 4;

/// Appends the masked value.
pub fn mask(mask: Mask<'_>, value: &[u8], out: &mut Vec<u8>) {
    match mask {
        Mask::Last4 => ends(0, 4, value, out),
        Mask::First6Last4 => ends(6, 4, value, out),
        Mask::Email => email(value, out),
        Mask::Fixed(text) => out.extend_from_slice(text.as_bytes()),
    }
}

fn ends(first: usize, last: usize, value: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(value) else {
        return stars(value.len(), out);
    };
    let count = text.chars().count();
    if count < first + last + HIDDEN {
        return stars(count, out);
    }
    let head: usize = text.chars().take(first).map(char::len_utf8).sum();
    let tail: usize = text.chars().rev().take(last).map(char::len_utf8).sum();
    out.extend_from_slice(value.get(..head).unwrap_or_default());
    stars(count - first - last, out);
    out.extend_from_slice(value.get(value.len() - tail..).unwrap_or_default());
}

fn email(value: &[u8], out: &mut Vec<u8>) {
    let address = std::str::from_utf8(value).ok().and_then(|text| text.rsplit_once('@'));
    let Some((local, domain)) = address else {
        return stars(3, out);
    };
    let mut characters = local.chars();
    if let (Some(first), Some(_)) = (characters.next(), characters.next()) {
        out.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
    }
    stars(3, out);
    out.push(b'@');
    out.extend_from_slice(domain.as_bytes());
}

fn stars(count: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + count, b'*');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn masked(kind: Mask<'_>, value: &[u8]) -> String {
        let mut out = Vec::new();
        mask(kind, value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn masks_show_what_their_name_says() {
        for (kind, value, expected) in [
            (Mask::Last4, "4111111111111234", "************1234"),
            (Mask::Last4, "12345678", "****5678"),
            (Mask::Last4, "1234567", "*******"),
            (Mask::Last4, "1234", "****"),
            (Mask::Last4, "", ""),
            (Mask::Last4, "Zoë Müller-Weiß", "***********Weiß"),
            (Mask::First6Last4, "4111111111111234", "411111******1234"),
            (Mask::First6Last4, "41111111111234", "411111****1234"),
            (Mask::First6Last4, "4111111111123", "*************"),
            (Mask::Email, "alice@example.com", "a***@example.com"),
            (Mask::Email, "a@example.com", "***@example.com"),
            (Mask::Email, "@example.com", "***@example.com"),
            (Mask::Email, "\"a@b\"@example.com", "\"***@example.com"),
            (Mask::Email, "çelik@x", "ç***@x"),
            (Mask::Email, "nobody", "***"),
            (Mask::Email, "", "***"),
            (Mask::Fixed("[hidden]"), "anything", "[hidden]"),
        ] {
            assert_eq!(masked(kind, value.as_bytes()), expected, "{kind:?} {value}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_hidden() {
        assert_eq!(masked(Mask::Last4, b"4111111111111\xff11"), "*".repeat(16));
        assert_eq!(masked(Mask::Email, b"al\xffice@x"), "***");
    }

    proptest! {
        #[test]
        fn ends_keep_the_length_and_hide_every_character_between(value in "\\PC{0,40}") {
            for (kind, first, last) in [(Mask::Last4, 0, 4), (Mask::First6Last4, 6, 4)] {
                let before: Vec<char> = value.chars().collect();
                let after: Vec<char> = masked(kind, value.as_bytes()).chars().collect();
                prop_assert_eq!(before.len(), after.len());
                for (at, (b, a)) in before.iter().zip(&after).enumerate() {
                    let visible = before.len() >= first + last + HIDDEN
                        && (at < first || at >= before.len() - last);
                    prop_assert_eq!(*a, if visible { *b } else { '*' });
                }
            }
        }

        #[test]
        fn no_mask_panics_on_any_bytes_and_all_print_utf8(value: Vec<u8>) {
            for kind in [Mask::Last4, Mask::First6Last4, Mask::Email, Mask::Fixed("*")] {
                masked(kind, &value);
            }
        }
    }
}
