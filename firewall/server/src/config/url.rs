//! `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use crate::tls::upstream::{SslMode, UpstreamFiles};

/// One server and one login.
#[derive(Clone, Debug)]
pub struct PgUrl {
    pub user: String,
    pub password: Option<Secret>,
    /// A name, an address, or the directory of a Unix socket (begins with `/`).
    pub host: String,
    pub port: u16,
    pub database: Option<String>,
    pub ssl_mode: SslMode,
    pub ssl_files: UpstreamFiles,
    pub connect_timeout: Duration,
}

/// Why a text is not the URL of a server. Never repeats the text: it holds a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    #[error("must begin with postgresql:// (or postgres://)")]
    Scheme,
    #[error("has no user; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoUser,
    #[error("has no host; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoHost,
    #[error("names several hosts; one is supported")]
    SeveralHosts,
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    #[error("holds a % that two hexadecimal digits do not follow (write a literal % as %25)")]
    Percent,
    #[error(
        "has an unknown sslmode; disable, require, verify-ca and verify-full are known (allow and prefer fall back to plaintext, so they are refused)"
    )]
    SslMode,
    #[error("has an unknown parameter \"{0}\"; known are sslmode, sslrootcert, sslcert, sslkey, connect_timeout")]
    Parameter(String),
    #[error("needs sslcert and sslkey together")]
    ClientCertificate,
    #[error("has a connect_timeout that is not a number of seconds")]
    Timeout,
}

impl PgUrl {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let rest =
            text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")).ok_or(UrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        // The last @: a password may hold one that nobody encoded.
        let (login, address) = authority.rsplit_once('@').ok_or(UrlError::NoUser)?;
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(Secret::new(decode(password)?))),
            None => (login, None),
        };
        if user.is_empty() {
            return Err(UrlError::NoUser);
        }
        if address.contains(',') {
            return Err(UrlError::SeveralHosts);
        }
        let (host, port) = split_address(address)?;
        if host.is_empty() {
            return Err(UrlError::NoHost);
        }
        let host = decode(host)?;
        let (ssl_mode, ssl_files, connect_timeout) = parameters(query, &host)?;
        Ok(Self {
            user: decode(user)?,
            password,
            host,
            port,
            database: (!database.is_empty()).then(|| decode(database)).transpose()?,
            ssl_mode,
            ssl_files,
            connect_timeout,
        })
    }

    /// The same server and login, another database.
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..self.clone() }
    }
}

/// Without the password: for logs and the admin API.
impl fmt::Display for PgUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.database.as_deref().unwrap_or("");
        let mode = self.ssl_mode.as_str();
        if self.host.contains(':') {
            write!(f, "postgresql://{}@[{}]:{}/{database}?sslmode={mode}", self.user, self.host, self.port)
        } else {
            write!(f, "postgresql://{}@{}:{}/{database}?sslmode={mode}", self.user, self.host, self.port)
        }
    }
}

fn split_address(address: &str) -> Result<(&str, u16), UrlError> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').ok_or(UrlError::NoHost)?;
        (host, tail.strip_prefix(':').unwrap_or(""))
    } else {
        address.rsplit_once(':').unwrap_or((address, ""))
    };
    let port = match port {
        "" => 5432,
        digits => digits.parse().ok().filter(|&p| p > 0).ok_or(UrlError::Port)?,
    };
    Ok((host, port))
}

fn parameters(query: &str, host: &str) -> Result<(SslMode, UpstreamFiles, Duration), UrlError> {
    let mut mode = None;
    let (mut root_cert, mut cert, mut key) = (None, None, None);
    let mut timeout = Duration::from_secs(10);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        match name {
            "sslmode" => {
                mode = Some(match value.as_str() {
                    "disable" => SslMode::Disable,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    _ => return Err(UrlError::SslMode),
                });
            }
            "sslrootcert" => root_cert = Some(PathBuf::from(value)),
            "sslcert" => cert = Some(PathBuf::from(value)),
            "sslkey" => key = Some(PathBuf::from(value)),
            "connect_timeout" => {
                let seconds: u64 = value.parse().map_err(|_| UrlError::Timeout)?;
                timeout = Duration::from_secs(seconds.clamp(1, 3600));
            }
            other => return Err(UrlError::Parameter(other.to_owned())),
        }
    }
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(UrlError::ClientCertificate),
    };
    // Plaintext is the default only where nobody can listen.
    let mode = mode.unwrap_or(if is_local(host) { SslMode::Disable } else { SslMode::VerifyFull });
    Ok((mode, UpstreamFiles { root: root_cert, identity }, timeout))
}

fn is_local(host: &str) -> bool {
    host.starts_with('/') || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Percent-decoding; `+` stays `+`, as in libpq.
fn decode(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit(), digit());
            let (Some(high), Some(low)) = (high, low) else {
                return Err(UrlError::Percent);
            };
            bytes.push(u8::try_from(high * 16 + low).map_err(|_| UrlError::Percent)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Percent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_all_parts() {
        let url =
            PgUrl::parse("postgresql://app:p%40ss%2Fw@db.example:6543/bank?sslmode=verify-ca&sslrootcert=/ca.pem")
                .unwrap();
        assert_eq!((url.user.as_str(), url.host.as_str(), url.port), ("app", "db.example", 6543));
        assert_eq!(url.password.as_ref().unwrap().expose(), "p@ss/w");
        assert_eq!(url.database.as_deref(), Some("bank"));
        assert_eq!(url.ssl_mode, SslMode::VerifyCa);
        assert_eq!(url.to_string(), "postgresql://app@db.example:6543/bank?sslmode=verify-ca");
        assert!(!format!("{url:?}").contains("p@ss"));
    }

    #[test]
    fn defaults_are_safe() {
        let mode = |text: &str| PgUrl::parse(text).unwrap().ssl_mode;
        assert_eq!(mode("postgres://a@127.0.0.1"), SslMode::Disable);
        assert_eq!(mode("postgres://a@[::1]:5433/"), SslMode::Disable);
        assert_eq!(mode("postgres://a@%2Fvar%2Frun%2Fpg/x"), SslMode::Disable);
        assert_eq!(mode("postgres://a@db"), SslMode::VerifyFull);
    }

    #[test]
    fn names_what_is_wrong() {
        let error = |text: &str| PgUrl::parse(text).unwrap_err();
        assert_eq!(error("mysql://a@b"), UrlError::Scheme);
        assert_eq!(error("postgresql://host/db"), UrlError::NoUser);
        assert_eq!(error("postgresql://a@/db"), UrlError::NoHost);
        assert_eq!(error("postgresql://a@h:0/db"), UrlError::Port);
        assert_eq!(error("postgresql://a:%zz@h/db"), UrlError::Percent);
        assert_eq!(error("postgresql://a@h/db?sslmode=prefer"), UrlError::SslMode);
        assert_eq!(error("postgresql://a@h,i/db"), UrlError::SeveralHosts);
        assert_eq!(error("postgresql://a@h/db?options=x"), UrlError::Parameter("options".into()));
    }
}
