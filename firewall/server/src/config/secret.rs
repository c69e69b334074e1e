//! Secrets: where they come from, and how their files must be kept.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ringfence_cipher::{KeyError, MasterKey};
use zeroize::{Zeroize, Zeroizing};

/// A text that is neither printed nor left behind in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret cannot be used. Names the file or variable, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read {what} {}: {source}", path.display())]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{what} {} may be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Mode { what: &'static str, path: PathBuf, mode: u32 },
    #[error("{what} {origin}: {source}; it must hold 32 random bytes in base64: make one with: ringfence keygen FILE")]
    NotAKey { what: &'static str, origin: String, source: KeyError },
    #[error(
        "{what} {origin} must be one line of at least 32 characters; make one with: head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE"
    )]
    ShortToken { what: &'static str, origin: String },
    #[error("{what} {} exists; keygen never overwrites a key", path.display())]
    Exists { what: &'static str, path: PathBuf },
    #[error("cannot write {what} {}: {source}", path.display())]
    Write { what: &'static str, path: PathBuf, source: std::io::Error },
}

/// One secret's sources, tried in this order: the file named by flag, the file named by `NAME_FILE`,
/// `/run/secrets/name`, the variable `NAME`.
#[derive(Debug)]
pub struct Sources<'a> {
    pub what: &'static str,
    /// `RINGFENCE_ROOT_TOKEN`.
    pub variable: &'static str,
    pub file: Option<&'a Path>,
    /// Group and others may not read the file. (`/run/secrets` is the platform's to protect.)
    pub private: bool,
}

impl Sources<'_> {
    /// The secret's first line and where it came from.
    pub fn read(&self) -> Result<Option<(Secret, String)>, SecretError> {
        let named = std::env::var_os(format!("{}_FILE", self.variable)).map(PathBuf::from);
        if let Some(path) = self.file.map(Path::to_path_buf).or(named) {
            let text = read_file(self.what, &path, self.private)?;
            return Ok(Some((text, path.display().to_string())));
        }
        let mounted = Path::new("/run/secrets").join(self.variable.to_ascii_lowercase());
        if mounted.is_file() {
            let text = read_file(self.what, &mounted, false)?;
            return Ok(Some((text, mounted.display().to_string())));
        }
        match std::env::var(self.variable) {
            Ok(text) if !text.is_empty() => Ok(Some((Secret::new(text), format!("${}", self.variable)))),
            _ => Ok(None),
        }
    }
}

/// Reads a secret file: one line, surrounding white space dropped.
pub fn read_file(what: &'static str, path: &Path, private: bool) -> Result<Secret, SecretError> {
    let fail = |source| SecretError::Read { what, path: path.to_path_buf(), source };
    let mode = std::fs::metadata(path).map_err(fail)?.permissions().mode() & 0o7777;
    if private && mode & 0o077 != 0 {
        return Err(SecretError::Mode { what, path: path.to_path_buf(), mode });
    }
    let mut text = std::fs::read_to_string(path).map_err(fail)?;
    let secret = Secret::new(text.trim().to_owned());
    text.zeroize();
    Ok(secret)
}

/// `--key-file`.
pub fn master_key(what: &'static str, secret: &Secret, origin: &str) -> Result<MasterKey, SecretError> {
    MasterKey::from_base64(secret.expose()).map_err(|source| SecretError::NotAKey {
        what,
        origin: origin.to_owned(),
        source,
    })
}

/// `--root-token-file`.
pub fn check_root_token(what: &'static str, secret: &Secret, origin: &str) -> Result<(), SecretError> {
    let text = secret.expose();
    // It travels in a header, so it must be printable; 32 characters is what makes guessing hopeless.
    if text.len() < 32 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SecretError::ShortToken { what, origin: origin.to_owned() });
    }
    Ok(())
}

/// `ringfence keygen FILE`.
pub fn keygen(path: &Path) -> Result<(), SecretError> {
    let what = "key file";
    let line = ringfence_cipher::key::generate();
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(SecretError::Exists { what, path: path.to_path_buf() });
        }
        Err(source) => return Err(SecretError::Write { what, path: path.to_path_buf(), source }),
    };
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| SecretError::Write {
        what,
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keygen_makes_a_private_key_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        keygen(&path).unwrap();
        let secret = read_file("key file", &path, true).unwrap();
        master_key("key file", &secret, "x").unwrap();
        assert!(matches!(keygen(&path), Err(SecretError::Exists { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_file("key file", &path, true), Err(SecretError::Mode { mode: 0o640, .. })));
    }

    #[test]
    fn weak_secrets_are_refused() {
        assert!(master_key("k", &Secret::new("c2hvcnQ=".into()), "x").is_err());
        assert!(check_root_token("t", &Secret::new("a".repeat(31)), "x").is_err());
        assert!(check_root_token("t", &Secret::new("a".repeat(32)), "x").is_ok());
    }
}
