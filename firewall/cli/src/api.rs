//! Requests to the admin API.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::settings::{Settings, SettingsError};

/// Where Linux distributions keep the system's authorities.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Answers are short.
const LONGEST: u64 = 64 << 20;

/// A server and the right to command it.
pub(crate) struct Api {
    agent: Agent,
    base: String,
    authorization: zeroize::Zeroizing<String>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{url}: {source}")]
    Transport { url: String, source: Box<ureq::Error> },
    /// The server's own words.
    #[error("{message} (HTTP {status})")]
    Refused { status: u16, message: String },
    #[error("{0}: the answer is not what this rfctl expects; is that a Ringfence admin address?")]
    Strange(String),
    #[error("{0} is not an http:// or https:// URL")]
    Url(String),
    #[error("{0} is plain HTTP to another machine: the root token would travel in the clear; use https://")]
    Plaintext(String),
    #[error("{0}: {1}")]
    Ca(String, String),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl ApiError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Url(_) | Self::Plaintext(_) | Self::Ca(..) | Self::Settings(_) => 2,
            Self::Transport { .. } | Self::Refused { .. } | Self::Strange(_) => 1,
        }
    }
}

impl Api {
    pub(crate) fn new(settings: &Settings) -> Result<Self, ApiError> {
        let base = settings.url.trim_end_matches('/').to_owned();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(30)))
            .timeout_connect(Some(Duration::from_secs(5)))
            .proxy(None)
            .user_agent(concat!("rfctl/", env!("CARGO_PKG_VERSION")));
        if let Some(rest) = base.strip_prefix("http://") {
            if !is_local(rest) {
                return Err(ApiError::Plaintext(base));
            }
        } else if base.starts_with("https://") {
            let tls = TlsConfig::builder()
                .root_certs(roots(settings.ca.as_deref())?)
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .build();
            config = config.tls_config(tls);
        } else {
            return Err(ApiError::Url(base));
        }
        let authorization = zeroize::Zeroizing::new(format!("Bearer {}", settings.token()?));
        Ok(Self { agent: config.build().new_agent(), base, authorization })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, ApiError> {
        let url = self.url(path);
        self.answer(&url, self.agent.get(&url).header("Authorization", self.authorization.as_str()).call())
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, ApiError> {
        let url = self.url(path);
        self.answer(&url, self.agent.delete(&url).header("Authorization", self.authorization.as_str()).call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let url = self.url(path);
        let request = self.agent.post(&url).header("Authorization", self.authorization.as_str());
        self.answer(&url, request.send_json(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    fn answer(
        &self,
        url: &str,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, ApiError> {
        let mut response =
            sent.map_err(|source| ApiError::Transport { url: self.base.clone(), source: Box::new(source) })?;
        let status = response.status();
        let body: Result<Value, _> = response.body_mut().with_config().limit(LONGEST).read_json();
        match body {
            Ok(value) if status.is_success() => Ok(value),
            Ok(value) => Err(ApiError::Refused {
                status: status.as_u16(),
                message: value.get("error").and_then(Value::as_str).unwrap_or("the server refused").to_owned(),
            }),
            Err(_) if status.is_success() => Err(ApiError::Strange(url.to_owned())),
            Err(_) => {
                Err(ApiError::Refused { status: status.as_u16(), message: format!("{url}: no JSON in the answer") })
            }
        }
    }
}

/// One segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn is_local(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or(rest);
    // User information would hide the host.
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn roots(ca: Option<&Path>) -> Result<RootCerts, ApiError> {
    let path = match ca {
        Some(path) => path,
        None => SYSTEM_BUNDLES.iter().map(Path::new).find(|p| p.exists()).ok_or_else(|| {
            ApiError::Ca(String::from("this system has no bundle of authorities"), String::from("give --ca FILE"))
        })?,
    };
    let fail = |why: String| ApiError::Ca(path.display().to_string(), why);
    let pem = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    let found: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate.to_owned()),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(fail(String::from("holds no certificate in PEM")));
    }
    Ok(RootCerts::new_with_certs(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_local() {
        for host in ["127.0.0.1:6433", "localhost", "[::1]:6433/x", "127.9.9.9"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["10.0.0.1:6433", "db.example", "localhost.example:1", "127.0.0.1@evil.example", "[2001:db8::1]:6433"]
        {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(segment("users-api~k3"), "users-api~k3");
        assert_eq!(segment("a/b c%"), "a%2Fb%20c%25");
    }
}
