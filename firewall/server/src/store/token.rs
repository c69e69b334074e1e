//! Tokens: `rft_<kid>_<secret>`, shown once; what is kept is a SCRAM verifier.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::RngExt;
use ringfence_cipher::ControlMac;
use zeroize::Zeroizing;

use crate::shared::Verifier;

/// What begins every token.
pub const PREFIX: &str = "rft_";
/// Letters and digits of a token's id.
const KID_LEN: usize = 8;
const KID_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A fresh token: its id, and the text that is its owner's password.
pub fn generate() -> (String, Zeroizing<String>) {
    let mut rng = rand::rng();
    let kid: String = (0..KID_LEN)
        .filter_map(|_| KID_ALPHABET.get(rng.random_range(0..KID_ALPHABET.len())))
        .map(|&b| char::from(b))
        .collect();
    let mut secret = Zeroizing::new([0u8; 32]);
    rng.fill(secret.as_mut_slice());
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + KID_LEN + 44));
    text.push_str(PREFIX);
    text.push_str(&kid);
    text.push('_');
    URL_SAFE_NO_PAD.encode_string(secret.as_slice(), &mut text);
    (kid, text)
}

/// `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`, as PostgreSQL itself stores passwords. (SASLprep changes nothing in
/// a token: it is ASCII.)
pub fn scram_verifier(token: &str) -> String {
    postgres_protocol::password::scram_sha_256(token.as_bytes())
}

/// One row of `ringfence.tokens` whose MAC is right.
#[derive(Debug, Clone)]
pub struct Token {
    pub verifier: Verifier,
    pub created_at: SystemTime,
    pub expires_at: SystemTime,
    pub revoked_at: Option<SystemTime>,
    pub created_by: Box<str>,
}

/// What can be said of a token at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Live,
    Expired,
    Revoked,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Token {
    pub fn status(&self, now: SystemTime) -> Status {
        if self.revoked_at.is_some() {
            Status::Revoked
        } else if self.expires_at <= now {
            Status::Expired
        } else {
            Status::Live
        }
    }

    /// `NAME~KID`: the login that names this token.
    pub fn login(&self) -> String {
        format!("{}~{}", self.verifier.client, self.verifier.kid)
    }
}

/// A row as the database has it.
#[derive(Debug)]
pub struct Row {
    pub kid: String,
    pub client: String,
    pub scram_verifier: String,
    pub created_at: SystemTime,
    pub expires_at: SystemTime,
    pub revoked_at: Option<SystemTime>,
    pub created_by: String,
}

impl Row {
    pub fn mac(&self, mac: &ControlMac) -> [u8; 32] {
        self.over(|fields| mac.tag("tokens", fields))
    }

    /// The token, if the MAC is right and the verifier can be read.
    pub fn verify(&self, mac: &ControlMac, tag: &[u8]) -> Option<Token> {
        if !self.over(|fields| mac.verify("tokens", fields, tag)) {
            return None;
        }
        Some(Token {
            verifier: parse_verifier(&self.client, &self.kid, &self.scram_verifier)?,
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            created_by: self.created_by.as_str().into(),
        })
    }

    fn over<T>(&self, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        let (created, expires) = (micros(self.created_at), micros(self.expires_at));
        let revoked = self.revoked_at.map(micros);
        with(&[
            self.kid.as_bytes(),
            self.client.as_bytes(),
            self.scram_verifier.as_bytes(),
            &created.to_be_bytes(),
            &expires.to_be_bytes(),
            revoked.map(i64::to_be_bytes).as_ref().map_or(&[], |bytes| bytes.as_slice()),
            self.created_by.as_bytes(),
        ])
    }
}

/// Microseconds since 1970: what a timestamptz keeps, so that a MAC survives the round trip.
pub fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
    }
}

/// Cut to what the database keeps.
pub fn to_micros(time: SystemTime) -> SystemTime {
    u64::try_from(micros(time)).map_or(time, |m| UNIX_EPOCH + Duration::from_micros(m))
}

fn parse_verifier(client: &str, kid: &str, text: &str) -> Option<Verifier> {
    let rest = text.strip_prefix("SCRAM-SHA-256$")?;
    let (head, keys) = rest.split_once('$')?;
    let (iterations, salt) = head.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let key = |text: &str| -> Option<[u8; 32]> { STANDARD.decode(text).ok()?.try_into().ok() };
    Some(Verifier {
        client: Arc::from(client),
        kid: Arc::from(kid),
        salt: Arc::from(STANDARD.decode(salt).ok()?),
        iterations: iterations.parse().ok()?,
        stored_key: key(stored)?,
        server_key: key(server)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringfence_cipher::MasterKey;

    #[test]
    fn a_token_looks_as_documented() {
        let (kid, text) = generate();
        assert_eq!(kid.len(), 8);
        assert!(kid.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        let secret = text.strip_prefix(&format!("rft_{kid}_")).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(secret).unwrap().len(), 32);
        assert_ne!(generate().1, text);
    }

    #[test]
    fn any_change_of_a_row_breaks_its_mac() {
        let mac = ControlMac::new(&MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap());
        let row = || Row {
            kid: "k3f9x2aa".into(),
            client: "users-api".into(),
            scram_verifier: scram_verifier("rft_x"),
            created_at: UNIX_EPOCH,
            expires_at: UNIX_EPOCH + Duration::from_secs(60),
            revoked_at: None,
            created_by: "root".into(),
        };
        let good = row();
        let tag = good.mac(&mac);
        let token = good.verify(&mac, &tag).unwrap();
        assert_eq!(token.verifier.iterations, 4096);
        assert_eq!(token.login(), "users-api~k3f9x2aa");
        assert_eq!(token.status(UNIX_EPOCH), Status::Live);
        assert_eq!(token.status(UNIX_EPOCH + Duration::from_secs(60)), Status::Expired);
        let verifier = good.scram_verifier.clone();
        for change in [
            Row { client: "operator".into(), ..row() },
            Row { expires_at: UNIX_EPOCH + Duration::from_secs(61), ..row() },
            Row { revoked_at: Some(UNIX_EPOCH), ..row() },
            Row { kid: "k3f9x2ab".into(), ..row() },
        ] {
            let change = Row { scram_verifier: verifier.clone(), ..change };
            assert!(change.verify(&mac, &tag).is_none());
        }
    }
}
