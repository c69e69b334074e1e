//! SCRAM toward clients: pgwire's state machine, fed with verifiers; clients that do not exist get the verifier of
//! nobody, so that they cannot be told from those that do.

use hmac::{Hmac, KeyInit, Mac};
use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal};
use sha2::Sha256;

use crate::shared::Verifier;

/// The mechanisms' names.
pub(crate) const PLAIN: &[u8] = b"SCRAM-SHA-256";
pub(crate) const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";

/// What issued tokens use too; a stranger must not see a difference.
const ITERATIONS: u32 = 4096;
const SALT: usize = 16;

/// The exchange broke off or the proof is wrong; the client learns only that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// After the first message.
pub(crate) struct Exchange {
    waiting: ScramServerAuthWaitingForClientFinal,
}

/// Mechanisms to offer, best first. `server` has the certificate, if there is TLS.
pub(crate) fn mechanisms(server: &ScramServerAuth) -> &'static [&'static [u8]] {
    if server.supports_channel_binding() { &[PLUS, PLAIN] } else { &[PLAIN] }
}

/// Takes the client's first message; returns the challenge.
pub(crate) fn begin(
    server: &ScramServerAuth,
    mechanism: &[u8],
    client_first: &[u8],
    verifier: &Verifier,
) -> Result<(Vec<u8>, Exchange), Failed> {
    // The mechanism says whether the channel is bound; its first message has to agree.
    let bound = client_first.starts_with(b"p=");
    let agrees = match mechanism {
        PLUS => bound && server.supports_channel_binding(),
        PLAIN => !bound,
        _ => false,
    };
    if !agrees {
        return Err(Failed);
    }
    let secret = ScramSecret::Verifier {
        salt: verifier.salt.to_vec(),
        iterations: usize::try_from(verifier.iterations).unwrap_or_default(),
        stored_key: verifier.stored_key.to_vec(),
        server_key: verifier.server_key.to_vec(),
    };
    let (challenge, waiting) = server.on_client_first_message_with_secret(client_first, secret).map_err(|_| Failed)?;
    Ok((challenge.into_bytes(), Exchange { waiting }))
}

impl Exchange {
    /// Takes the client's proof; returns the server's signature.
    pub(crate) fn finish(&self, client_final: &[u8]) -> Result<Vec<u8>, Failed> {
        self.waiting.on_client_final_message(client_final).map(String::into_bytes).map_err(|_| Failed)
    }
}

/// The verifier of a login that does not exist: always the same salt for the same name, and no token that fits.
pub(crate) fn nobody(secret: &[u8; 32], login: &[u8]) -> Verifier {
    let derive = |what: &[u8]| -> [u8; 32] {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret) else { return [0; 32] };
        mac.chain_update(what).chain_update([0]).chain_update(login).finalize().into_bytes().into()
    };
    let salt = derive(b"salt");
    Verifier {
        client: "".into(),
        kid: "".into(),
        salt: salt.get(..SALT).unwrap_or_default().into(),
        iterations: ITERATIONS,
        stored_key: derive(b"stored key"),
        server_key: derive(b"server key"),
    }
}

/// Does this token fit this verifier? For cleartext; costs as much as a client's side of SCRAM.
pub(crate) fn fits(token: &[u8], verifier: &Verifier) -> bool {
    use sha2::Digest;
    use subtle::ConstantTimeEq;
    let salted = salted_password(token, &verifier.salt, verifier.iterations);
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(&salted) else { return false };
    let client_key = mac.chain_update(b"Client Key").finalize().into_bytes();
    Sha256::digest(client_key).ct_eq(&verifier.stored_key).into()
}

/// `Hi(token, salt, iterations)` of RFC 5802. Tokens are ASCII: SASLprep leaves them as they are.
fn salted_password(token: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let Ok(keyed) = Hmac::<Sha256>::new_from_slice(token) else { return [0; 32] };
    let mut last: [u8; 32] = keyed.clone().chain_update(salt).chain_update([0, 0, 0, 1]).finalize().into_bytes().into();
    let mut sum = last;
    for _ in 1..iterations {
        last = keyed.clone().chain_update(last).finalize().into_bytes().into();
        for (to, from) in sum.iter_mut().zip(last) {
            *to ^= from;
        }
    }
    sum
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
pub(crate) mod tests {
    use super::*;
    use sha2::Digest;

    /// A verifier as `rfctl client token` stores it.
    pub(crate) fn verifier(client: &str, kid: &str, token: &str) -> Verifier {
        let salt = [7; SALT];
        let salted = salted_password(token.as_bytes(), &salt, ITERATIONS);
        let hmac = |what: &[u8]| -> [u8; 32] {
            Hmac::<Sha256>::new_from_slice(&salted).unwrap().chain_update(what).finalize().into_bytes().into()
        };
        Verifier {
            client: client.into(),
            kid: kid.into(),
            salt: salt.into(),
            iterations: ITERATIONS,
            stored_key: Sha256::digest(hmac(b"Client Key")).into(),
            server_key: hmac(b"Server Key"),
        }
    }

    #[test]
    fn a_real_client_gets_in_with_the_right_token_only() {
        use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
        let good = verifier("c", "k", "rft_right");
        for (token, fits_it) in [("rft_right", true), ("rft_wrong", false)] {
            let server = ScramServerAuth::new();
            let mut client = ScramSha256::new(token.as_bytes(), ChannelBinding::unsupported());
            let (challenge, exchange) = begin(&server, PLAIN, client.message(), &good).unwrap();
            client.update(&challenge).unwrap();
            let answer = exchange.finish(client.message());
            assert_eq!(answer.is_ok(), fits_it);
            if let Ok(signature) = answer {
                client.finish(&signature).unwrap();
            }
            assert_eq!(fits(token.as_bytes(), &good), fits_it);
        }
    }

    #[test]
    fn nobody_is_always_the_same_and_never_fits() {
        let (a, b) = (nobody(&[1; 32], b"x"), nobody(&[1; 32], b"x"));
        assert_eq!((&a.salt, a.stored_key), (&b.salt, b.stored_key));
        assert_ne!(a.salt, nobody(&[1; 32], b"y").salt);
        assert_ne!(a.salt, nobody(&[2; 32], b"x").salt);
        assert!(!fits(b"", &a));
    }

    #[test]
    fn mechanism_and_binding_flag_agree() {
        let server = ScramServerAuth::new();
        let good = verifier("c", "k", "t");
        let first: &[u8] = b"n,,n=,r=abcdef";
        assert!(begin(&server, PLAIN, first, &good).is_ok());
        assert!(begin(&server, PLUS, first, &good).is_err());
        assert!(begin(&server, PLUS, b"p=tls-server-end-point,,n=,r=abcdef", &good).is_err());
        assert!(begin(&server, b"OTHER", first, &good).is_err());
        assert!(begin(&server, PLAIN, b"n,,", &good).is_err());
    }
}
