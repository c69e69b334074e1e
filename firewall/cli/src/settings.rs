//! rfctl's own settings: flags, variables, then `~/.config/rfctl/{config.yaml,token}`. Files must be private.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::args::{Connection, Key};

/// What a command needs to reach the server.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) database: Option<String>,
    token: Result<Zeroizing<String>, Missing>,
    pub(crate) token_from: String,
}

#[derive(Debug, Clone, Copy)]
struct Missing;

/// `config.yaml`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
}

/// A mistake in the settings. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} may be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("{}: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("no root token; give --token-file FILE, set RFCTL_TOKEN, or keep one with: rfctl config set token < FILE")]
    NoToken,
    #[error("no home directory; set HOME or XDG_CONFIG_HOME")]
    NoHome,
    #[error("{0}")]
    Usage(&'static str),
}

impl Settings {
    pub(crate) fn load(flags: &Connection) -> Result<Self, SettingsError> {
        let dir = directory().ok();
        let stored = match &dir {
            Some(dir) => Stored::read(&dir.join("config.yaml"))?,
            None => Stored::default(),
        };
        let (token, token_from) = token(flags, dir.as_deref())?;
        Ok(Self {
            url: flags.url.clone().or(stored.url).unwrap_or_else(|| String::from("http://127.0.0.1:6433")),
            ca: flags.ca.clone().or(stored.ca),
            database: stored.database,
            token,
            token_from,
        })
    }

    pub(crate) fn token(&self) -> Result<&str, SettingsError> {
        self.token.as_ref().map(|t| t.as_str()).map_err(|Missing| SettingsError::NoToken)
    }
}

fn token(
    flags: &Connection,
    dir: Option<&Path>,
) -> Result<(Result<Zeroizing<String>, Missing>, String), SettingsError> {
    if let Some(token) = &flags.token {
        return Ok((Ok(Zeroizing::new(token.trim().to_owned())), String::from("--token")));
    }
    if let Some(path) = &flags.token_file {
        return Ok((Ok(read_private(path)?), path.display().to_string()));
    }
    // By hand, not by clap: any flag beats any variable.
    if let Some(token) = std::env::var("RFCTL_TOKEN").ok().filter(|t| !t.is_empty()) {
        return Ok((Ok(Zeroizing::new(token.trim().to_owned())), String::from("RFCTL_TOKEN")));
    }
    if let Some(path) = std::env::var_os("RFCTL_TOKEN_FILE").filter(|p| !p.is_empty()).map(PathBuf::from) {
        return Ok((Ok(read_private(&path)?), path.display().to_string()));
    }
    if let Some(path) = dir.map(|d| d.join("token"))
        && path.exists()
    {
        return Ok((Ok(read_private(&path)?), path.display().to_string()));
    }
    Ok((Err(Missing), String::from("nowhere")))
}

impl Stored {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = read_private(path)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text)
            .map_err(|e| SettingsError::Syntax { path: path.to_path_buf(), message: e.without_snippet().to_string() })
    }
}

/// `config set`: returns the file that was written.
pub(crate) fn set(key: Key, value: Option<String>) -> Result<PathBuf, SettingsError> {
    let dir = directory()?;
    let written = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SettingsError::Write { path, source }
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(written(&dir))?;
    if key == Key::Token {
        if value.is_some() {
            return Err(SettingsError::Usage("the token is read from standard input: rfctl config set token < FILE"));
        }
        let text =
            Zeroizing::new(std::io::read_to_string(std::io::stdin()).map_err(written(Path::new("standard input")))?);
        if text.trim().len() < 32 {
            return Err(SettingsError::Usage("a root token has at least 32 characters"));
        }
        let path = dir.join("token");
        write_private(&path, text.trim()).map_err(written(&path))?;
        return Ok(path);
    }
    let value = value.ok_or(SettingsError::Usage("what value? rfctl config set KEY VALUE"))?;
    let path = dir.join("config.yaml");
    let mut stored = Stored::read(&path)?;
    match key {
        Key::Url => stored.url = Some(value),
        Key::Ca => stored.ca = Some(PathBuf::from(value)),
        Key::Database => stored.database = Some(value),
        Key::Token => {}
    }
    let text = serde_saphyr::to_string(&stored)
        .map_err(|e| SettingsError::Syntax { path: path.clone(), message: e.to_string() })?;
    write_private(&path, &text).map_err(written(&path))?;
    Ok(path)
}

fn directory() -> Result<PathBuf, SettingsError> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|base| base.join("rfctl"))
        .ok_or(SettingsError::NoHome)
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let fail = |source| SettingsError::Read { path: path.to_path_buf(), source };
    let mode = std::fs::metadata(path).map_err(fail)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SettingsError::Mode { path: path.to_path_buf(), mode });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(fail)?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A new file beside it, then renamed: a crash leaves the old one whole.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn private_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write_private(&path, "secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path).unwrap().as_str(), "secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert!(matches!(read_private(&path), Err(SettingsError::Mode { mode: 0o604, .. })));
    }

    #[test]
    fn a_misspelled_key_has_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        write_private(&path, "urll: x").unwrap();
        let Err(SettingsError::Syntax { message, .. }) = Stored::read(&path) else { panic!() };
        assert!(message.contains("urll"), "{message}");
    }
}
