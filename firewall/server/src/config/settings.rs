//! Settings as written: flags, then variables, then the config file. One declaration serves all three, so their names
//! cannot drift apart.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Deserialize;

use super::ConfigError;
use super::duration::Span;
use super::secret::Sources;

/// Everything that `serve` can be told. `None`: not said.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Address for Postgres clients [default: 127.0.0.1:6432]
    #[arg(long, env = "RINGFENCE_LISTEN", value_name = "HOST:PORT", help_heading = "Clients")]
    pub listen: Option<String>,
    /// Address that connection strings name, where it is not the listen address (a balancer, say)
    #[arg(long, env = "RINGFENCE_ADVERTISE", value_name = "HOST:PORT", help_heading = "Clients")]
    pub advertise: Option<String>,
    /// Certificate chain for clients (PEM)
    #[arg(long, env = "RINGFENCE_TLS_CERT", value_name = "FILE", help_heading = "Clients")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, env = "RINGFENCE_TLS_KEY", value_name = "FILE", help_heading = "Clients")]
    pub tls_key: Option<PathBuf>,
    /// Ask clients for a certificate of one of these authorities (PEM)
    #[arg(long, env = "RINGFENCE_TLS_CLIENT_CA", value_name = "FILE", help_heading = "Clients")]
    pub tls_client_ca: Option<PathBuf>,
    /// Use ca.crt, server.crt and server.key of this directory; makes them if it is empty
    #[arg(long, env = "RINGFENCE_TLS_SELF_SIGNED", value_name = "DIR", help_heading = "Clients")]
    pub tls_self_signed: Option<PathBuf>,
    /// Also admit clients without TLS (SCRAM only)
    #[arg(long, env = "RINGFENCE_ALLOW_PLAINTEXT", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), help_heading = "Clients")]
    pub allow_plaintext: Option<bool>,
    /// How clients prove their token: scram, or cleartext (over TLS only) [default: scram]
    #[arg(long, env = "RINGFENCE_AUTH", value_name = "METHOD", help_heading = "Clients")]
    pub auth: Option<String>,
    /// Connections at once, beyond which logins are refused [default: 10000]
    #[arg(long, env = "RINGFENCE_MAX_CONNECTIONS", value_name = "N", help_heading = "Clients")]
    pub max_connections: Option<usize>,
    /// From accept to the end of authentication [default: 20s]
    #[arg(long, env = "RINGFENCE_LOGIN_TIMEOUT", value_name = "TIME", help_heading = "Clients")]
    pub login_timeout: Option<Span>,
    /// How long busy sessions may go on after SIGTERM [default: 30s]
    #[arg(long, env = "RINGFENCE_DRAIN_TIMEOUT", value_name = "TIME", help_heading = "Clients")]
    pub drain_timeout: Option<Span>,

    /// The server behind, and the default login: postgresql://USER:PASSWORD@HOST:PORT/?sslmode=…
    /// [env: RINGFENCE_UPSTREAM, RINGFENCE_UPSTREAM_FILE]
    #[arg(long, value_name = "URL", help_heading = "Servers")]
    pub upstream: Option<String>,
    /// Password of the upstream login, if not in the URL
    #[arg(long, env = "RINGFENCE_UPSTREAM_PASSWORD_FILE", value_name = "FILE", help_heading = "Servers")]
    pub upstream_password_file: Option<PathBuf>,
    /// Where the control schema lives [default: the upstream login, database postgres]
    /// [env: RINGFENCE_CONTROL, RINGFENCE_CONTROL_FILE]
    #[arg(long, value_name = "URL", help_heading = "Servers")]
    pub control: Option<String>,
    /// Password of the control login, if not in the URL
    #[arg(long, env = "RINGFENCE_CONTROL_PASSWORD_FILE", value_name = "FILE", help_heading = "Servers")]
    pub control_password_file: Option<PathBuf>,
    /// How long known tokens work while the control database is away [default: 15m]
    #[arg(long, env = "RINGFENCE_CONTROL_GRACE", value_name = "TIME", help_heading = "Servers")]
    pub control_grace: Option<Span>,
    /// How long statements that reach labels are decided without news from the control database [default: 30s]
    #[arg(long, env = "RINGFENCE_CONTROL_FRESHNESS", value_name = "TIME", help_heading = "Servers")]
    pub control_freshness: Option<Span>,
    /// Accept an upstream login that is superuser or can reach the control schema (tests and demonstrations)
    #[arg(long, env = "RINGFENCE_UNSAFE_SUPERUSER_UPSTREAM", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), help_heading = "Servers")]
    pub unsafe_superuser_upstream: Option<bool>,
    /// How often catalogs are looked at for changes made elsewhere [default: 1s]
    #[arg(long, env = "RINGFENCE_CATALOG_POLL", value_name = "TIME", help_heading = "Servers")]
    pub catalog_poll: Option<Span>,

    /// Labels, columns, roles and clients [default: classification.yaml]
    #[arg(long, env = "RINGFENCE_CLASSIFICATION", value_name = "FILE", help_heading = "Policy")]
    pub classification: Option<PathBuf>,
    /// 32 bytes in base64, mode 0600 (see: ringfence keygen)
    #[arg(long, env = "RINGFENCE_KEY_FILE", value_name = "FILE", help_heading = "Policy")]
    pub key_file: Option<PathBuf>,
    /// Memory for analysed statements, in MiB [default: 64]
    #[arg(long, env = "RINGFENCE_PLAN_CACHE_MIB", value_name = "N", help_heading = "Policy")]
    pub plan_cache_mib: Option<usize>,

    /// Address of the admin API, /metrics and /readyz [default: 127.0.0.1:6433]
    #[arg(long, env = "RINGFENCE_ADMIN_LISTEN", value_name = "HOST:PORT", help_heading = "Operation")]
    pub admin_listen: Option<String>,
    /// Certificate of the admin address; needed beyond loopback
    #[arg(long, env = "RINGFENCE_ADMIN_TLS_CERT", value_name = "FILE", help_heading = "Operation")]
    pub admin_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, env = "RINGFENCE_ADMIN_TLS_KEY", value_name = "FILE", help_heading = "Operation")]
    pub admin_tls_key: Option<PathBuf>,
    /// One line of at least 32 characters, mode 0600
    #[arg(long, env = "RINGFENCE_ROOT_TOKEN_FILE", value_name = "FILE", help_heading = "Operation")]
    pub root_token_file: Option<PathBuf>,
    /// Where audit lines go: a file, or - for standard output
    #[arg(long, env = "RINGFENCE_AUDIT", value_name = "FILE|-", help_heading = "Operation")]
    pub audit: Option<PathBuf>,
    /// human or json [default: human]
    #[arg(long, env = "RINGFENCE_LOG_FORMAT", value_name = "FORMAT", help_heading = "Operation")]
    pub log_format: Option<String>,
    /// error, warn, info, debug, or per module (ringfence_server::catalog=debug) [default: info]
    #[arg(long, env = "RINGFENCE_LOG_LEVEL", value_name = "FILTER", help_heading = "Operation")]
    pub log_level: Option<String>,
    /// Threads that serve connections [default: one per processor]
    #[arg(long, env = "RINGFENCE_THREADS", value_name = "N", help_heading = "Operation")]
    pub threads: Option<usize>,
}

impl Settings {
    /// Reads the config file: keys are flag names, paths are relative to the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_path_buf(), source })?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut settings: Self = serde_saphyr::from_str(&text).map_err(|e| syntax(path, &e))?;
        let base = path.parent().unwrap_or(Path::new(""));
        for file in settings.paths() {
            if let Some(file) = file
                && file.as_os_str() != "-"
            {
                *file = base.join(&*file);
            }
        }
        Ok(settings)
    }

    /// Takes `--upstream` and `--control` from the environment where no flag gave them. (They hold passwords, so clap,
    /// which prints values in its help, is not told of them.)
    pub fn with_environment(mut self) -> Result<Self, ConfigError> {
        for (slot, variable, what) in [
            (&mut self.upstream, "RINGFENCE_UPSTREAM", "upstream URL"),
            (&mut self.control, "RINGFENCE_CONTROL", "control URL"),
        ] {
            if slot.is_none() {
                let found = Sources { what, variable, file: None, private: true }.read()?;
                *slot = found.map(|(secret, _)| secret.expose().to_owned());
            }
        }
        Ok(self)
    }

    fn paths(&mut self) -> [&mut Option<PathBuf>; 12] {
        [
            &mut self.tls_cert,
            &mut self.tls_key,
            &mut self.tls_client_ca,
            &mut self.tls_self_signed,
            &mut self.upstream_password_file,
            &mut self.control_password_file,
            &mut self.classification,
            &mut self.key_file,
            &mut self.admin_tls_cert,
            &mut self.admin_tls_key,
            &mut self.root_token_file,
            &mut self.audit,
        ]
    }

    /// `self` where it says something, `other` elsewhere.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            advertise: self.advertise.or(other.advertise),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_client_ca: self.tls_client_ca.or(other.tls_client_ca),
            tls_self_signed: self.tls_self_signed.or(other.tls_self_signed),
            allow_plaintext: self.allow_plaintext.or(other.allow_plaintext),
            auth: self.auth.or(other.auth),
            max_connections: self.max_connections.or(other.max_connections),
            login_timeout: self.login_timeout.or(other.login_timeout),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            upstream: self.upstream.or(other.upstream),
            upstream_password_file: self.upstream_password_file.or(other.upstream_password_file),
            control: self.control.or(other.control),
            control_password_file: self.control_password_file.or(other.control_password_file),
            control_grace: self.control_grace.or(other.control_grace),
            control_freshness: self.control_freshness.or(other.control_freshness),
            unsafe_superuser_upstream: self.unsafe_superuser_upstream.or(other.unsafe_superuser_upstream),
            catalog_poll: self.catalog_poll.or(other.catalog_poll),
            classification: self.classification.or(other.classification),
            key_file: self.key_file.or(other.key_file),
            plan_cache_mib: self.plan_cache_mib.or(other.plan_cache_mib),
            admin_listen: self.admin_listen.or(other.admin_listen),
            admin_tls_cert: self.admin_tls_cert.or(other.admin_tls_cert),
            admin_tls_key: self.admin_tls_key.or(other.admin_tls_key),
            root_token_file: self.root_token_file.or(other.root_token_file),
            audit: self.audit.or(other.audit),
            log_format: self.log_format.or(other.log_format),
            log_level: self.log_level.or(other.log_level),
            threads: self.threads.or(other.threads),
        }
    }
}

fn syntax(path: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let location = error.location();
    ConfigError::Syntax {
        path: path.to_path_buf(),
        line: location.map_or(0, |l| l.line()),
        column: location.map_or(0, |l| l.column()),
        message: first_line(&error.without_snippet().to_string()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ringfence.yaml");
        std::fs::write(&path, text).unwrap();
        Settings::read(&path)
    }

    #[test]
    fn keys_are_flag_names() {
        let settings =
            read("listen: 127.0.0.1:7000\nallow-plaintext: true\ncontrol-grace: 5m\naudit: '-'\nkey-file: k\n")
                .unwrap();
        assert_eq!(settings.listen.as_deref(), Some("127.0.0.1:7000"));
        assert_eq!(settings.allow_plaintext, Some(true));
        assert_eq!(settings.control_grace.unwrap().to_string(), "5m");
        assert_eq!(settings.audit.as_deref(), Some(Path::new("-")));
        assert!(settings.key_file.unwrap().is_absolute());
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, at) in [
            ("listen: a\nlisten: b\n", (2, 1)),
            ("listen: a\nno-such-key: 1\n", (2, 1)),
            ("listen: a\ncontrol-grace: soon\n", (2, 16)),
        ] {
            let ConfigError::Syntax { line, column, message, .. } = read(text).unwrap_err() else {
                unreachable!("{text}");
            };
            assert_eq!((line, column), at, "{text}: {message}");
        }
    }

    #[test]
    fn flags_beat_the_file() {
        let flags = Settings { listen: Some("a".into()), ..Settings::default() };
        let file = Settings { listen: Some("b".into()), auth: Some("scram".into()), ..Settings::default() };
        let both = flags.or(file);
        assert_eq!((both.listen.as_deref(), both.auth.as_deref()), (Some("a"), Some("scram")));
    }
}
