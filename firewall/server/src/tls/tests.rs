//! Every way in which certificate files can be wrong, and what is said of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn pair(dir: &Path, name: &str, from: i32, until: i32) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    let files =
        TlsFiles { cert: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")), client_ca: None };
    fs::write(&files.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    mode(&files.key, 0o600);
    files
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mistake(files: TlsFiles) -> String {
    ServerTls::load(files).map(drop).unwrap_err().to_string()
}

#[test]
fn each_mistake_names_its_file_and_its_fix() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let good = pair(dir.path(), "good", 2020, 2090);
    let other = pair(dir.path(), "other", 2020, 2090);
    fs::write(at("empty"), "").unwrap();
    fs::write(at("bad"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    mode(&at("empty"), 0o600);
    let open_key = pair(dir.path(), "open", 2020, 2090);
    mode(&open_key.key, 0o644);
    for (files, says) in [
        (pair(dir.path(), "old", 2020, 2021), ["old.crt", "expired on 2021-01-01"]),
        (pair(dir.path(), "young", 2080, 2090), ["young.crt", "only from 2080-01-01"]),
        (TlsFiles { key: other.key, ..good.clone() }, ["good.crt", "other.key"]),
        (TlsFiles { cert: at("missing"), ..good.clone() }, ["missing", "cannot be read"]),
        (TlsFiles { key: at("missing"), ..good.clone() }, ["missing", "cannot be read"]),
        (TlsFiles { cert: at("empty"), ..good.clone() }, ["empty", "no certificate"]),
        (TlsFiles { cert: at("bad"), ..good.clone() }, ["bad", "not an X.509 certificate"]),
        (TlsFiles { key: at("empty"), ..good.clone() }, ["empty", "no private key"]),
        (TlsFiles { client_ca: Some(at("empty")), ..good.clone() }, ["empty", "no certificate"]),
        (open_key, ["open.key", "chmod 600"]),
    ] {
        let error = mistake(files);
        assert!(says.iter().all(|s| error.contains(s)), "{error}");
    }
    assert!(ServerTls::load(good).is_ok());
}

#[test]
fn a_reload_takes_the_new_files_or_keeps_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let files = pair(dir.path(), "x", 2020, 2080);
    let tls = ServerTls::load(files.clone()).unwrap();
    assert!(tls.not_after().to_string().starts_with("2080"));
    pair(dir.path(), "x", 2020, 2085);
    tls.reload().unwrap();
    assert!(tls.not_after().to_string().starts_with("2085"));
    fs::write(&files.cert, "nonsense").unwrap();
    assert!(tls.reload().is_err());
    assert!(tls.not_after().to_string().starts_with("2085"));
}

#[test]
fn self_signed_files_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let made = self_signed::ensure(&dir.path().join("tls")).unwrap();
    let key = fs::read(&made.key).unwrap();
    assert_eq!(fs::metadata(&made.key).unwrap().permissions().mode() & 0o777, 0o600);
    let again = self_signed::ensure(&dir.path().join("tls")).unwrap();
    assert_eq!(fs::read(&again.key).unwrap(), key);
    let tls = ServerTls::load(again).unwrap();
    assert!(tls.identity().scram.supports_channel_binding());
    fs::write(dir.path().join("something"), "").unwrap();
    let error = self_signed::ensure(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
}
