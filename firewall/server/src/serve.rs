//! `ringfence serve`: puts the parts together, runs them, and takes them down in order.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use ringfence_cipher::{ControlMac, Presenter, mock_login_secret};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin;
use crate::audit::Audit;
use crate::auth::limiter::Limiter;
use crate::cancel::CancelKeys;
use crate::config::url::PgUrl;
use crate::config::{ClientTls, Config};
use crate::listen::{self, Listener};
use crate::metrics::Metrics;
use crate::pg::{self, ConnectError};
use crate::policy_file::{LoadedPolicy, PolicyErrors};
use crate::reload::Reloader;
use crate::sessions::Sessions;
use crate::shared::{AuditSink, AuthMethod, ConnectionContext, ConnectionEvent, NetConfig, Shared, TlsFiles};
use crate::store::schema::Overreach;
use crate::store::{Listener as StoreListener, Store, StoreError};
use crate::tls::{self, ServerTls, TlsError};
use crate::upstream::Target;
use crate::worlds::Worlds;
use ringfence_engine::{Limits, PlanCache};

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Policy(#[from] PolicyErrors),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("upstream: {0}")]
    Upstream(#[from] ConnectError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error(
        "upstream login \"{login}\" {what}: a client could use that to get around the firewall. Give --upstream a login of its own (and --control another), or, for tests, --unsafe-superuser-upstream"
    )]
    Overreach { login: String, what: Overreach },
    #[error("--{flag} {address}: {source}")]
    Bind { flag: &'static str, address: String, source: std::io::Error },
    #[error("--audit {target}: {source}")]
    Audit { target: String, source: std::io::Error },
    #[error("{0}")]
    Upstreams(String),
    #[error("the runtime could not start: {0}")]
    Runtime(std::io::Error),
}

impl ServeError {
    /// 2 where the configuration is to blame, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Policy(_) | Self::Tls(_) | Self::Overreach { .. } | Self::Audit { .. } => 2,
            Self::Bind { source, .. } if source.kind() != std::io::ErrorKind::AddrInUse => 2,
            Self::Store(_) | Self::Upstream(_) | Self::Bind { .. } | Self::Upstreams(_) | Self::Runtime(_) => 1,
        }
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), ServeError> {
    // A core dump would hold keys.
    no_core_dumps();
    // Fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build().map_err(ServeError::Runtime)?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!("core dumps could not be switched off: {error}");
    }
}

async fn serve(config: Config) -> Result<(), ServeError> {
    let began = Instant::now();
    let mut signals = Signals::new().map_err(ServeError::Runtime)?;
    let policy = LoadedPolicy::load(&config.classification, 1)?;
    policy.log();
    let (server_tls, tls_files) = server_tls(&config)?;
    let target = target(&config.upstream)?;

    let mac = ControlMac::new(&config.key);
    let (opened, probed) = tokio::join!(
        Store::open(config.control.clone(), mac, config.control_grace),
        probe_upstream(&config.upstream, &config.control),
    );
    let (store, notes) = opened?;
    let upstream_superuser = probed?;
    refuse_overreach(&config, &store, &policy, upstream_superuser).await?;

    let metrics = Arc::new(Metrics::default());
    let worlds = Worlds::new(config.upstream.clone(), config.catalog_poll, policy, store.clone(), metrics.clone());
    if let Some(database) = &config.upstream.database {
        worlds.preload(database).await.map_err(|p| ServeError::Upstreams(format!("upstream: {}", p.message)))??;
    }
    let audit = Arc::new(
        Audit::open(&config.audit, metrics.clone(), Arc::new(worlds.clone()))
            .map_err(|source| ServeError::Audit { target: config.audit.to_string(), source })?,
    );
    let bind = |flag, address: std::net::SocketAddr| {
        move |source| ServeError::Bind { flag, address: address.to_string(), source }
    };
    let listener = Listener::bind(config.listen).map_err(bind("listen", config.listen))?;
    let address = listener.local_addr().map_err(bind("listen", config.listen))?;
    let admin_listener =
        tokio::net::TcpListener::bind(config.admin_listen).await.map_err(bind("admin-listen", config.admin_listen))?;

    let shared = Arc::new(Shared {
        net: NetConfig {
            listen: address,
            tls: server_tls,
            allow_plaintext: config.allow_plaintext,
            auth: if config.cleartext { AuthMethod::Cleartext } else { AuthMethod::Scram },
            upstream: Arc::new(target),
            max_connections: config.max_connections,
            max_pending: config.max_connections.clamp(64, 1024),
            startup_timeout: config.login_timeout,
            connect_timeout: config.upstream.connect_timeout,
            drain_grace: config.drain_timeout,
            mock_secret: mock_login_secret(&config.key),
        },
        verifiers: Box::new(store.clone()),
        worlds: Box::new(worlds.clone()),
        audit: Box::new(SharedAudit(audit.clone())),
        metrics: Box::new(SharedMetrics(metrics.clone())),
        sessions: Sessions::new(),
        presenter: Arc::new(Presenter::new(config.key)),
        plans: Arc::new(PlanCache::new(config.plan_cache_bytes as u64)),
        limits: Limits::default(),
        audit_healthy: audit.health_flag(),
        control_fresh: store.watch_freshness(config.control_freshness),
        generation: AtomicU64::new(0),
        limiter: Limiter::new(),
        cancel_keys: CancelKeys::new(),
        budgets: ringfence_policy::Budgets::new(),
    });
    worlds.announce_to(&shared);
    let hooks = Arc::new(Hooks { shared: shared.clone(), worlds: worlds.clone(), metrics: metrics.clone() });
    tokio::spawn(store.clone().run(notes, hooks));
    let reloader = Arc::new(Reloader::new(
        config.classification.clone(),
        tls_files,
        worlds.clone(),
        shared.clone(),
        store.clone(),
        metrics.clone(),
        config.upstream.user.clone(),
        config.unsafe_superuser_upstream,
    ));
    tokio::spawn(reloader.clone().watch());

    let advertise = if config.listen.port() == 0 { (config.advertise.0, address.port()) } else { config.advertise };
    let state = Arc::new(admin::State {
        root_token: config.root_token,
        store: store.clone(),
        worlds: worlds.clone(),
        shared: shared.clone(),
        metrics: metrics.clone(),
        audit: audit.clone(),
        reloader: reloader.clone(),
        guard: admin::guard::Guard::default(),
        ready: std::sync::atomic::AtomicBool::new(true),
        upstream_health: admin::health::Upstream::new(&config.upstream),
        facts: admin::Facts {
            listen: address,
            advertise,
            tls_required: shared.net.tls.is_some() && !config.allow_plaintext,
            tls: shared.net.tls.is_some(),
            upstream: config.upstream.to_string(),
            control: config.control.to_string(),
            control_grace: config.control_grace,
            control_freshness: config.control_freshness,
            classification: config.classification.clone(),
            admin_listen: admin_listener.local_addr().unwrap_or(config.admin_listen),
            admin_tls: config.admin_tls.is_some(),
            audit: config.audit.clone(),
            catalog_poll: config.catalog_poll,
            max_connections: config.max_connections,
            unsafe_superuser_upstream: config.unsafe_superuser_upstream,
        },
    });
    let admin_task = admin::spawn(admin_listener, config.admin_tls, state.clone())?;

    let stopper = listener.stopper();
    let accepting = tokio::spawn(listener.run(shared.clone()));
    tracing::info!(
        elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(0),
        "ringfence: ready on {address}"
    );

    while let Received::Hangup = signals.next().await {
        audit.reopen();
        // It logs what is wrong.
        let _ = reloader.reload("SIGHUP").await;
    }
    tracing::info!(connections = shared.sessions.len(), "stopping: sessions may end their transactions");
    state.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    stopper.stop();
    let _ = accepting.await;
    tokio::select! {
        () = listen::drain(&shared) => {}
        // Asked twice: at once.
        () = signals.stop_again() => shared.sessions.stop(),
    }
    admin_task.abort();
    let _ = tokio::task::spawn_blocking(move || audit.close()).await;
    tracing::info!("ringfence: stopped");
    Ok(())
}

fn server_tls(config: &Config) -> Result<(Option<ServerTls>, Option<TlsFiles>), ServeError> {
    let mut files = match &config.tls {
        ClientTls::None => return Ok((None, None)),
        ClientTls::Files { cert, key } => TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: None },
        ClientTls::SelfSigned(dir) => tls::self_signed::ensure(dir)?,
    };
    files.client_ca = config.tls_client_ca.clone();
    Ok((Some(ServerTls::load(files.clone())?), Some(files)))
}

fn target(url: &PgUrl) -> Result<Target, ServeError> {
    let password = url.password.as_ref().map(|p| Arc::new(zeroize::Zeroizing::new(p.expose().to_owned())));
    Ok(Target::new(url.host.clone(), url.port, Arc::from(url.user.as_str()), password, url.ssl_mode, &url.ssl_files)?)
}

/// Whether the upstream login works, and is superuser there. The control connection answers for the same server.
async fn probe_upstream(upstream: &PgUrl, control: &PgUrl) -> Result<bool, ConnectError> {
    if (&upstream.host, upstream.port, &upstream.user) == (&control.host, control.port, &control.user) {
        return Ok(false);
    }
    let database = upstream.database.as_deref().unwrap_or("postgres");
    let client = match pg::connect(upstream, database).await {
        Ok((client, _)) => client,
        // The login was accepted; which databases there are is the clients' affair.
        Err(ConnectError::Server { source, .. })
            if source.0.code() == Some(&tokio_postgres::error::SqlState::INVALID_CATALOG_NAME) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let sql = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let row = client.query_typed_one(sql, &[]).await;
    Ok(row.and_then(|row| row.try_get(0)).unwrap_or(false))
}

async fn refuse_overreach(
    config: &Config,
    store: &Store,
    policy: &LoadedPolicy,
    superuser: bool,
) -> Result<(), ServeError> {
    let mut found = superuser.then(|| (config.upstream.user.clone(), Overreach::Superuser));
    for login in policy.login_names(&config.upstream.user) {
        if let Some(what) = store.overreach(&login).await? {
            found = Some((login, what));
        }
    }
    match found {
        None => Ok(()),
        Some((login, what)) if config.unsafe_superuser_upstream => {
            tracing::warn!(
                "upstream login \"{login}\" {what}; allowed by --unsafe-superuser-upstream, which is not for production"
            );
            Ok(())
        }
        Some((login, what)) => Err(ServeError::Overreach { login, what }),
    }
}

/// What the control store sets off.
struct Hooks {
    shared: Arc<Shared>,
    worlds: Worlds,
    metrics: Arc<Metrics>,
}

impl StoreListener for Hooks {
    fn token_died(&self, kid: &str) {
        let ended = self.shared.sessions.revoke(kid);
        if ended > 0 {
            tracing::info!(kid, connections = ended, "ended: their token is no longer valid");
        }
    }

    fn catalog_changed(&self, database: &str) {
        self.worlds.catalog_hint(database);
    }

    fn knows_client(&self, name: &str) -> bool {
        self.worlds.policy().knows(name)
    }

    fn bad_rows(&self, count: u64) {
        self.metrics.bad_control_rows.add(count);
    }
}

struct SharedAudit(Arc<Audit>);

impl AuditSink for SharedAudit {
    fn record(&self, context: &ConnectionContext, now: Instant, event: &ringfence_engine::Event) {
        self.0.record(context, now, event);
    }

    fn connection(&self, event: ConnectionEvent<'_>) {
        self.0.connection(event);
    }
}

struct SharedMetrics(Arc<Metrics>);

impl crate::shared::ConnectionMetrics for SharedMetrics {
    fn accepted(&self) {
        self.0.accepted();
    }

    fn login_failed(&self, reason: crate::shared::LoginFailure) {
        self.0.login_failed(reason);
    }

    fn opened(&self) {
        self.0.opened();
    }

    fn closed(&self, reason: crate::shared::CloseReason) {
        self.0.closed(reason);
    }

    fn relayed(&self, to_client: u64, to_server: u64) {
        self.0.relayed(to_client, to_server);
    }

    fn cancel(&self, known: bool) {
        self.0.cancel(known);
    }
}

enum Received {
    Hangup,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.hangup.recv() => Received::Hangup,
            _ = self.terminate.recv() => Received::Stop,
            _ = self.interrupt.recv() => Received::Stop,
        }
    }

    async fn stop_again(&mut self) {
        while let Received::Hangup = self.next().await {}
    }
}
