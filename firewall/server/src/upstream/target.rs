//! Which server, how to log in by default, how to check that it is the right one.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::tls::TlsError;
use crate::tls::upstream::{SslMode, UpstreamFiles, config};

/// A server, and the default login.
#[derive(Clone)]
pub struct Target {
    /// A name, an address, or the directory of a Unix socket (begins with `/`).
    pub host: String,
    pub port: u16,
    pub user: Arc<str>,
    pub password: Option<Arc<Zeroizing<String>>>,
    pub mode: SslMode,
    /// `None` with `sslmode=disable` and on Unix sockets. Also fits `tokio_postgres_rustls::MakeRustlsConnect`.
    pub tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Loads the files that the mode needs.
    pub fn new(
        host: String,
        port: u16,
        user: Arc<str>,
        password: Option<Arc<Zeroizing<String>>>,
        mode: SslMode,
        files: &UpstreamFiles,
    ) -> Result<Self, TlsError> {
        let tls = if host.starts_with('/') { None } else { config(mode, files)? };
        Ok(Self { host, port, user, password, mode, tls })
    }
}
