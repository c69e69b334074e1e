//! Proving who the firewall is to the database server.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use ringfence_wire::auth::{Authentication, Mechanisms};
use ringfence_wire::encode;

use crate::auth::scram::{PLAIN, PLUS};
use crate::stream::Stream;
use crate::tls::der;

/// One login, step by step. Errors are for the operator's log.
pub(super) struct Login<'a> {
    user: &'a str,
    password: Option<&'a str>,
    tls: bool,
    /// `tls-server-end-point` of the server's certificate.
    end_point: Option<Vec<u8>>,
    scram: Scram,
}

enum Scram {
    Idle,
    Running(ScramSha256),
    /// The server proved that it knows the password, too.
    Proved,
}

impl<'a> Login<'a> {
    pub(super) fn new(user: &'a str, password: Option<&'a str>, stream: &Stream) -> Self {
        let end_point = match stream {
            Stream::Plain(_) | Stream::Unix(_) => None,
            Stream::Tls(tls) => {
                let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
                chain.first().and_then(|leaf| der::end_point(leaf))
            }
        };
        Self { user, password, tls: stream.is_tls(), end_point, scram: Scram::Idle }
    }

    /// The answer to one request of the server; empty if none is due.
    pub(super) fn answer(&mut self, request: Authentication<'_>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match request {
            Authentication::Ok => {}
            Authentication::CleartextPassword if self.tls => encode::password(&mut out, self.password()?.as_bytes()),
            Authentication::CleartextPassword => {
                return Err("the server asks for the password in clear text, and the connection has no TLS".to_owned());
            }
            Authentication::Md5Password { salt } => {
                let hash = md5_hash(self.user.as_bytes(), self.password()?.as_bytes(), salt);
                encode::password(&mut out, hash.as_bytes());
            }
            Authentication::Sasl(offered) => self.begin(offered, &mut out)?,
            Authentication::SaslContinue(challenge) => {
                let Scram::Running(scram) = &mut self.scram else { return Err(out_of_order()) };
                scram.update(challenge).map_err(|e| e.to_string())?;
                encode::sasl_response(&mut out, scram.message());
            }
            Authentication::SaslFinal(signature) => {
                let Scram::Running(scram) = &mut self.scram else { return Err(out_of_order()) };
                scram.finish(signature).map_err(|e| e.to_string())?;
                self.scram = Scram::Proved;
            }
            Authentication::Other(code) => {
                return Err(format!(
                    "the server asks for authentication method {code}, which is not supported (SCRAM-SHA-256, md5, password are)"
                ));
            }
        }
        Ok(out)
    }

    /// The server said Ok: it must not leave out its own proof.
    pub(super) fn done(&self) -> Result<(), String> {
        match self.scram {
            Scram::Running(_) => {
                Err("the server broke SCRAM off without proving that it knows the password".to_owned())
            }
            Scram::Idle | Scram::Proved => Ok(()),
        }
    }

    fn begin(&mut self, offered: Mechanisms<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let has = |name: &[u8]| offered.iter().any(|m| m == name);
        let (mechanism, binding) = match self.end_point.take() {
            Some(hash) if has(PLUS) => (PLUS, ChannelBinding::tls_server_end_point(hash)),
            // "y": could have bound the channel, and saw no offer. A man in the middle who took it away is found out.
            Some(_) if has(PLAIN) => (PLAIN, ChannelBinding::unrequested()),
            None if has(PLAIN) => (PLAIN, ChannelBinding::unsupported()),
            _ => return Err("the server offers no SCRAM-SHA-256".to_owned()),
        };
        let scram = ScramSha256::new(self.password()?.as_bytes(), binding);
        encode::sasl_initial_response(out, mechanism, Some(scram.message()));
        self.scram = Scram::Running(scram);
        Ok(())
    }

    fn password(&self) -> Result<&'a str, String> {
        self.password
            .ok_or_else(|| format!("the server asks for a password of {:?}, and none is configured", self.user))
    }
}

fn out_of_order() -> String {
    "the server's SCRAM messages are out of order".to_owned()
}
