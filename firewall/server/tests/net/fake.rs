//! Both ends around the firewall's network half: a server that answers what the test says, answers for the traits of
//! `shared`, and a client that speaks bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use ringfence_cipher::{MasterKey, Presenter};
use ringfence_engine::{Event, Limits, PlanCache, World};
use ringfence_policy::ClientPolicy;
use ringfence_server::auth::limiter::Limiter;
use ringfence_server::cancel::CancelKeys;
use ringfence_server::listen::{Listener, Stopper};
use ringfence_server::sessions::Sessions;
use ringfence_server::shared::{
    AuditSink, AuthMethod, Boxed, ClientLogin, CloseReason, ConnectionContext, ConnectionEvent, ConnectionMetrics,
    LoginFailure, NetConfig, Problem, Shared, Verifier, Verifiers, View, Worlds,
};
use ringfence_server::tls::upstream::{SslMode, UpstreamFiles};
use ringfence_server::tls::{ServerTls, self_signed};
use ringfence_server::upstream::Target;
use ringfence_wire::backend::Field;
use ringfence_wire::encode;
use ringfence_wire::startup::Initial;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The one live token.
pub(crate) const TOKEN: &str = "rft_kkkkkkkk_secret";
pub(crate) const KID: &str = "kkkkkkkk";
pub(crate) const CLIENT: &str = "app";

/// A firewall on a port of its own, and what it reported.
pub(crate) struct Firewall {
    pub address: SocketAddr,
    pub shared: Arc<Shared>,
    pub seen: Arc<Seen>,
    pub tls_dir: tempfile::TempDir,
    pub alive: Arc<AtomicBool>,
    stopper: Stopper,
    running: JoinHandle<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub failures: Mutex<Vec<LoginFailure>>,
    pub closed: Mutex<Vec<CloseReason>>,
    pub cancels: Mutex<Vec<bool>>,
}

pub(crate) struct Setup {
    pub tls: bool,
    pub allow_plaintext: bool,
    pub auth: AuthMethod,
    pub restricted: bool,
    pub max_connections: usize,
    pub upstream_mode: SslMode,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            tls: true,
            allow_plaintext: true,
            auth: AuthMethod::Scram,
            restricted: false,
            max_connections: 100,
            upstream_mode: SslMode::Disable,
        }
    }
}

impl Firewall {
    pub(crate) async fn start(upstream: SocketAddr, setup: Setup) -> Self {
        let tls_dir = tempfile::tempdir().unwrap();
        let tls = setup.tls.then(|| ServerTls::load(self_signed::ensure(tls_dir.path()).unwrap()).unwrap());
        let target = Target::new(
            upstream.ip().to_string(),
            upstream.port(),
            "db_user".into(),
            Some(Arc::new("db password".to_owned().into())),
            setup.upstream_mode,
            &UpstreamFiles::default(),
        );
        let seen = Arc::new(Seen::default());
        let alive = Arc::new(AtomicBool::new(true));
        let net = NetConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls,
            allow_plaintext: setup.allow_plaintext,
            auth: setup.auth,
            upstream: Arc::new(target.unwrap()),
            max_connections: setup.max_connections,
            max_pending: 50,
            startup_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
            drain_grace: Duration::from_millis(500),
            mock_secret: [5; 32].into(),
        };
        let shared = Arc::new(Shared {
            net,
            verifiers: Box::new(Tokens(verifier(), Arc::clone(&alive))),
            worlds: Box::new(Fixed {
                view: view(setup.restricted),
                restricted: setup.restricted,
                alive: Arc::clone(&alive),
            }),
            audit: Box::new(Recorder(Arc::clone(&seen))),
            metrics: Box::new(Recorder(Arc::clone(&seen))),
            sessions: Sessions::new(),
            presenter: Arc::new(Presenter::new(MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap())),
            plans: Arc::new(PlanCache::new(1 << 20)),
            limits: Limits::default(),
            audit_healthy: Arc::new(AtomicBool::new(true)),
            budgets: ringfence_policy::Budgets::new(),
            control_fresh: Arc::new(AtomicBool::new(true)),
            generation: AtomicU64::new(0),
            limiter: Limiter::new(),
            cancel_keys: CancelKeys::new(),
        });
        let listener = Listener::bind(shared.net.listen).unwrap();
        let (address, stopper) = (listener.local_addr().unwrap(), listener.stopper());
        let running = tokio::spawn(listener.run(Arc::clone(&shared)));
        Self { address, shared, seen, tls_dir, alive, stopper, running }
    }

    pub(crate) async fn stop(self) {
        self.stopper.stop();
        self.running.await.unwrap();
        ringfence_server::listen::drain(&self.shared).await;
    }
}

fn view(restricted: bool) -> View {
    let client = ClientPolicy { name: CLIENT.into(), restricted, ..ClientPolicy::default() };
    View { world: Arc::new(World::new(Arc::default(), 1, "db_user".into())), client: Arc::new(client) }
}

/// What the control schema holds of [`TOKEN`].
fn verifier() -> Verifier {
    let hmac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().into()
    };
    let salt = [9; 16];
    let mut last = hmac(TOKEN.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
    let mut salted = last;
    for _ in 1..4096 {
        last = hmac(TOKEN.as_bytes(), &last);
        salted.iter_mut().zip(last).for_each(|(to, from)| *to ^= from);
    }
    Verifier {
        client: CLIENT.into(),
        kid: KID.into(),
        salt: salt.into(),
        iterations: 4096,
        stored_key: Sha256::digest(hmac(&salted, b"Client Key")).into(),
        server_key: hmac(&salted, b"Server Key"),
    }
}

struct Tokens(Verifier, Arc<AtomicBool>);

impl Verifiers for Tokens {
    fn lookup(&self, login: &str) -> Option<Verifier> {
        let known = login == CLIENT || login == format!("{CLIENT}~{KID}");
        known.then(|| self.0.clone())
    }

    fn candidates(&self, login: &str) -> Vec<Verifier> {
        self.lookup(login).into_iter().collect()
    }

    fn valid_until(&self, _kid: &str) -> Option<SystemTime> {
        self.1.load(Ordering::Relaxed).then(|| SystemTime::now() + Duration::from_secs(60))
    }
}

struct Fixed {
    view: View,
    restricted: bool,
    alive: Arc<AtomicBool>,
}

impl Worlds for Fixed {
    fn login(&self, client: &str) -> Option<ClientLogin> {
        (client == CLIENT).then(|| ClientLogin { restricted: self.restricted, ..ClientLogin::default() })
    }

    fn open<'a>(&'a self, _database: &'a str, _client: &'a str) -> Boxed<'a, Result<View, Problem>> {
        Box::pin(async { Ok(self.view.clone()) })
    }

    fn current(&self, _database: &str, _client: &str) -> Option<View> {
        self.alive.load(Ordering::Relaxed).then(|| self.view.clone())
    }

    fn refresh<'a>(&'a self, database: &'a str, client: &'a str) -> Boxed<'a, Result<View, Problem>> {
        self.open(database, client)
    }
}

struct Recorder(Arc<Seen>);

impl AuditSink for Recorder {
    fn record(&self, _context: &ConnectionContext, _now: Instant, _event: &Event) {}
    fn connection(&self, _event: ConnectionEvent<'_>) {}
}

impl ConnectionMetrics for Recorder {
    fn accepted(&self) {}
    fn login_failed(&self, reason: LoginFailure) {
        self.0.failures.lock().unwrap().push(reason);
    }
    fn opened(&self) {}
    fn closed(&self, reason: CloseReason) {
        self.0.closed.lock().unwrap().push(reason);
    }
    fn relayed(&self, _to_client: u64, _to_server: u64) {}
    fn cancel(&self, known: bool) {
        self.0.cancels.lock().unwrap().push(known);
    }
}

/// A server that trusts everyone. Each simple query is a command: `echo N` answers with a row of N bytes, `die` closes
/// in the middle of nothing, `hang` does not answer; anything else is answered with its own text.
pub(crate) struct FakeServer {
    pub address: SocketAddr,
    pub startups: Startups,
    pub cancelled: Cancelled,
}

pub(crate) const SERVER_PID: i32 = 4242;
pub(crate) const SERVER_SECRET: &[u8] = &[1, 2, 3, 4];

impl FakeServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (startups, cancelled) = (Arc::default(), Arc::default());
        let server = Self { address, startups: Arc::clone(&startups), cancelled: Arc::clone(&cancelled) };
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (startups, cancelled) = (Arc::clone(&startups), Arc::clone(&cancelled));
                tokio::spawn(serve(tcp, startups, cancelled));
            }
        });
        server
    }
}

type Startups = Arc<Mutex<Vec<Vec<(String, String)>>>>;
type Cancelled = Arc<Mutex<Vec<(i32, Vec<u8>)>>>;

async fn serve(mut tcp: TcpStream, startups: Startups, cancelled: Cancelled) {
    let Some(packet) = read_packet(&mut tcp).await else { return };
    match Initial::parse(&packet).unwrap() {
        Initial::Cancel { pid, secret } => {
            cancelled.lock().unwrap().push((pid, secret.to_vec()));
            return;
        }
        Initial::Startup { parameters, .. } => {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            startups.lock().unwrap().push(parameters.iter().map(|(n, v)| (text(n), text(v))).collect());
        }
        Initial::Ssl => {
            // Someone on the way adds bytes to the answer.
            let _ = tcp.write_all(b"SR\0\0\0\x08\0\0\0\0").await;
            let _ = tcp.read(&mut [0; 64]).await;
            return;
        }
        Initial::Gss => return,
    }
    let mut out = Vec::new();
    encode::authentication_ok(&mut out);
    for (name, value) in
        [("client_encoding", "UTF8"), ("standard_conforming_strings", "on"), ("server_version", "15.0")]
    {
        encode::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    encode::backend_key_data(&mut out, SERVER_PID, SERVER_SECRET);
    encode::ready_for_query(&mut out, b'I');
    if tcp.write_all(&out).await.is_err() {
        return;
    }
    while let Some((tag, body)) = read_message(&mut tcp).await {
        if tag != b'Q' {
            return;
        }
        let text = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap()).into_owned();
        out.clear();
        match text.split_once(' ') {
            _ if text == "die" => return,
            _ if text == "hang" => continue,
            Some(("echo", n)) => row(&mut out, &vec![b'x'; n.parse().unwrap()]),
            _ => row(&mut out, text.as_bytes()),
        }
        encode::command_complete(&mut out, b"SELECT 1");
        encode::ready_for_query(&mut out, b'I');
        if tcp.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn row(out: &mut Vec<u8>, value: &[u8]) {
    let field = Field { name: b"text", table_oid: 0, attnum: 0, type_oid: 25, type_len: -1, typmod: -1, format: 0 };
    encode::row_description(out, [field]);
    let mut row = encode::DataRowBuilder::begin(out);
    row.col(value);
    row.finish().unwrap();
}

pub(crate) async fn read_packet(tcp: &mut TcpStream) -> Option<Vec<u8>> {
    let len = tcp.read_u32().await.ok()?;
    let mut body = vec![0; len as usize - 4];
    tcp.read_exact(&mut body).await.ok()?;
    Some(body)
}

pub(crate) async fn read_message(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let tag = stream.read_u8().await.ok()?;
    let len = stream.read_u32().await.ok()?;
    let mut body = vec![0; len as usize - 4];
    stream.read_exact(&mut body).await.ok()?;
    Some((tag, body))
}
