//! FF1 (NIST SP 800-38G) with AES-256 and an empty tweak: a keyed permutation of short numbers, so that `tokenize`
//! keeps a number's shape and never gives two numbers the same token.
//!
//! Works on numbers instead of digit strings, which limits it to 38 decimal digits or 126 bits.

use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::{Block, BlockCipherEncrypt, KeyInit as _};

use crate::key::KEY_LEN;

const ROUNDS: u8 = 10;

/// The smallest number of values that a permutation may have (SP 800-38G rev. 1): smaller ones can be tabulated.
pub(crate) const MIN_DOMAIN: u64 = 1_000_000;
/// So many decimal digits fit.
pub(crate) const MAX_DIGITS: usize = 38;

pub(crate) struct Ff1<C = Aes256> {
    cipher: C,
}

impl Ff1 {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self { cipher: Aes256::new(key.into()) }
    }
}

impl<C: BlockCipherEncrypt + aes_gcm::aes::cipher::BlockSizeUser<BlockSize = aes_gcm::aead::consts::U16>> Ff1<C> {
    /// Permutes the numbers below `radix ^ length`. `None` where the domain is too small or too big.
    pub(crate) fn permute(&self, radix: u32, length: usize, number: u128) -> Option<u128> {
        let short = length / 2;
        let long = length - short;
        let radix_wide = u128::from(radix);
        let modulus_short = radix_wide.checked_pow(u32::try_from(short).ok()?)?;
        let modulus_long = radix_wide.checked_pow(u32::try_from(long).ok()?)?;
        let domain = modulus_short.checked_mul(modulus_long)?;
        if domain < u128::from(MIN_DOMAIN) || number >= domain || modulus_long > 1 << 64 {
            return None;
        }

        // b: bytes that hold a half; d: bytes of round output that are taken (at most 12 here, so one block does).
        let bits = u128::BITS - (modulus_long - 1).leading_zeros();
        let b = usize::try_from(bits.div_ceil(8)).ok()?;
        let d = 4 * b.div_ceil(4) + 4;
        let first = self.first_block(radix, short, length)?;

        let mut left = number / modulus_long;
        let mut right = number % modulus_long;
        for round in 0..ROUNDS {
            let modulus = if round % 2 == 0 { modulus_short } else { modulus_long };
            let output = self.round(&first, round, right, b)?;
            let taken = u128::from_be_bytes(output) >> (8 * (16 - d));
            let sum = (left + taken % modulus) % modulus;
            left = right;
            right = sum;
        }
        left.checked_mul(modulus_long)?.checked_add(right)
    }

    /// The CBC-MAC's state after P = `1 2 1 | radix | 10 | u mod 256 | n | t`, t = 0.
    fn first_block(&self, radix: u32, short: usize, length: usize) -> Option<[u8; 16]> {
        let [_, r0, r1, r2] = radix.to_be_bytes();
        let [n0, n1, n2, n3] = u32::try_from(length).ok()?.to_be_bytes();
        let u = u8::try_from(short % 256).ok()?;
        Some(self.encrypt([1, 2, 1, r0, r1, r2, ROUNDS, u, n0, n1, n2, n3, 0, 0, 0, 0]))
    }

    /// PRF(P | Q), Q = zeros | round | right half in b bytes, sixteen bytes together.
    fn round(&self, first: &[u8; 16], round: u8, right: u128, b: usize) -> Option<[u8; 16]> {
        let mut block = right.to_be_bytes();
        let at = 15usize.checked_sub(b)?;
        *block.get_mut(at)? = round;
        for (byte, state) in block.iter_mut().zip(first) {
            *byte ^= state;
        }
        Some(self.encrypt(block))
    }

    fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block: Block<C> = block.into();
        self.cipher.encrypt_block(&mut block);
        block.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use aes_gcm::aes::Aes128;

    const KEY: [u8; 32] = [
        0x2B, 0x7E, 0x15, 0x16, 0x28, 0xAE, 0xD2, 0xA6, 0xAB, 0xF7, 0x15, 0x88, 0x09, 0xCF, 0x4F, 0x3C, 0xEF, 0x43,
        0x59, 0xD8, 0xD5, 0x80, 0xAA, 0x4F, 0x7F, 0x03, 0x6D, 0x6F, 0x04, 0xFC, 0x6A, 0x94,
    ];

    /// NIST's FF1 samples 7 (AES-256) and 1 (AES-128): radix 10, empty tweak.
    #[test]
    fn nist_samples() {
        assert_eq!(Ff1::new(&KEY).permute(10, 10, 123_456_789), Some(6_657_667_009));
        let short: [u8; 16] = KEY[..16].try_into().unwrap();
        let ff1 = Ff1 { cipher: Aes128::new(&short.into()) };
        assert_eq!(ff1.permute(10, 10, 123_456_789), Some(2_433_477_484));
    }

    #[test]
    fn no_two_numbers_share_an_image() {
        let ff1 = Ff1::new(&KEY);
        let mut seen = vec![false; 1 << 20];
        for number in (0..1u128 << 20).step_by(16) {
            let image = usize::try_from(ff1.permute(2, 20, number).unwrap()).unwrap();
            assert!(!std::mem::replace(&mut seen[image], true));
        }
    }

    #[test]
    fn every_length_stays_in_its_domain() {
        let ff1 = Ff1::new(&KEY);
        for length in 6..=MAX_DIGITS {
            let top = 10u128.pow(u32::try_from(length).unwrap()) - 1;
            assert!(ff1.permute(10, length, top).unwrap() <= top, "{length}");
            assert!(ff1.permute(10, length, 0).unwrap() <= top);
            assert_eq!(ff1.permute(10, length, top + 1), None);
        }
        assert_eq!(ff1.permute(10, 5, 1), None);
        assert_eq!(ff1.permute(10, MAX_DIGITS + 1, 1), None);
        assert!(ff1.permute(2, 31, (1 << 31) - 1).unwrap() < 1 << 31);
        assert!(ff1.permute(2, 63, (1 << 63) - 1).unwrap() < 1 << 63);
    }
}
