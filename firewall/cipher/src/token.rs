//! The format of `rf1_` tokens: sealing, parsing, opening. `FORMAT.md` is the specification.

use std::ops::Range;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::key::KEY_LEN;

/// Every token begins with this.
pub const PREFIX: &[u8] = b"rf1_";

/// The only version there is.
const VERSION: u8 = 1;
pub(crate) const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// Labels are length-prefixed with one byte.
pub const MAX_LABEL: usize = 255;

/// How a token was made; it also says which keys can open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// AES-256-GCM, random nonce, for a value stored in a column (binding: the column's stable id).
    AtRest,
    /// AES-256-GCM, random nonce, for showing a value to a client. Never stored: its keys open nothing at rest.
    Presentation,
}

/// What a token belongs to beyond its own header, covered by the associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Nothing but the label.
    Presentation,
    /// The stable id of the column that stores it.
    Column([u8; 16]),
}

/// Why bytes are not a token, or one that does not open. Never says what is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not a token")]
    NotAToken,
    #[error("a token of an unknown version or algorithm")]
    Unknown,
    #[error("the token was not made here, or was changed")]
    Forged,
}

/// A key ready to seal, with the header that all its tokens share.
pub(crate) struct Sealer {
    cipher: Aes256Gcm,
    /// `version | label | algorithm | key id`.
    header: Box<[u8]>,
    /// The header followed by the binding.
    associated: Box<[u8]>,
}

impl Sealer {
    pub(crate) fn new(
        key: &[u8; KEY_LEN],
        key_id: [u8; 4],
        label: &str,
        algorithm: Algorithm,
        binding: Binding,
    ) -> Self {
        let header = header(label.as_bytes(), algorithm, key_id);
        let associated = associated(&header, binding);
        Self { cipher: Aes256Gcm::new(key.into()), header: header.into(), associated: associated.into() }
    }

    /// Appends the token of `value`. The raw token is built in the tail of `out`, so nothing is allocated but
    /// `out`'s own growth.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_LEN], value: &[u8], out: &mut Vec<u8>) -> Result<(), TokenError> {
        let start = out.len();
        let head = self.header.len() + NONCE_LEN;
        let raw_len = head + value.len() + TAG_LEN;
        let encoded_len = base64::encoded_len(raw_len, false).ok_or(TokenError::NotAToken)?;

        out.reserve(PREFIX.len() + encoded_len + raw_len);
        out.extend_from_slice(PREFIX);
        let text = out.len();
        out.resize(text + encoded_len, 0);
        let raw = out.len();
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(value);

        let sealed = out.get_mut(raw + head..).ok_or(TokenError::NotAToken).and_then(|body| {
            self.cipher
                .encrypt_inout_detached(&Nonce::from(nonce), &self.associated, InOutBuf::from(body))
                .map_err(|_| TokenError::NotAToken)
        });
        let tag = match sealed {
            Ok(tag) => tag,
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        out.extend_from_slice(&tag);

        let (front, raw) = out.split_at_mut(raw);
        let written = front.get_mut(text..).and_then(|target| URL_SAFE_NO_PAD.encode_slice(&*raw, target).ok());
        debug_assert_eq!(written, Some(encoded_len));
        out.truncate(text + encoded_len);
        Ok(())
    }
}

/// A token taken apart, not yet opened: nothing in it is to be believed.
#[derive(Debug, Clone)]
pub struct Parsed {
    raw: Vec<u8>,
    label: Range<usize>,
    algorithm: Algorithm,
    key_id: [u8; 4],
    /// Where the nonce begins.
    nonce: usize,
}

impl Parsed {
    /// Takes a token apart. Exactly one text parses to one token: other base64 forms are refused.
    pub fn parse(token: &[u8]) -> Result<Self, TokenError> {
        let body = token.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        let raw = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::NotAToken)?;
        let (&version, rest) = raw.split_first().ok_or(TokenError::NotAToken)?;
        if version != VERSION {
            return Err(TokenError::Unknown);
        }
        let (&length, rest) = rest.split_first().ok_or(TokenError::NotAToken)?;
        let length = usize::from(length);
        let rest = rest.get(length..).ok_or(TokenError::NotAToken)?;
        let (&algorithm, rest) = rest.split_first().ok_or(TokenError::NotAToken)?;
        let algorithm = Algorithm::from_code(algorithm).ok_or(TokenError::Unknown)?;
        let (&key_id, rest) = rest.split_first_chunk::<4>().ok_or(TokenError::NotAToken)?;
        if rest.len() < NONCE_LEN + TAG_LEN {
            return Err(TokenError::NotAToken);
        }
        let parsed = Self { label: 2..2 + length, algorithm, key_id, nonce: raw.len() - rest.len(), raw };
        std::str::from_utf8(parsed.label_bytes()).map_err(|_| TokenError::NotAToken)?;
        Ok(parsed)
    }

    /// The label that the token claims.
    pub fn label(&self) -> &str {
        std::str::from_utf8(self.label_bytes()).unwrap_or_default()
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// Opens the token with the key that its label, algorithm and key id name; appends the value to `out`.
    pub(crate) fn open(mut self, key: &[u8; KEY_LEN], binding: Binding, out: &mut Vec<u8>) -> Result<(), TokenError> {
        let (header, rest) = self.raw.split_at_mut_checked(self.nonce).ok_or(TokenError::NotAToken)?;
        let associated = associated(header, binding);
        let (nonce, rest) = rest.split_first_chunk_mut::<NONCE_LEN>().ok_or(TokenError::NotAToken)?;
        let (value, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(TokenError::NotAToken)?;
        Aes256Gcm::new(key.into())
            .decrypt_inout_detached(&Nonce::from(*nonce), &associated, InOutBuf::from(&mut *value), &Tag::from(*tag))
            .map_err(|_| TokenError::Forged)?;
        out.extend_from_slice(value);
        Ok(())
    }

    fn label_bytes(&self) -> &[u8] {
        self.raw.get(self.label.clone()).unwrap_or_default()
    }
}

/// Whether the bytes have a token's shape. It may still be forged: only opening tells.
pub fn is_token(value: &[u8]) -> bool {
    value.starts_with(PREFIX) && Parsed::parse(value).is_ok()
}

fn header(label: &[u8], algorithm: Algorithm, key_id: [u8; 4]) -> Vec<u8> {
    // The policy admits labels of at most 63 bytes.
    let label = label.get(..MAX_LABEL).unwrap_or(label);
    let mut header = Vec::with_capacity(label.len() + 7);
    header.push(VERSION);
    header.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
    header.extend_from_slice(label);
    header.push(algorithm.code());
    header.extend_from_slice(&key_id);
    header
}

fn associated(header: &[u8], binding: Binding) -> Vec<u8> {
    let mut associated = header.to_vec();
    match binding {
        Binding::Presentation => associated.push(0),
        Binding::Column(id) => {
            associated.push(1);
            associated.extend_from_slice(&id);
        }
    }
    associated
}

impl Algorithm {
    fn code(self) -> u8 {
        match self {
            Self::AtRest => 1,
            Self::Presentation => 16,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::AtRest),
            16 => Some(Self::Presentation),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::key::{MasterKey, Purpose};
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The vectors of FORMAT.md: master key 00 01 … 1f, label `pci`, key id 0a0b0c0d, nonce 00 … 0b.
    #[test]
    fn vectors_of_the_specification() {
        let spec = include_str!("../FORMAT.md");
        let master = MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap();
        let key = master.derive(Purpose::Present, "pci", [10, 11, 12, 13]);
        assert!(spec.contains(&hex(key.as_slice())), "{}", hex(key.as_slice()));
        for (algorithm, binding, value) in [
            (Algorithm::Presentation, Binding::Presentation, "4111111111111111"),
            (Algorithm::Presentation, Binding::Presentation, ""),
            (Algorithm::AtRest, Binding::Column([0x42; 16]), "4111111111111111"),
        ] {
            let sealer = Sealer::new(&key, [10, 11, 12, 13], "pci", algorithm, binding);
            let mut token = Vec::new();
            sealer.seal(std::array::from_fn(|i| i as u8), value.as_bytes(), &mut token).unwrap();
            let text = String::from_utf8(token.clone()).unwrap();
            assert!(spec.contains(&format!("`{text}`")), "{algorithm:?} {value:?} {text}");

            let mut opened = Vec::new();
            let parsed = Parsed::parse(&token).unwrap();
            assert_eq!((parsed.label(), parsed.algorithm()), ("pci", algorithm));
            parsed.open(&key, binding, &mut opened).unwrap();
            assert_eq!(opened, value.as_bytes());
        }
    }

    #[test]
    fn the_binding_and_the_algorithm_are_authenticated() {
        let key = [7; KEY_LEN];
        let column = Binding::Column([1; 16]);
        let sealer = Sealer::new(&key, [0; 4], "pci", Algorithm::AtRest, column);
        let mut token = Vec::new();
        sealer.seal([0; NONCE_LEN], b"x", &mut token).unwrap();
        let parsed = Parsed::parse(&token).unwrap();
        let mut out = Vec::new();
        for other in [Binding::Column([2; 16]), Binding::Presentation] {
            assert_eq!(parsed.clone().open(&key, other, &mut out), Err(TokenError::Forged));
        }
        assert!(out.is_empty());
        parsed.open(&key, column, &mut out).unwrap();
        assert_eq!(out, b"x");
    }

    #[test]
    fn what_is_not_a_token_is_not_taken_for_one() {
        for text in ["", "rf1_", "rf1_AQ", "rf1_AQNwY2k", "4111111111111111", "RF1_AQNwY2kQCgsMDQABAgMEBQYHCAkKC"] {
            assert!(!is_token(text.as_bytes()), "{text}");
        }
        let sealer = Sealer::new(&[7; KEY_LEN], [0; 4], "pci", Algorithm::Presentation, Binding::Presentation);
        let mut token = Vec::new();
        sealer.seal([0; NONCE_LEN], b"xy", &mut token).unwrap();
        assert!(is_token(&token));
        let padded = [&token[..], b"="].concat();
        assert!(!is_token(&padded));
        assert!(!is_token(&token[..token.len() - 1]) || token.len() % 4 != 3);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes: Vec<u8>) {
            let _ = Parsed::parse(&bytes);
            let token = [PREFIX, URL_SAFE_NO_PAD.encode(&bytes).as_bytes()].concat();
            let _ = Parsed::parse(&token);
        }
    }
}
