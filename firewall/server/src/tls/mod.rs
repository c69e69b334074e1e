//! TLS on both sides: the client port's certificate (reloadable) and the upstream's verification.

pub(crate) mod der;
pub mod self_signed;
pub mod upstream;

use std::fmt;
use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::shared::TlsFiles;

/// The protocol's name in ALPN; required where TLS begins without an SSLRequest.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// A file that TLS needs cannot be used; says which, why, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {problem} ({fix})", path.display())]
pub struct TlsError {
    pub path: PathBuf,
    pub problem: String,
    pub fix: &'static str,
}

impl TlsError {
    pub(crate) fn new(path: &Path, problem: impl Into<String>, fix: &'static str) -> Self {
        Self { path: path.to_owned(), problem: problem.into(), fix }
    }
}

/// The client port's TLS: shared by all connections, replaced as a whole by [`ServerTls::reload`].
pub struct ServerTls {
    files: TlsFiles,
    current: ArcSwap<Identity>,
}

/// One certificate with what depends on it.
pub(crate) struct Identity {
    pub config: Arc<ServerConfig>,
    /// SCRAM with channel binding to this certificate; without, if its algorithm has no hash.
    pub scram: pgwire::api::auth::sasl::scram::ScramServerAuth,
    pub not_after: Timestamp,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ServerTls {
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let identity = Identity::load(&files)?;
        Ok(Self { files, current: ArcSwap::from_pointee(identity) })
    }

    /// Reads the files again; on an error the old certificate stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(Identity::load(&self.files)?));
        Ok(())
    }

    /// When the certificate in use ends, for warnings and metrics.
    pub fn not_after(&self) -> Timestamp {
        self.current.load().not_after
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.current.load_full()
    }
}

impl Identity {
    fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.cert)?;
        let leaf = chain.first().ok_or_else(|| no_certificate(&files.cert))?.clone();
        let not_after = check_dates(&files.cert, &leaf)?;
        let key = private_key(&files.key)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::new(&files.cert, e.to_string(), "report this"))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|e| TlsError::new(path, e.to_string(), "give it at least one CA certificate in PEM"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| {
            let problem = format!("does not go with {}: {e}", files.key.display());
            TlsError::new(&files.cert, problem, "give --tls-cert and --tls-key of the same pair")
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session saves little for a connection that lives for minutes, and its cache costs memory.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), scram: scram(&files.cert, &leaf), not_after })
    }
}

fn scram(path: &Path, leaf: &CertificateDer<'_>) -> pgwire::api::auth::sasl::scram::ScramServerAuth {
    let mut scram = pgwire::api::auth::sasl::scram::ScramServerAuth::new();
    let known = der::end_point(leaf).is_some();
    let pem = fs::read(path).unwrap_or_default();
    if !known || scram.configure_certificate(&pem).is_err() {
        tracing::warn!(
            file = %path.display(),
            "the certificate's signature algorithm has no hash for channel binding: SCRAM-SHA-256-PLUS is not offered"
        );
    }
    scram
}

/// aws-lc-rs; no other provider is linked for TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = fs::File::open(path).map_err(|e| unreadable(path, &e))?;
    let chain = CertificateDer::pem_reader_iter(BufReader::new(file))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::new(path, format!("is not PEM: {e}"), "give a file with -----BEGIN CERTIFICATE-----"))?;
    if chain.is_empty() {
        return Err(no_certificate(path));
    }
    Ok(chain)
}

pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let file = fs::File::open(path).map_err(|e| unreadable(path, &e))?;
    let mode = file.metadata().map_err(|e| unreadable(path, &e))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(TlsError::new(
            path,
            format!("has mode {:04o}: others can read the key", mode & 0o7777),
            "chmod 600 it",
        ));
    }
    PrivateKeyDer::from_pem_reader(BufReader::new(file)).map_err(|e| {
        TlsError::new(
            path,
            format!("holds no private key: {e}"),
            "give an unencrypted PEM key (PKCS#8, PKCS#1 or SEC1)",
        )
    })
}

pub(crate) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|e| {
            TlsError::new(path, format!("holds an unusable certificate: {e}"), "give CA certificates in PEM")
        })?;
    }
    Ok(store)
}

fn check_dates(path: &Path, leaf: &CertificateDer<'_>) -> Result<Timestamp, TlsError> {
    let facts = der::facts(leaf)
        .ok_or_else(|| TlsError::new(path, "is not an X.509 certificate", "give a certificate in PEM"))?;
    let now = Timestamp::now();
    if facts.not_after < now {
        return Err(TlsError::new(path, format!("the certificate expired on {}", facts.not_after), "renew it"));
    }
    if facts.not_before > now {
        return Err(TlsError::new(
            path,
            format!("the certificate is valid only from {}", facts.not_before),
            "check this machine's clock",
        ));
    }
    Ok(facts.not_after)
}

fn unreadable(path: &Path, error: &std::io::Error) -> TlsError {
    TlsError::new(path, format!("cannot be read: {error}"), "check the path and its permissions")
}

fn no_certificate(path: &Path) -> TlsError {
    TlsError::new(path, "holds no certificate", "give a file with -----BEGIN CERTIFICATE-----")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
