//! `--tls-self-signed DIR`: an authority and a certificate for this machine's loopback names, for development.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::TlsError;
use crate::shared::TlsFiles;

const CA: &str = "ca.crt";
const CERT: &str = "server.crt";
const KEY: &str = "server.key";

/// Uses what the directory holds, and fills it first if it is empty (it is created if it is missing). The
/// authority's key is not kept: nobody can sign with it later.
pub fn ensure(dir: &Path) -> Result<TlsFiles, TlsError> {
    let failed = |what: &str, error: std::io::Error| {
        TlsError::new(dir, format!("{what}: {error}"), "give --tls-self-signed a directory that this user can write")
    };
    fs::create_dir_all(dir).map_err(|e| failed("cannot be created", e))?;
    let mut entries = fs::read_dir(dir).map_err(|e| failed("cannot be read", e))?;
    if entries.next().is_none() {
        fill(dir)?;
    }
    let files = TlsFiles { cert: dir.join(CERT), key: dir.join(KEY), client_ca: None };
    if !files.cert.exists() || !files.key.exists() {
        return Err(TlsError::new(
            dir,
            format!("is not empty and has no {CERT} and {KEY}"),
            "give --tls-self-signed an empty directory, or one that it filled",
        ));
    }
    Ok(files)
}

fn fill(dir: &Path) -> Result<(), TlsError> {
    let made = make().map_err(|e| TlsError::new(dir, format!("certificate not made: {e}"), "report this"))?;
    write(&dir.join(CA), &made.ca, 0o644)?;
    write(&dir.join(KEY), &made.key, 0o600)?;
    write(&dir.join(CERT), &made.cert, 0o644)
}

struct Made {
    ca: String,
    cert: String,
    key: String,
}

fn make() -> Result<Made, rcgen::Error> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let year = i32::from(today.year());
    let month = u8::try_from(today.month()).unwrap_or(1);
    // A day that every month has; a year back so that skewed clocks do not matter.
    let (from, until) = (rcgen::date_time_ymd(year - 1, month, 1), rcgen::date_time_ymd(year + 5, month, 1));

    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "ringfence self-signed authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (from, until);
    let authority_key = KeyPair::generate()?;
    let authority_cert = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (server.not_before, server.not_after) = (from, until);
    let server_key = KeyPair::generate()?;
    let server_cert = server.signed_by(&server_key, &issuer)?;
    Ok(Made { ca: authority_cert.pem(), cert: server_cert.pem(), key: server_key.serialize_pem() })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| {
        TlsError::new(path, format!("cannot be written: {e}"), "check the directory's owner and free space")
    })
}
