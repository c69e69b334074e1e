//! Who is it? From the greeting to a token that was proved, toward clients.

pub mod limiter;
pub(crate) mod scram;

use std::io;
use std::net::IpAddr;

use pgwire::api::auth::sasl::scram::ScramServerAuth;
use ringfence_wire::auth::{Password, SaslInitialResponse};
use ringfence_wire::{encode, frontend};

use crate::shared::{AuthMethod, LoginFailure, Problem, Shared, Verifier};
use crate::stream::{Messages, invalid};
use crate::tls::Identity;

/// How authentication ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// `last` (AuthenticationOk and what belongs before it) is still to be sent.
    Proved {
        verifier: Verifier,
        last: Vec<u8>,
    },
    /// Closed before it proved anything: psql does, to ask its user for the password.
    Gone,
    Refused {
        problem: Problem,
        reason: LoginFailure,
    },
}

/// Runs the exchange. Unknown clients and wrong tokens go the same way through it, byte by byte.
pub(crate) async fn authenticate(
    messages: &mut Messages,
    shared: &Shared,
    identity: Option<&Identity>,
    address: IpAddr,
    login: &[u8],
) -> io::Result<Outcome> {
    if !shared.verifiers.serving() {
        let problem = Problem::new("57P03", "logins cannot be checked now")
            .hint("The firewall has lost its control database; try again later.");
        return Ok(Outcome::Refused { problem, reason: LoginFailure::Unavailable });
    }
    if let Err(wait) = shared.limiter.check(address, login) {
        let seconds = wait.as_secs().saturating_add(1);
        let problem = Problem::new("53300", "too many failed logins")
            .hint(format!("Check the token, and try again in {seconds} s."));
        return Ok(Outcome::Refused { problem, reason: LoginFailure::RateLimited });
    }
    let proved = match shared.net.auth {
        AuthMethod::Scram => scram_exchange(messages, shared, identity, login).await?,
        AuthMethod::Cleartext if messages.stream.is_tls() => cleartext(messages, shared, login).await?,
        AuthMethod::Cleartext => {
            let problem = Problem::new("28000", "tokens are accepted over TLS only")
                .hint("Add sslmode=require (or verify-full) to the connection string.");
            return Ok(Outcome::Refused { problem, reason: LoginFailure::PlaintextRefused });
        }
    };
    Ok(match proved {
        Proof::Good { verifier, mut last } => {
            encode::authentication_ok(&mut last);
            Outcome::Proved { verifier, last }
        }
        Proof::Gone => Outcome::Gone,
        Proof::Bad => {
            shared.limiter.failed(address, login);
            Outcome::Refused { problem: wrong(login), reason: LoginFailure::Credentials }
        }
    })
}

/// The one answer to whatever was wrong with login or token.
fn wrong(login: &[u8]) -> Problem {
    let login = String::from_utf8_lossy(login);
    Problem::new("28P01", format!("password authentication failed for user \"{login}\""))
}

enum Proof {
    Good { verifier: Verifier, last: Vec<u8> },
    Bad,
    Gone,
}

async fn scram_exchange(
    messages: &mut Messages,
    shared: &Shared,
    identity: Option<&Identity>,
    login: &[u8],
) -> io::Result<Proof> {
    let unbound = ScramServerAuth::new();
    let server = identity.map_or(&unbound, |i| &i.scram);
    let mut out = Vec::new();
    encode::authentication_sasl(&mut out, scram::mechanisms(server).iter().copied());
    messages.send(&out).await?;

    let Some(first) = password_message(messages).await? else { return Ok(Proof::Gone) };
    let initial = SaslInitialResponse::parse(&first).map_err(invalid)?;
    let known = std::str::from_utf8(login).ok().and_then(|l| shared.verifiers.lookup(l));
    let nobody = scram::nobody(&shared.net.mock_secret, login);
    let exists = known.is_some();
    let verifier = known.unwrap_or(nobody);
    let begun = scram::begin(server, initial.mechanism, initial.response.unwrap_or_default(), &verifier);
    let Ok((challenge, exchange)) = begun else { return Ok(Proof::Bad) };
    out.clear();
    encode::authentication_sasl_continue(&mut out, &challenge);
    messages.send(&out).await?;

    let Some(proof) = password_message(messages).await? else { return Ok(Proof::Gone) };
    match exchange.finish(&proof) {
        Ok(signature) if exists => {
            let mut last = Vec::new();
            encode::authentication_sasl_final(&mut last, &signature);
            Ok(Proof::Good { verifier, last })
        }
        _ => Ok(Proof::Bad),
    }
}

async fn cleartext(messages: &mut Messages, shared: &Shared, login: &[u8]) -> io::Result<Proof> {
    let mut out = Vec::new();
    encode::authentication_cleartext_password(&mut out);
    messages.send(&out).await?;
    let Some(body) = password_message(messages).await? else { return Ok(Proof::Gone) };
    let token = Password::parse(&body).map_err(invalid)?.password;

    let candidates = std::str::from_utf8(login).map(|l| shared.verifiers.candidates(l)).unwrap_or_default();
    let kid = kid(token).unwrap_or_default();
    let known = candidates.into_iter().find(|v| v.kid.as_bytes() == kid);
    let exists = known.is_some();
    let verifier = known.unwrap_or_else(|| scram::nobody(&shared.net.mock_secret, login));
    // One derivation, whoever it is.
    let fits = scram::fits(token, &verifier);
    Ok(if fits && exists { Proof::Good { verifier, last: Vec::new() } } else { Proof::Bad })
}

/// `rft_KID_SECRET` names its own verifier.
fn kid(token: &[u8]) -> Option<&[u8]> {
    token.strip_prefix(b"rft_")?.split(|b| *b == b'_').next()
}

/// The body of the next message, which must be a password's.
async fn password_message(messages: &mut Messages) -> io::Result<Option<Vec<u8>>> {
    match messages.next(frontend::PRE_AUTH_CAP).await? {
        None => Ok(None),
        Some(message) if message.tag == frontend::PASSWORD => Ok(Some(message.body().to_vec())),
        Some(message) if message.tag == frontend::TERMINATE => Ok(None),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "expected a password message")),
    }
}
