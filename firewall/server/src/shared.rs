//! What every connection needs, and the contract between the two halves of the server: connections ask through the
//! traits below; the control store, the catalog loader, the audit log and the metrics answer.
//!
//! Nothing here is asked per message. Per read of a socket: one load of [`Shared::generation`]. Per statement:
//! [`AuditSink::record`].

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringfence_cipher::Presenter;
use ringfence_policy::{Budgets, ClientPolicy};
use zeroize::Zeroizing;

use crate::auth::limiter::Limiter;
use crate::cancel::CancelKeys;
use crate::sessions::Sessions;
use crate::tls::ServerTls;
use crate::upstream::Target;
use ringfence_engine::{Event, Limits, PlanCache, World};

/// A future behind a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One per process, behind an `Arc`.
pub struct Shared {
    pub net: NetConfig,
    pub verifiers: Box<dyn Verifiers>,
    pub worlds: Box<dyn Worlds>,
    pub audit: Box<dyn AuditSink>,
    pub metrics: Box<dyn ConnectionMetrics>,
    /// Every connection past authentication: revocation, counts, drain.
    pub sessions: Sessions,
    pub presenter: Arc<Presenter>,
    pub plans: Arc<PlanCache>,
    pub limits: Limits,
    /// What clients have spent of their hourly limits.
    pub budgets: Budgets,
    /// False while audit lines cannot be written; the engine then refuses what must not go unrecorded.
    pub audit_healthy: Arc<AtomicBool>,
    /// False while the control tables have not been read for `--control-freshness`.
    pub control_fresh: Arc<AtomicBool>,
    /// Raised after every change of policy or catalog (see [`Shared::changed`]); connections that see a new number ask
    /// [`Worlds::current`] before they go on.
    pub generation: AtomicU64,
    /// Failed logins per address and client.
    pub limiter: Limiter,
    pub cancel_keys: CancelKeys,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("net", &self.net).finish_non_exhaustive()
    }
}

impl Shared {
    /// Call after a new policy or catalog is in place (not before): wakes every connection to take it over.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.sessions.wake_all();
    }
}

/// What the network half needs from the configuration.
#[derive(Debug)]
pub struct NetConfig {
    /// The client port (`--listen`).
    pub listen: SocketAddr,
    /// `--tls-cert/--tls-key` or `--tls-self-signed`; reloadable in place (`ServerTls::reload`).
    pub tls: Option<ServerTls>,
    /// `--allow-plaintext`: SCRAM without TLS is admitted.
    pub allow_plaintext: bool,
    /// `auth: scram|cleartext`.
    pub auth: AuthMethod,
    /// `--upstream`: address, TLS and default login.
    pub upstream: Arc<Target>,
    /// Connections past authentication; beyond it FATAL 53300.
    pub max_connections: usize,
    /// Connections that have not yet authenticated, at once.
    pub max_pending: usize,
    /// From accept to the end of authentication. A sane value is 20 s.
    pub startup_timeout: Duration,
    /// TCP connect, TLS and login upstream.
    pub connect_timeout: Duration,
    /// Busy sessions are given this long when the server drains.
    pub drain_grace: Duration,
    /// 32 random bytes, fixed for the process at least (better for the installation): salts of clients that do not
    /// exist are derived from it, so that they look like those of clients that do.
    pub mock_secret: Zeroizing<[u8; 32]>,
}

/// How clients prove themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// SCRAM-SHA-256 and, over TLS, SCRAM-SHA-256-PLUS.
    Scram,
    /// The token itself, over TLS only. With it any live token of a client works under its plain name.
    Cleartext,
}

/// One issued token, as the control schema keeps it.
#[derive(Clone)]
pub struct Verifier {
    /// The client's name in the classification.
    pub client: Arc<str>,
    /// The token's id, 8 characters.
    pub kid: Arc<str>,
    pub salt: Arc<[u8]>,
    pub iterations: u32,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("client", &self.client).field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Live tokens (not expired, not revoked, client known to the classification), from memory: never waits.
pub trait Verifiers: Send + Sync {
    /// The one verifier for SCRAM. `NAME~KID`: that token; `NAME`: the oldest live token.
    fn lookup(&self, login: &str) -> Option<Verifier>;
    /// For cleartext: every live token that the login may mean (`NAME~KID`: at most one).
    fn candidates(&self, login: &str) -> Vec<Verifier>;
    /// False while nothing can be said of any token (the control database has been away for too long).
    fn serving(&self) -> bool {
        true
    }
    /// When the token stops being valid (checked by the connection about once a minute); `None` if it is dead already.
    fn valid_until(&self, kid: &str) -> Option<std::time::SystemTime>;
}

/// Database and client as they stand now; both from the same version of the policy, so that label numbers agree.
#[derive(Debug, Clone)]
pub struct View {
    pub world: Arc<World>,
    pub client: Arc<ClientPolicy>,
}

/// Policy and catalogs.
pub trait Worlds: Send + Sync {
    /// The client's place upstream; `None` if the classification does not know it (any more).
    fn login(&self, client: &str) -> Option<ClientLogin>;
    /// Loads the database's catalog if it is not in memory.
    fn open<'a>(&'a self, database: &'a str, client: &'a str) -> Boxed<'a, Result<View, Problem>>;
    /// The newest in memory, without waiting. `None`: the client is gone, or the database was never opened.
    fn current(&self, database: &str, client: &str) -> Option<View>;
    /// Reads the catalog again (joining a refresh that is under way only if it began after this call).
    fn refresh<'a>(&'a self, database: &'a str, client: &'a str) -> Boxed<'a, Result<View, Problem>>;
}

/// How a client logs in upstream.
#[derive(Debug, Clone, Default)]
pub struct ClientLogin {
    /// `upstream:` of the client; `None` is the server's default login.
    pub own: Option<UpstreamLogin>,
    /// `max_connections:` of the client.
    pub max_connections: Option<u32>,
    /// `statement_timeout:` of the client: what its sessions begin with.
    pub statement_timeout: Option<Duration>,
    /// Some label is not plain: settings that the analysis depends on may not be given at startup.
    pub restricted: bool,
}

/// A name and a password for the upstream server.
#[derive(Clone)]
pub struct UpstreamLogin {
    pub user: Arc<str>,
    pub password: Option<Arc<Zeroizing<String>>>,
}

impl fmt::Debug for UpstreamLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

/// An error for the client: SQLSTATE, message and hint, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub sqlstate: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Who is behind a statement: the part of an audit line that does not change during a connection.
#[derive(Debug)]
pub struct ConnectionContext {
    /// Counts up from 1 in this process.
    pub id: u32,
    pub client: Arc<str>,
    pub kid: Arc<str>,
    pub address: SocketAddr,
    pub database: Arc<str>,
    pub upstream_login: Arc<str>,
    /// The server process that serves this connection. Set once, when it is known.
    pub upstream_pid: AtomicI32,
    pub application_name: Box<str>,
    pub tls: bool,
    /// The part of its audit lines that never changes; the audit log makes it.
    pub audit_prefix: OnceLock<Box<str>>,
}

impl ConnectionContext {
    /// The pid of the server process that serves this connection; 0 until it is known.
    pub fn upstream_pid(&self) -> i32 {
        self.upstream_pid.load(Ordering::Relaxed)
    }
}

/// Takes the audit lines.
pub trait AuditSink: Send + Sync {
    /// Called from the relay: must not block on I/O for long (hand over to a writer). `now` is the time of the turn.
    fn record(&self, context: &ConnectionContext, now: Instant, event: &Event);
    /// A login that failed (`reason` is a closed set of words) or a connection that began or ended.
    fn connection(&self, event: ConnectionEvent<'_>);
}

/// Facts about connections worth a line.
#[derive(Debug)]
pub enum ConnectionEvent<'a> {
    Opened(&'a ConnectionContext),
    Closed { context: &'a ConnectionContext, reason: CloseReason },
    LoginFailed { login: &'a str, address: SocketAddr, reason: LoginFailure },
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Terminate, or the client closed its socket.
    Client,
    /// The upstream closed, or died.
    Upstream,
    /// Its token was revoked or expired, or the client left the classification.
    Revoked,
    Shutdown,
    /// The peer broke the protocol.
    Protocol,
}

/// Why a login was refused; never shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFailure {
    /// Unknown client, wrong, expired or revoked token.
    Credentials,
    RateLimited,
    PlaintextRefused,
    TooManyConnections,
    Protocol,
    Upstream,
    /// No token can be checked now.
    Unavailable,
}

impl CloseReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
            Self::Protocol => "protocol",
        }
    }
}

impl LoginFailure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::RateLimited => "rate_limited",
            Self::PlaintextRefused => "plaintext_refused",
            Self::TooManyConnections => "too_many_connections",
            Self::Protocol => "protocol",
            Self::Upstream => "upstream",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counters and gauges of the network half.
pub trait ConnectionMetrics: Send + Sync {
    fn accepted(&self);
    fn login_failed(&self, reason: LoginFailure);
    fn opened(&self);
    fn closed(&self, reason: CloseReason);
    /// Bytes relayed, reported when a connection ends and about every 10 s while it is busy.
    fn relayed(&self, to_client: u64, to_server: u64);
    fn cancel(&self, known: bool);
    /// Values that became NULL because they could not be presented, and labelled columns that the server named and
    /// the analysis had not seen; reported with the bytes.
    fn surprises(&self, unpresentable: u64, disagreements: u64) {
        let _ = (unpresentable, disagreements);
    }
}

/// Files of the client port's certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Asks clients for certificates signed by these authorities.
    pub client_ca: Option<PathBuf>,
}
