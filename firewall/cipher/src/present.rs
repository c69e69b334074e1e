//! Presentation of values to clients that may not see them plain. Works on values already in the wire's bytes, and
//! appends the new bytes to the row that is being rewritten: no allocation per value.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use rand::RngExt as _;
use sha2::Sha256;

use crate::ff1::{Ff1, MAX_DIGITS};
use crate::key::{MasterKey, Purpose, hmac};
use crate::token::{Algorithm, Binding, Parsed, Sealer, TokenError};

/// Text tokens begin with this.
pub const TEXT_TOKEN_PREFIX: &[u8] = b"tok_";

/// Encryptions under one key, after which the next key is derived: random 96-bit nonces are safe to 2^32.
const PER_KEY: u64 = 1 << 31;
/// Keys that one label can use in one process: 2^41 values together.
const KEYS: usize = 1 << 10;
/// Digit strings shorter than this have too few values for a permutation.
const MIN_DIGITS: usize = 6;

/// How a value's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// text, varchar, char(n), name, citext, …: text and binary format are the same bytes.
    Text,
    /// Cannot be tokenised: its 65,536 values could be tabulated.
    Int2,
    Int4,
    Int8,
    Uuid,
}

/// Wire format of a result column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

/// Makes presentation tokens: randomised `rf1_` tokens for `encrypt`, keyed and deterministic ones for `tokenize`.
pub struct Presenter {
    master: MasterKey,
    labels: RwLock<HashMap<Box<str>, Arc<LabelKey>>>,
}

/// One label's keys, made once: get it when the policy is loaded, not per value.
pub struct LabelKey {
    label: Box<str>,
    /// Keys of `encrypt`, each made when the one before is spent. Their ids are random, so replicas that share the
    /// master key do not share these keys, and each counts alone.
    sealers: Box<[OnceLock<Box<Sealer>>]>,
    sealed: AtomicU64,
    texts: Hmac<Sha256>,
    numbers: Ff1,
}

/// A value cannot be presented as asked; the caller sends NULL and counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PresentError {
    #[error("the value is not of the type that the column declares")]
    Malformed,
    #[error("the key's limit of encryptions is reached; restart, or rotate it")]
    KeySpent,
    #[error("the column's type has too few values to be tokenised")]
    DomainTooSmall,
}

impl Presenter {
    pub fn new(master: MasterKey) -> Self {
        Self { master, labels: RwLock::default() }
    }

    /// The keys of a label. The same label always gets the same handle.
    pub fn label(&self, label: &str) -> Arc<LabelKey> {
        let known = self.labels.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(label) {
            return Arc::clone(key);
        }
        drop(known);
        let mut known = self.labels.write().unwrap_or_else(PoisonError::into_inner);
        let key = known.entry(label.into()).or_insert_with(|| Arc::new(LabelKey::new(&self.master, label)));
        Arc::clone(key)
    }

    /// Appends a randomised `rf1_` token: the same value gives another token each time.
    pub fn encrypt(&self, key: &LabelKey, value: &[u8], out: &mut Vec<u8>) -> Result<(), PresentError> {
        let count = key.sealed.fetch_add(1, Ordering::Relaxed);
        let turn = usize::try_from(count / PER_KEY).map_err(|_| PresentError::KeySpent)?;
        let sealer = key
            .sealers
            .get(turn)
            .ok_or(PresentError::KeySpent)?
            .get_or_init(|| Box::new(presentation_sealer(&self.master, &key.label, random())));
        sealer.seal(random(), value, out).map_err(|_| PresentError::Malformed)
    }

    /// Appends a keyed, deterministic token of the same type: equal values of one label have equal tokens.
    ///
    /// Texts of 6 to 38 digits become other digits of the same length, other texts `tok_…`; integers become other
    /// integers of the same sign; uuids become version 8 uuids. Numbers are permuted, so distinct ones stay distinct.
    /// On an error `out` is as before.
    pub fn tokenize(
        &self,
        key: &LabelKey,
        value_type: ValueType,
        format: Format,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), PresentError> {
        match (value_type, format) {
            (ValueType::Text, _) => {
                if !key.digits(value, out) {
                    key.text(value, out);
                }
                Ok(())
            }
            (ValueType::Int2, _) => Err(PresentError::DomainTooSmall),
            (ValueType::Int4, Format::Text) => {
                let number: i32 = parse_integer(value)?;
                write_integer(key.integer(31, number.into())?, out);
                Ok(())
            }
            (ValueType::Int4, Format::Binary) => {
                let bytes = value.try_into().map_err(|_| PresentError::Malformed)?;
                let token = key.integer(31, i32::from_be_bytes(bytes).into())?;
                let token = i32::try_from(token).map_err(|_| PresentError::Malformed)?;
                out.extend_from_slice(&token.to_be_bytes());
                Ok(())
            }
            (ValueType::Int8, Format::Text) => {
                write_integer(key.integer(63, parse_integer(value)?)?, out);
                Ok(())
            }
            (ValueType::Int8, Format::Binary) => {
                let bytes = value.try_into().map_err(|_| PresentError::Malformed)?;
                let token = key.integer(63, i64::from_be_bytes(bytes))?;
                out.extend_from_slice(&token.to_be_bytes());
                Ok(())
            }
            (ValueType::Uuid, Format::Text) => {
                write_uuid(key.uuid(parse_uuid(value)?), out);
                Ok(())
            }
            (ValueType::Uuid, Format::Binary) => {
                let bytes = value.try_into().map_err(|_| PresentError::Malformed)?;
                out.extend_from_slice(&key.uuid(bytes));
                Ok(())
            }
        }
    }

    /// Opens a presentation token of this label, made by any process with the same master key.
    pub fn open(&self, label: &str, token: &[u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
        let parsed = Parsed::parse(token)?;
        if parsed.algorithm() != Algorithm::Presentation || parsed.label() != label {
            return Err(TokenError::Forged);
        }
        let key = self.master.derive(Purpose::Present, label, parsed.key_id());
        parsed.open(&key, Binding::Presentation, out)
    }
}

impl LabelKey {
    fn new(master: &MasterKey, label: &str) -> Self {
        let texts = master.derive(Purpose::Tokenize, label, [0; 4]);
        let numbers = master.derive(Purpose::TokenizeNumbers, label, [0; 4]);
        Self {
            label: label.into(),
            sealers: std::iter::repeat_with(OnceLock::new).take(KEYS).collect(),
            sealed: AtomicU64::new(0),
            texts: hmac(&texts),
            numbers: Ff1::new(&numbers),
        }
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    /// `false` (and nothing written) if the text is not one of 6 to 38 digits.
    fn digits(&self, value: &[u8], out: &mut Vec<u8>) -> bool {
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&value.len()) {
            return false;
        }
        let mut number = 0u128;
        for &byte in value {
            if !byte.is_ascii_digit() {
                return false;
            }
            number = number * 10 + u128::from(byte - b'0');
        }
        let Some(mut token) = self.numbers.permute(10, value.len(), number) else {
            return false;
        };
        let start = out.len();
        out.resize(start + value.len(), b'0');
        for place in out.iter_mut().skip(start).rev() {
            *place = b'0' + u8::try_from(token % 10).unwrap_or_default();
            token /= 10;
        }
        true
    }

    fn text(&self, value: &[u8], out: &mut Vec<u8>) {
        let digest = self.digest(b't', value);
        let mut encoded = [0u8; 22];
        let written = URL_SAFE_NO_PAD.encode_slice(digest, &mut encoded);
        debug_assert_eq!(written, Ok(encoded.len()));
        out.extend_from_slice(TEXT_TOKEN_PREFIX);
        out.extend_from_slice(&encoded);
    }

    /// Version 8 (free form), variant 1.
    fn uuid(&self, value: [u8; 16]) -> [u8; 16] {
        let digest = u128::from_be_bytes(self.digest(b'u', &value));
        let free = !((0xf << 76) | (0b11 << 62));
        ((digest & free) | (8 << 76) | (0b10 << 62)).to_be_bytes()
    }

    /// Permutes the non-negative and the negative numbers among themselves.
    fn integer(&self, bits: usize, value: i64) -> Result<i64, PresentError> {
        let magnitude = if value < 0 { !value } else { value };
        let number = u128::try_from(magnitude).map_err(|_| PresentError::Malformed)?;
        let token = self
            .numbers
            .permute(2, bits, number)
            .and_then(|token| i64::try_from(token).ok())
            .ok_or(PresentError::Malformed)?;
        Ok(if value < 0 { !token } else { token })
    }

    fn digest(&self, kind: u8, value: &[u8]) -> [u8; 16] {
        let mut mac = self.texts.clone();
        mac.update(&[kind]);
        mac.update(value);
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let (front, _) = digest.split_at(16);
        front.try_into().unwrap_or_default()
    }
}

impl fmt::Debug for Presenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presenter(…)")
    }
}

impl fmt::Debug for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelKey({}, …)", self.label)
    }
}

fn presentation_sealer(master: &MasterKey, label: &str, key_id: [u8; 4]) -> Sealer {
    let key = master.derive(Purpose::Present, label, key_id);
    Sealer::new(&key, key_id, label, Algorithm::Presentation, Binding::Presentation)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill(&mut bytes);
    bytes
}

fn parse_integer<T: std::str::FromStr>(value: &[u8]) -> Result<T, PresentError> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(PresentError::Malformed)
}

fn write_integer(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        at -= 1;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// The server's own form: 8-4-4-4-12 digits.
fn parse_uuid(value: &[u8]) -> Result<[u8; 16], PresentError> {
    if value.len() != 36 {
        return Err(PresentError::Malformed);
    }
    let mut number = 0u128;
    for (at, &byte) in value.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return Err(PresentError::Malformed);
            }
            continue;
        }
        let digit = char::from(byte).to_digit(16).ok_or(PresentError::Malformed)?;
        number = (number << 4) | u128::from(digit);
    }
    Ok(number.to_be_bytes())
}

fn write_uuid(value: [u8; 16], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = |nibble: u8| HEX.get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
    for (at, byte) in value.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(hex(byte >> 4));
        out.push(hex(byte));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn presenter() -> Presenter {
        Presenter::new(MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap())
    }

    fn tokenize(value_type: ValueType, format: Format, value: &[u8]) -> Vec<u8> {
        let presenter = presenter();
        let mut out = Vec::new();
        presenter.tokenize(&presenter.label("pii"), value_type, format, value, &mut out).unwrap();
        out
    }

    #[test]
    fn encryption_is_randomised_and_opens_only_under_its_label() {
        let presenter = presenter();
        let key = presenter.label("pci");
        let (mut one, mut two) = (b"row:".to_vec(), Vec::new());
        presenter.encrypt(&key, b"4111111111111111", &mut one).unwrap();
        presenter.encrypt(&key, b"4111111111111111", &mut two).unwrap();
        let token = one.strip_prefix(b"row:").unwrap();
        assert_ne!(token, two);
        let mut value = Vec::new();
        presenter.open("pci", token, &mut value).unwrap();
        assert_eq!(value, b"4111111111111111");
        assert_eq!(presenter.open("pii", token, &mut value), Err(TokenError::Forged));
    }

    #[test]
    fn another_process_with_the_same_master_key_opens_it() {
        let (one, two) = (presenter(), presenter());
        let mut token = Vec::new();
        one.encrypt(&one.label("pci"), b"x", &mut token).unwrap();
        let mut value = Vec::new();
        two.open("pci", &token, &mut value).unwrap();
        assert_eq!(value, b"x");
    }

    #[test]
    fn a_spent_key_is_followed_by_the_next_and_the_last_by_an_error() {
        let presenter = presenter();
        let key = presenter.label("pci");
        let mut out = Vec::new();
        presenter.encrypt(&key, b"x", &mut out).unwrap();
        let first = Parsed::parse(&out).unwrap().key_id();
        key.sealed.store(PER_KEY, Ordering::Relaxed);
        out.clear();
        presenter.encrypt(&key, b"x", &mut out).unwrap();
        assert_ne!(Parsed::parse(&out).unwrap().key_id(), first);
        key.sealed.store(PER_KEY * KEYS as u64, Ordering::Relaxed);
        out.clear();
        assert_eq!(presenter.encrypt(&key, b"x", &mut out), Err(PresentError::KeySpent));
        assert!(out.is_empty());
    }

    #[test]
    fn text_and_binary_agree() {
        for number in [0, 1, -1, 77, i32::MAX, i32::MIN] {
            let text = tokenize(ValueType::Int4, Format::Text, number.to_string().as_bytes());
            let binary = tokenize(ValueType::Int4, Format::Binary, &number.to_be_bytes());
            let text: i32 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            assert_eq!(text, i32::from_be_bytes(binary.try_into().unwrap()));
            assert_eq!(text < 0, number < 0);
            assert_ne!(text, number);
        }
        for number in [0, 1, -1, i64::MAX, i64::MIN] {
            let text = tokenize(ValueType::Int8, Format::Text, number.to_string().as_bytes());
            let binary = tokenize(ValueType::Int8, Format::Binary, &number.to_be_bytes());
            let text: i64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            assert_eq!(text, i64::from_be_bytes(binary.try_into().unwrap()));
        }
        let uuid = b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
        let text = tokenize(ValueType::Uuid, Format::Text, uuid);
        let binary = tokenize(ValueType::Uuid, Format::Binary, &parse_uuid(uuid).unwrap());
        assert_eq!(parse_uuid(&text).unwrap().as_slice(), binary);
        assert_eq!(text[14], b'8');
        assert!(matches!(text[19], b'8' | b'9' | b'a' | b'b'));
    }

    #[test]
    fn texts_keep_their_kind() {
        let card = tokenize(ValueType::Text, Format::Text, b"4111111111111111");
        assert_eq!(card.len(), 16);
        assert!(card.iter().all(u8::is_ascii_digit));
        assert_ne!(card, b"4111111111111111");
        for value in [&b"12345"[..], b"", b"alice@x", &[0xff; 7], &[b'1'; 39]] {
            let token = tokenize(ValueType::Text, Format::Text, value);
            assert!(token.starts_with(TEXT_TOKEN_PREFIX) && token.len() == 26);
        }
        assert_ne!(
            tokenize(ValueType::Text, Format::Text, b"alice@x"),
            tokenize(ValueType::Text, Format::Text, b"alice@y")
        );
    }

    #[test]
    fn malformed_values_are_errors_and_write_nothing() {
        let presenter = presenter();
        let key = presenter.label("pii");
        for (value_type, format, value) in [
            (ValueType::Int4, Format::Text, &b"4111111111111111"[..]),
            (ValueType::Int4, Format::Text, b"x"),
            (ValueType::Int4, Format::Binary, b"123"),
            (ValueType::Int8, Format::Binary, b"1234"),
            (ValueType::Uuid, Format::Text, b"f81d4fae"),
            (ValueType::Uuid, Format::Text, b"f81d4fae-7dec-11d0-a765-00a0c91e6bfg"),
            (ValueType::Uuid, Format::Binary, b""),
        ] {
            let mut out = b"kept".to_vec();
            let result = presenter.tokenize(&key, value_type, format, value, &mut out);
            assert_eq!(result, Err(PresentError::Malformed));
            assert_eq!(out, b"kept");
        }
        let mut out = Vec::new();
        assert_eq!(
            presenter.tokenize(&key, ValueType::Int2, Format::Text, b"1", &mut out),
            Err(PresentError::DomainTooSmall)
        );
    }

    #[test]
    fn labels_have_their_own_tokens_and_handles_are_shared() {
        let presenter = presenter();
        let (pii, pci) = (presenter.label("pii"), presenter.label("pci"));
        assert!(Arc::ptr_eq(&pii, &presenter.label("pii")));
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for (key, out) in [(&pii, &mut one), (&pci, &mut two)] {
            presenter.tokenize(key, ValueType::Text, Format::Text, b"alice@x", out).unwrap();
        }
        assert_ne!(one, two);
        assert_eq!(format!("{pii:?} {presenter:?}"), "LabelKey(pii, …) Presenter(…)");
    }

    proptest! {
        #[test]
        fn open_undoes_encrypt(value: Vec<u8>, before: Vec<u8>) {
            let presenter = presenter();
            let mut out = before.clone();
            presenter.encrypt(&presenter.label("pci"), &value, &mut out).unwrap();
            prop_assert_eq!(&out[..before.len()], &before[..]);
            let mut opened = Vec::new();
            presenter.open("pci", &out[before.len()..], &mut opened).unwrap();
            prop_assert_eq!(opened, value);
        }

        #[test]
        fn any_changed_byte_is_noticed(at in 0usize..80, bit in 0u8..8) {
            let presenter = presenter();
            let mut token = Vec::new();
            presenter.encrypt(&presenter.label("pci"), b"4111111111111111", &mut token).unwrap();
            let at = at % token.len();
            token[at] ^= 1 << bit;
            prop_assert!(presenter.open("pci", &token, &mut Vec::new()).is_err());
        }

        #[test]
        fn distinct_numbers_stay_distinct(a: i32, b: i32) {
            let token = |n: i32| tokenize(ValueType::Int4, Format::Binary, &n.to_be_bytes());
            prop_assert_eq!(a == b, token(a) == token(b));
        }

        #[test]
        fn written_integers_are_what_the_server_would_print(number: i64) {
            let mut out = Vec::new();
            write_integer(number, &mut out);
            prop_assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
