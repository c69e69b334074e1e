//! The master key and what is derived from it. Nothing here is ever printed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _};
use rand::RngExt as _;
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a master key, and of every key derived from it.
pub const KEY_LEN: usize = 32;

/// HKDF's salt: a constant, so that a key file used by another program derives other keys here.
const SALT: &[u8] = b"ringfence key derivation 1";

/// The root of all keys of an installation. Replicas share it.
pub struct MasterKey {
    hkdf: Hkdf<Sha256>,
}

/// What a derived key is for. Keys of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Randomised presentation tokens (`encrypt`).
    Present,
    /// Deterministic presentation tokens (`tokenize`): texts and uuids.
    Tokenize,
    /// Deterministic presentation tokens: digits and integers.
    TokenizeNumbers,
    /// MACs over rows of the control schema.
    ControlRow,
    /// Salts of clients that do not exist.
    MockLogin,
}

/// Why a key was not accepted. Says nothing of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is not base64")]
    NotBase64,
    #[error("the key has {0} bytes; it must have 32")]
    Length(usize),
    #[error("the key consists of one byte repeated; make one with `ringfence keygen`")]
    Weak,
}

impl MasterKey {
    /// From the content of a key file: 32 bytes in base64, white space around it ignored.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let engine = if text.ends_with('=') { STANDARD } else { STANDARD_NO_PAD };
        let bytes = Zeroizing::new(engine.decode(text).map_err(|_| KeyError::NotBase64)?);
        let mut key = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| KeyError::Length(bytes.len()))?;
        let master = Self::from_bytes(&key);
        key.zeroize();
        master
    }

    /// From raw bytes.
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Result<Self, KeyError> {
        let first = bytes.first().copied().unwrap_or_default();
        if bytes.iter().all(|&b| b == first) {
            return Err(KeyError::Weak);
        }
        Ok(Self { hkdf: Hkdf::new(Some(SALT), bytes) })
    }

    /// The key for one purpose, label and version (a version is any four bytes).
    ///
    /// HKDF's info is `purpose | length of label | label | version`: no two inputs share an encoding.
    pub(crate) fn derive(&self, purpose: Purpose, label: &str, version: [u8; 4]) -> Zeroizing<[u8; KEY_LEN]> {
        let label = label.as_bytes();
        let mut info = Vec::with_capacity(label.len() + 9);
        info.push(purpose.code());
        info.extend_from_slice(&u32::try_from(label.len()).unwrap_or(u32::MAX).to_be_bytes());
        info.extend_from_slice(label);
        info.extend_from_slice(&version);
        let mut key = Zeroizing::new([0; KEY_LEN]);
        // HKDF-SHA256 yields up to 8160 bytes, so 32 never fail.
        let expanded = self.hkdf.expand(&info, key.as_mut_slice());
        debug_assert!(expanded.is_ok());
        key
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl Purpose {
    fn code(self) -> u8 {
        match self {
            Self::Present => 1,
            Self::Tokenize => 2,
            Self::TokenizeNumbers => 3,
            Self::ControlRow => 4,
            Self::MockLogin => 5,
        }
    }
}

/// A new master key as a key file holds it: 32 random bytes in base64, with a line feed.
pub fn generate() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0u8; KEY_LEN]);
    rand::rng().fill(bytes.as_mut_slice());
    let mut text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
    text.push('\n');
    text
}

/// HMAC pads a short key with zeros to one block.
pub(crate) fn hmac(key: &[u8; KEY_LEN]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new((&*block).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_generated_key_is_read_back_and_differs_each_time() {
        let (one, two) = (generate(), generate());
        assert_ne!(*one, *two);
        MasterKey::from_base64(&one).unwrap();
        MasterKey::from_base64(one.trim().trim_end_matches('=')).unwrap();
    }

    #[test]
    fn bad_keys_say_why() {
        let error = |text: &str| MasterKey::from_base64(text).unwrap_err();
        assert_eq!(error("not base64!"), KeyError::NotBase64);
        assert_eq!(error(""), KeyError::Length(0));
        assert_eq!(error("AAAA"), KeyError::Length(3));
        assert_eq!(error(&STANDARD.encode([0u8; 32])), KeyError::Weak);
        assert_eq!(error(&STANDARD.encode([7u8; 33])), KeyError::Length(33));
    }

    #[test]
    fn derived_keys_differ_by_purpose_label_and_version() {
        let master = MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap();
        let keys = [
            master.derive(Purpose::Present, "pci", [0; 4]),
            master.derive(Purpose::Tokenize, "pci", [0; 4]),
            master.derive(Purpose::TokenizeNumbers, "pci", [0; 4]),
            master.derive(Purpose::Present, "pc", [b'i', 0, 0, 0]),
            master.derive(Purpose::Present, "pii", [0; 4]),
            master.derive(Purpose::Present, "pci", [0, 0, 0, 1]),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in keys.iter().skip(i + 1) {
                assert_ne!(**a, **b);
            }
        }
    }

    #[test]
    fn nothing_is_printed() {
        let master = MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap();
        assert_eq!(format!("{master:?}"), "MasterKey(…)");
    }
}
