//! Configuration, twice: [`Settings`] is what was written, [`Config`] is what it means.

pub mod duration;
pub mod secret;
pub mod settings;
pub mod url;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_cipher::MasterKey;
use secret::{Secret, SecretError, Sources};
pub use settings::Settings;
use url::{PgUrl, UrlError};

/// What the server runs with; every path exists as far as could be told, every secret has been read.
#[derive(Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// What connection strings name.
    pub advertise: (String, u16),
    pub tls: ClientTls,
    pub tls_client_ca: Option<PathBuf>,
    pub allow_plaintext: bool,
    pub cleartext: bool,
    pub max_connections: usize,
    pub login_timeout: Duration,
    pub drain_timeout: Duration,
    pub upstream: PgUrl,
    pub control: PgUrl,
    pub control_grace: Duration,
    pub control_freshness: Duration,
    pub unsafe_superuser_upstream: bool,
    pub catalog_poll: Duration,
    pub classification: PathBuf,
    pub key: MasterKey,
    pub plan_cache_bytes: usize,
    pub admin_listen: SocketAddr,
    /// Certificate and key of the admin address.
    pub admin_tls: Option<(PathBuf, PathBuf)>,
    pub root_token: Secret,
    pub audit: AuditTarget,
    pub threads: Option<usize>,
}

/// Where the client port's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientTls {
    Files {
        cert: PathBuf,
        key: PathBuf,
    },
    SelfSigned(PathBuf),
    /// Only with `--allow-plaintext`.
    None,
}

/// Where audit lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    File(PathBuf),
    Stdout,
    None,
}

impl std::fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("-"),
            Self::None => f.write_str("none"),
        }
    }
}

/// A mistake in the configuration: what, and what to do. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the config file {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}:{column}: error: {message}", path.display())]
    Syntax { path: PathBuf, line: u64, column: u64, message: String },
    #[error("{0} is missing; {1}")]
    Missing(&'static str, &'static str),
    #[error("--{0} {1}")]
    Url(&'static str, UrlError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("--{flag} \"{value}\" is not an address; write HOST:PORT, as in 127.0.0.1:6432")]
    Address { flag: &'static str, value: String },
    #[error("--{flag} {}: {source}", path.display())]
    Unreadable { flag: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Conflict(&'static str),
    #[error("--{flag} \"{value}\" is not known; use {known}")]
    Choice { flag: &'static str, value: String, known: &'static str },
}

impl Config {
    /// Validates settings and reads the secrets they name.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let listen = address("listen", settings.listen.as_deref().unwrap_or("127.0.0.1:6432"))?;
        let advertise = advertise(settings.advertise.as_deref(), settings.listen.as_deref(), listen)?;
        let allow_plaintext = settings.allow_plaintext.unwrap_or(false);
        let tls = client_tls(&settings, allow_plaintext)?;
        let tls_client_ca = existing("tls-client-ca", settings.tls_client_ca.clone())?;
        if tls_client_ca.is_some() && tls == ClientTls::None {
            return Err(ConfigError::Conflict("--tls-client-ca needs --tls-cert and --tls-key, or --tls-self-signed"));
        }
        let cleartext = match settings.auth.as_deref() {
            None | Some("scram") => false,
            Some("cleartext") => true,
            Some(other) => {
                return Err(ConfigError::Choice { flag: "auth", value: other.to_owned(), known: "scram or cleartext" });
            }
        };
        if cleartext && tls == ClientTls::None {
            return Err(ConfigError::Conflict("--auth cleartext needs TLS: tokens never travel in the clear"));
        }
        let upstream = upstream_url(&settings)?;
        let control = control_url(&settings, &upstream)?;
        let classification = settings.classification.clone().unwrap_or_else(|| PathBuf::from("classification.yaml"));
        let key = key(settings.key_file.as_deref())?;
        let admin_listen = address("admin-listen", settings.admin_listen.as_deref().unwrap_or("127.0.0.1:6433"))?;
        let admin_tls = match (
            existing("admin-tls-cert", settings.admin_tls_cert)?,
            existing("admin-tls-key", settings.admin_tls_key)?,
        ) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) if admin_listen.ip().is_loopback() => None,
            (None, None) => {
                return Err(ConfigError::Conflict(
                    "--admin-listen beyond loopback needs --admin-tls-cert and --admin-tls-key: the root token travels over it",
                ));
            }
            _ => return Err(ConfigError::Conflict("--admin-tls-cert and --admin-tls-key go together")),
        };
        Ok(Self {
            listen,
            advertise,
            tls,
            tls_client_ca,
            allow_plaintext,
            cleartext,
            max_connections: settings.max_connections.unwrap_or(10_000),
            login_timeout: settings.login_timeout.map_or(Duration::from_secs(20), |s| s.0),
            drain_timeout: settings.drain_timeout.map_or(Duration::from_secs(30), |s| s.0),
            upstream,
            control,
            // The tables are looked at every second.
            control_freshness: settings
                .control_freshness
                .map_or(Duration::from_secs(30), |s| s.0.max(Duration::from_secs(2))),
            control_grace: settings.control_grace.map_or(Duration::from_secs(900), |s| s.0),
            unsafe_superuser_upstream: settings.unsafe_superuser_upstream.unwrap_or(false),
            catalog_poll: settings.catalog_poll.map_or(Duration::from_secs(1), |s| s.0.max(Duration::from_millis(50))),
            classification,
            key,
            plan_cache_bytes: settings.plan_cache_mib.unwrap_or(64).saturating_mul(1 << 20),
            admin_listen,
            admin_tls,
            root_token: root_token(settings.root_token_file.as_deref())?,
            audit: match settings.audit {
                None => AuditTarget::None,
                Some(path) if path.as_os_str() == "-" => AuditTarget::Stdout,
                Some(path) => AuditTarget::File(path),
            },
            threads: settings.threads.filter(|&n| n > 0),
        })
    }
}

fn address(flag: &'static str, value: &str) -> Result<SocketAddr, ConfigError> {
    value
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| ConfigError::Address { flag, value: value.to_owned() })
}

/// What connection strings name: `--advertise`, else the listen address as written (a name stays a name).
fn advertise(said: Option<&str>, listen_text: Option<&str>, listen: SocketAddr) -> Result<(String, u16), ConfigError> {
    let split = |text: &str| -> Option<(String, u16)> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Some((host.to_owned(), port.parse().ok()?)))?
    };
    if let Some(text) = said {
        return split(text).ok_or_else(|| ConfigError::Address { flag: "advertise", value: text.to_owned() });
    }
    if listen.ip().is_unspecified() {
        return Ok((String::from("localhost"), listen.port()));
    }
    Ok(listen_text.and_then(split).unwrap_or_else(|| (listen.ip().to_string(), listen.port())))
}

fn client_tls(settings: &Settings, allow_plaintext: bool) -> Result<ClientTls, ConfigError> {
    match (&settings.tls_cert, &settings.tls_key, &settings.tls_self_signed) {
        (Some(cert), Some(key), None) => {
            Ok(ClientTls::Files { cert: readable("tls-cert", cert)?, key: readable("tls-key", key)? })
        }
        (None, None, Some(dir)) => Ok(ClientTls::SelfSigned(dir.clone())),
        (None, None, None) if allow_plaintext => Ok(ClientTls::None),
        (None, None, None) => Err(ConfigError::Missing(
            "a certificate for clients",
            "give --tls-cert and --tls-key, or --tls-self-signed DIR, or (on loopback) --allow-plaintext",
        )),
        (_, _, Some(_)) => Err(ConfigError::Conflict("--tls-self-signed excludes --tls-cert and --tls-key")),
        _ => Err(ConfigError::Conflict("--tls-cert and --tls-key go together")),
    }
}

fn readable(flag: &'static str, path: &Path) -> Result<PathBuf, ConfigError> {
    std::fs::File::open(path).map(|_| path.to_path_buf()).map_err(|source| ConfigError::Unreadable {
        flag,
        path: path.to_path_buf(),
        source,
    })
}

fn existing(flag: &'static str, path: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    path.map(|p| readable(flag, &p)).transpose()
}

/// `--upstream`, for `serve` and `check`.
pub fn upstream_url(settings: &Settings) -> Result<PgUrl, ConfigError> {
    let text = settings.upstream.as_deref().ok_or(ConfigError::Missing(
        "--upstream",
        "write --upstream postgresql://USER:PASSWORD@HOST:PORT/ (or set RINGFENCE_UPSTREAM_FILE)",
    ))?;
    let mut url = PgUrl::parse(text).map_err(|e| ConfigError::Url("upstream", e))?;
    let password = Sources {
        what: "upstream password",
        variable: "RINGFENCE_UPSTREAM_PASSWORD",
        file: settings.upstream_password_file.as_deref(),
        private: true,
    };
    if let Some((secret, _)) = password.read()? {
        url.password = Some(secret);
    }
    Ok(url)
}

fn control_url(settings: &Settings, upstream: &PgUrl) -> Result<PgUrl, ConfigError> {
    let mut url = match settings.control.as_deref() {
        Some(text) => PgUrl::parse(text).map_err(|e| ConfigError::Url("control", e))?,
        None => upstream.with_database("postgres"),
    };
    if url.database.is_none() {
        url.database = Some(String::from("postgres"));
    }
    let password = Sources {
        what: "control password",
        variable: "RINGFENCE_CONTROL_PASSWORD",
        file: settings.control_password_file.as_deref(),
        private: true,
    };
    if let Some((secret, _)) = password.read()? {
        url.password = Some(secret);
    }
    Ok(url)
}

fn key(file: Option<&Path>) -> Result<MasterKey, ConfigError> {
    let what = "--key-file";
    let (secret, origin) = Sources { what, variable: "RINGFENCE_KEY", file, private: true }
        .read()?
        .ok_or(ConfigError::Missing("--key-file", "make a key with: ringfence keygen FILE"))?;
    Ok(secret::master_key(what, &secret, &origin)?)
}

fn root_token(file: Option<&Path>) -> Result<Secret, ConfigError> {
    let what = "--root-token-file";
    let (secret, origin) =
        Sources { what, variable: "RINGFENCE_ROOT_TOKEN", file, private: true }.read()?.ok_or(ConfigError::Missing(
            "--root-token-file",
            "make one with: head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE",
        ))?;
    secret::check_root_token(what, &secret, &origin)?;
    Ok(secret)
}
