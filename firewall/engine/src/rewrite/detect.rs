//! What looks like protected data although nobody has labelled the column: a tripwire, no guard. Cheap on everything
//! that is nothing of the kind.

use memchr::{memchr_iter, memmem};
use ringfence_policy::{ClientPolicy, Detect, Detectors};

pub(super) use crate::event::Shape;

/// The shortest of them: a card number of 13 digits.
const SHORTEST: usize = 13;

/// Some detector withholds rows: it looks at all of them.
pub(crate) fn blocks(client: &ClientPolicy) -> bool {
    let Detectors { pan, hash, private_key } = client.detectors;
    [pan, hash, private_key].contains(&Detect::Block) && !client.observe
}

/// The first shape that a value, or a part of it, has.
pub(super) fn shape(value: &[u8]) -> Option<Shape> {
    if value.len() < SHORTEST {
        return None;
    }
    if has_hash(value) {
        Some(Shape::Hash)
    } else if has_card(value) {
        Some(Shape::Pan)
    } else if has_private_key(value) {
        Some(Shape::PrivateKey)
    } else {
        None
    }
}

/// `$2b$12$…`, `$argon2id$…`, `$6$…` and the like, wherever they begin.
fn has_hash(value: &[u8]) -> bool {
    memchr_iter(b'$', value).any(|at| {
        let begins = at.checked_sub(1).and_then(|before| value.get(before)).is_none_or(|b| !b.is_ascii_alphanumeric());
        let rest = value.get(at..).unwrap_or_default();
        begins
            && match rest {
                [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', a, b, b'$', hash @ ..] => {
                    a.is_ascii_digit() && b.is_ascii_digit() && crypt_digits(hash) >= 53
                }
                [b'$', b'5' | b'6' | b'y' | b'7', b'$', hash @ ..] => crypt_digits(hash) >= 40,
                _ => rest.starts_with(b"$argon2") || rest.starts_with(b"$scrypt$") || rest.starts_with(b"$pbkdf2"),
            }
    })
}

/// How many bytes can be of a crypt(3) hash with its parameters.
fn crypt_digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'$' | b'=')).count()
}

fn has_private_key(value: &[u8]) -> bool {
    memmem::find_iter(value, b"-----BEGIN ").any(|at| {
        let line = value.get(at..value.len().min(at + 64)).unwrap_or_default();
        memmem::find(line, b"PRIVATE KEY").is_some()
    })
}

/// 13 to 19 digits of a known issuer, alone or in groups, with the right check digit, and no part of something longer.
fn has_card(value: &[u8]) -> bool {
    let mut at = 0;
    while let Some(skip) = value.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        at += skip;
        let (digits, count, end) = run(value, at);
        let before = at.checked_sub(1).and_then(|before| value.get(before));
        let joined = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-') || *b >= 0x80;
        let after = value.get(end);
        let alone = !before.is_some_and(joined) && !after.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        if alone
            && let Some(number) = digits.get(..count)
            && (13..=19).contains(&count)
            && is_issued(number)
            && luhn(number)
        {
            return true;
        }
        at = end;
    }
    false
}

/// The digits from here, their number (20: too many), and where they end. One separator, always the same, may stand
/// between groups of four or more.
fn run(value: &[u8], start: usize) -> ([u8; 20], usize, usize) {
    let mut digits = [0; 20];
    let (mut count, mut group, mut separator, mut at) = (0, 0, None, start);
    while let Some(&byte) = value.get(at) {
        if byte.is_ascii_digit() {
            if let Some(place) = digits.get_mut(count) {
                *place = byte - b'0';
                count += 1;
            }
            group += 1;
        } else if matches!(byte, b' ' | b'-')
            && group >= 4
            && *separator.get_or_insert(byte) == byte
            && value.get(at + 1).is_some_and(u8::is_ascii_digit)
        {
            group = 0;
        } else {
            break;
        }
        at += 1;
    }
    (digits, count, at)
}

/// Issuers' ranges, with the lengths that they use.
fn is_issued(number: &[u8]) -> bool {
    let lead = |digits: usize| number.iter().take(digits).fold(0u32, |sum, d| sum * 10 + u32::from(*d));
    let length = number.len();
    match lead(1) {
        4 => matches!(length, 13 | 16 | 19),
        5 => length == 16 && (51..=55).contains(&lead(2)),
        2 => length == 16 && (2221..=2720).contains(&lead(4)),
        3 => match lead(2) {
            34 | 37 => length == 15,
            35 => length == 16 && (3528..=3589).contains(&lead(4)),
            30 => length == 14 && lead(3) <= 305,
            36 | 38 => length == 14,
            _ => false,
        },
        6 => match lead(2) {
            62 | 65 => (16..=19).contains(&length),
            _ => (16..=19).contains(&length) && (lead(4) == 6011 || (644..=649).contains(&lead(3))),
        },
        _ => false,
    }
}

fn luhn(number: &[u8]) -> bool {
    let sum: u32 = number
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(*digit);
            match (at % 2, digit) {
                (0, _) => digit,
                (_, 0..=4) => digit * 2,
                _ => digit * 2 - 9,
            }
        })
        .sum();
    // Eleven zeros and the like are no card either.
    sum.is_multiple_of(10) && sum > 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_found_in_any_dress() {
        for text in [
            "4111111111111111",
            "card: 4111 1111 1111 1111, thanks",
            "{\"pan\":\"5555-5555-5555-4444\"}",
            "378282246310005",
            "{4111111111111111,x}",
            "6011111111111117",
            "3530111333300000",
        ] {
            assert_eq!(shape(text.as_bytes()), Some(Shape::Pan), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_not_cards() {
        for text in [
            "4111111111111112",
            "1700000000000000",
            "0.4111111111111111",
            "x4111111111111111",
            "41111111111111110000000",
            "2024-02-29 12:00:00.000000",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "4111 1111-1111 1111",
            "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            "order 1234567890123456",
            "",
        ] {
            assert_eq!(shape(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn hashes_and_keys() {
        let bcrypt = "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
        let sha = format!("$6$rounds=5000$salt${}", "a".repeat(86));
        for text in [bcrypt, &sha, "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$hash", "{\"h\":\"$argon2i$v=19$x\"}"] {
            assert_eq!(shape(text.as_bytes()), Some(Shape::Hash), "{text}");
        }
        for text in ["-----BEGIN PRIVATE KEY-----\nMII", "x -----BEGIN OPENSSH PRIVATE KEY-----"] {
            assert_eq!(shape(text.as_bytes()), Some(Shape::PrivateKey), "{text}");
        }
        for text in
            ["$6$ for the ticket, please", "costs $2b$ or so, 2b$12$", "-----BEGIN CERTIFICATE-----", "US$5$ is it"]
        {
            assert_eq!(shape(text.as_bytes()), None, "{text}");
        }
    }
}
