//! How the upstream server's certificate is verified: the meaning of `sslmode`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{TlsError, certificates, private_key, provider, roots};

/// `sslmode`, without the two that fall back to plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// Encrypted, the server's identity unchecked.
    Require,
    /// The certificate must come from a known authority.
    VerifyCa,
    /// … and name the host.
    VerifyFull,
}

impl SslMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// The files named in the upstream URL.
#[derive(Debug, Clone, Default)]
pub struct UpstreamFiles {
    /// `sslrootcert`; `None` is the system's bundle.
    pub root: Option<PathBuf>,
    /// `sslcert` and `sslkey`: the firewall's own certificate.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `None` for `disable`. `require` with a root file verifies like `verify-ca`, as libpq does.
pub fn config(mode: SslMode, files: &UpstreamFiles) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match (mode, &files.root) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::Require, None) => Arc::new(AnyCertificate(provider.clone())),
        (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => {
            Arc::new(AnyName(webpki(files.root.as_deref(), provider.clone())?))
        }
        (SslMode::VerifyFull, _) => webpki(files.root.as_deref(), provider.clone())?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::new(Path::new("upstream TLS"), e.to_string(), "report this"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|e| {
            TlsError::new(
                cert,
                format!("does not go with {}: {e}", key.display()),
                "give sslcert and sslkey of the same pair",
            )
        })?,
    };
    config.alpn_protocols = vec![super::ALPN.to_vec()];
    Ok(Some(Arc::new(config)))
}

/// Where Linux distributions keep the system's authorities.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

fn webpki(root: Option<&Path>, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let path = match root {
        Some(path) => path,
        None => SYSTEM_BUNDLES.iter().map(Path::new).find(|p| p.exists()).ok_or_else(|| {
            TlsError::new(
                Path::new("sslrootcert"),
                "is not given, and this system has no bundle of authorities",
                "add sslrootcert=FILE to the upstream URL",
            )
        })?,
    };
    let store = if root.is_some() { roots(path)? } else { system_roots(path)? };
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|e| TlsError::new(path, e.to_string(), "give a file of CA certificates in PEM"))
}

/// A system's bundle may hold certificates that webpki does not take; the others count.
fn system_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates(path)?);
    Ok(store)
}

/// `require`: the handshake's signatures are checked, the certificate is not.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: everything but the name, which webpki checks last.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
