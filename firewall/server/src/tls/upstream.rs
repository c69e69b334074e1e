//! How the upstream server's certificate is verified: the meaning of `sslmode`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{TlsError, certificates, der, private_key, provider, roots};

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
        (SslMode::Require | SslMode::VerifyCa, _) => {
            Arc::new(Known::new(files.root.as_deref(), false, provider.clone())?)
        }
        (SslMode::VerifyFull, _) => Arc::new(Known::new(files.root.as_deref(), true, provider.clone())?),
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

/// `verify-ca` and `verify-full`: a chain to a known authority, or a certificate that is itself in the root file, as
/// the self-signed ones of many servers are (webpki takes no authority as a server's own certificate).
#[derive(Debug)]
struct Known {
    webpki: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl Known {
    fn new(root: Option<&Path>, check_name: bool, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let path = match root {
            Some(path) => path,
            None => system_bundle()?,
        };
        let store = if root.is_some() { roots(path)? } else { system_roots(path)? };
        let listed = if root.is_some() { certificates(path)? } else { Vec::new() };
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map_err(|e| TlsError::new(path, e.to_string(), "give a file of CA certificates in PEM"))?;
        Ok(Self { webpki, listed, check_name })
    }

    fn verify_listed(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let facts = der::facts(certificate).ok_or(CertificateError::BadEncoding)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if facts.not_after.as_second() < now {
            return Err(CertificateError::Expired.into());
        }
        if facts.not_before.as_second() > now {
            return Err(CertificateError::NotValidYet.into());
        }
        if self.check_name { verify_server_name(&ParsedCertificate::try_from(certificate)?, name) } else { Ok(()) }
    }
}

fn system_bundle() -> Result<&'static Path, TlsError> {
    SYSTEM_BUNDLES.iter().map(Path::new).find(|p| p.exists()).ok_or_else(|| {
        let problem = "is not given, and this system has no bundle of authorities";
        TlsError::new(Path::new("sslrootcert"), problem, "add sslrootcert=FILE to the upstream URL")
    })
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.listed.iter().any(|listed| listed == end_entity) {
            self.verify_listed(end_entity, server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        match self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is what webpki checks last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    /// A self-signed certificate in a file, as `openssl req -x509` makes it: an authority.
    fn self_signed(name: &str, until: i32) -> (tempfile::NamedTempFile, CertificateDer<'static>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(until, 1, 1);
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), cert.pem()).unwrap();
        (file, cert.der().clone())
    }

    fn verdict(root: &Path, shown: &CertificateDer<'_>, check_name: bool, name: &'static str) -> Result<(), Error> {
        let known = Known::new(Some(root), check_name, provider()).unwrap();
        let name = ServerName::try_from(name).unwrap();
        known.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn a_listed_certificate_is_known_by_its_bytes() {
        let (file, cert) = self_signed("db.example", 2090);
        assert_eq!(verdict(file.path(), &cert, true, "db.example"), Ok(()));
        assert!(verdict(file.path(), &cert, true, "other.example").is_err());
        assert_eq!(verdict(file.path(), &cert, false, "other.example"), Ok(()));
        let (_, stranger) = self_signed("db.example", 2090);
        assert!(verdict(file.path(), &stranger, false, "db.example").is_err());
    }

    #[test]
    fn an_expired_one_is_not() {
        let (file, cert) = self_signed("db.example", 2020);
        assert_eq!(verdict(file.path(), &cert, false, "db.example"), Err(CertificateError::Expired.into()));
    }
}
