//! The two facts that the server needs from a certificate and that no dependency tells: until when it is valid, and
//! which hash its signature uses (channel binding hashes the certificate with it).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What is read from a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// `None`: an algorithm (Ed25519, say) for which RFC 5929 names no hash.
    pub hash: Option<SignatureHash>,
}

/// The hash inside a signature algorithm; MD5 and SHA-1 count as SHA-256, as RFC 5929 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureHash {
    Sha256,
    Sha384,
    Sha512,
}

/// Reads `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }`; `None` if it is not one.
pub(crate) fn facts(certificate: &[u8]) -> Option<CertificateFacts> {
    let (body, _) = expect(certificate, SEQUENCE)?;
    let (tbs, after_tbs) = expect(body, SEQUENCE)?;
    let (algorithm, _) = expect(after_tbs, SEQUENCE)?;
    let (oid, _) = expect(algorithm, OID)?;
    let mut rest = tbs;
    let (tag, _, after) = element(rest)?;
    if tag == VERSION {
        rest = after;
    }
    let (_, _, rest) = element(rest)?; // serial number
    let (_, rest) = expect(rest, SEQUENCE)?; // signature algorithm
    let (_, rest) = expect(rest, SEQUENCE)?; // issuer
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(CertificateFacts { not_before, not_after, hash: signature_hash(oid) })
}

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Tag, contents and what follows.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0, |len, &d| (len << 8) | usize::from(d)), rest)
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some((tag, contents, rest))
}

fn expect(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(input)?;
    (tag == wanted).then_some((contents, rest))
}

fn time(input: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, contents, rest) = element(input)?;
    let text = std::str::from_utf8(contents).ok()?;
    let (year, month_on) = match tag {
        // Two digits: 1950 to 2049 (RFC 5280).
        UTC_TIME => {
            let short: i16 = text.get(..2)?.parse().ok()?;
            (if short < 50 { 2000 + short } else { 1900 + short }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| month_on.get(at..at + 2)?.parse::<i8>().ok();
    let civil = DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, 0).ok()?;
    Some((civil.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

fn signature_hash(oid: &[u8]) -> Option<SignatureHash> {
    // 1.2.840.113549.1.1.N: RSA with …; 1.2.840.10045.4.3.N: ECDSA with …
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    if oid == ECDSA_SHA1 {
        return Some(SignatureHash::Sha256);
    }
    if let Some(&[last]) = oid.strip_prefix(RSA) {
        return match last {
            4 | 5 | 11 => Some(SignatureHash::Sha256),
            12 => Some(SignatureHash::Sha384),
            13 => Some(SignatureHash::Sha512),
            _ => None,
        };
    }
    match oid.strip_prefix(ECDSA) {
        Some(&[2]) => Some(SignatureHash::Sha256),
        Some(&[3]) => Some(SignatureHash::Sha384),
        Some(&[4]) => Some(SignatureHash::Sha512),
        _ => None,
    }
}

/// `tls-server-end-point`: the certificate, hashed as its own signature hashes.
pub(crate) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    use sha2::Digest;
    Some(match facts(certificate)?.hash? {
        SignatureHash::Sha256 => sha2::Sha256::digest(certificate).to_vec(),
        SignatureHash::Sha384 => sha2::Sha384::digest(certificate).to_vec(),
        SignatureHash::Sha512 => sha2::Sha512::digest(certificate).to_vec(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_certificate_is_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(2061, 3, 4);
        let cert = params.self_signed(&key).unwrap();
        let facts = facts(cert.der()).unwrap();
        assert_eq!(facts.not_before.to_string(), "2020-01-02T00:00:00Z");
        assert_eq!(facts.not_after.to_string(), "2061-03-04T00:00:00Z");
        assert_eq!(facts.hash, Some(SignatureHash::Sha256));
        assert_eq!(end_point(cert.der()).unwrap().len(), 32);
    }

    #[test]
    fn garbage_is_refused_at_every_length() {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap();
        for end in 0..cert.der().len() {
            assert_eq!(facts(&cert.der()[..end]), None);
        }
    }
}
