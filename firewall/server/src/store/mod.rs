//! The control store: tokens and the record of labels, in the schema `ringfence` of the control database.
//!
//! Logins are answered from memory. The rows are read again when a NOTIFY hints at a change and every second in any
//! case; while the database is away, what is known serves for a grace.

pub mod labels;
mod rows;
pub mod schema;
pub mod token;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use ringfence_cipher::ControlMac;
use tokio::sync::{Mutex, mpsc};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use crate::config::url::PgUrl;
use crate::pg::{self, ConnectError, Explained, QueryError};
use crate::shared::{Verifier, Verifiers};
use rows::Marks;
pub use rows::Snapshot;
use schema::{LIMIT, SchemaError};
use token::{Status, Token};

/// Between two looks at the control tables, where no NOTIFY came.
const POLL: Duration = Duration::from_secs(1);

/// What the store tells the rest of the server. Called from its background task: must be quick.
pub trait Listener: Send + Sync {
    /// This token is no longer good: its sessions end.
    fn token_died(&self, kid: &str);
    /// Another replica saw DDL in this database.
    fn catalog_changed(&self, database: &str);
    /// Whether the classification (still) has this client.
    fn knows_client(&self, name: &str) -> bool;
    /// Rows whose MAC is wrong were found (and ignored).
    fn bad_rows(&self, count: u64);
}

/// Why the store cannot be opened, or cannot do what an administrator asks.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("control database: {0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Schema(#[from] SchemaError),
    #[error("control database: {0}")]
    Query(#[from] QueryError),
    #[error("the control database is away; nothing can be issued or revoked until it is back")]
    Away,
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Query(QueryError::Server(Explained(error)))
    }
}

/// A token just issued. The only time that its text exists.
pub struct Issued {
    pub kid: String,
    pub token: Zeroizing<String>,
    pub created_at: SystemTime,
    pub expires_at: SystemTime,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    url: PgUrl,
    mac: ControlMac,
    grace: Duration,
    client: ArcSwapOption<Client>,
    snapshot: ArcSwap<Snapshot>,
    /// One reader at a time, so that an older answer never replaces a newer one.
    reading: Mutex<Marks>,
    started: Instant,
    /// Milliseconds from `started` to the last successful look.
    last_read: AtomicU64,
    /// Refusals for want of the control database are logged once.
    grace_over: AtomicBool,
    listener: OnceLock<Arc<dyn Listener>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Connects, brings the schema up to date, and reads the tokens. The receiver goes to [`Store::run`].
    pub async fn open(
        url: PgUrl,
        mac: ControlMac,
        grace: Duration,
    ) -> Result<(Self, mpsc::Receiver<String>), StoreError> {
        let (client, notes) = connect(&url).await?;
        let store = Self(Arc::new(Inner {
            url,
            mac,
            grace,
            client: ArcSwapOption::empty(),
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            reading: Mutex::new(Marks::default()),
            started: Instant::now(),
            last_read: AtomicU64::new(0),
            grace_over: AtomicBool::new(false),
            listener: OnceLock::new(),
        }));
        store.adopt(client).await?;
        Ok((store, notes))
    }

    /// Listens and polls until the process ends.
    pub async fn run(self, mut notes: mpsc::Receiver<String>, listener: Arc<dyn Listener>) {
        let _ = self.0.listener.set(listener);
        let mut backoff = Duration::from_millis(100);
        loop {
            let lost = tokio::select! {
                note = notes.recv() => match note {
                    Some(_) => { while notes.try_recv().is_ok() {} false }
                    None => true,
                },
                () = tokio::time::sleep(POLL) => false,
            };
            let failure = if lost {
                Some(String::from("the connection ended"))
            } else {
                self.look().await.err().map(|e| e.to_string())
            };
            self.bury_expired();
            let Some(failure) = failure else { continue };
            tracing::warn!(grace = ?self.0.grace, "control database lost: {failure}. Known tokens go on working, none can be issued or revoked");
            self.0.client.store(None);
            notes = loop {
                match self.reconnect().await {
                    Ok(notes) => break notes,
                    Err(error) => tracing::debug!("control database still away: {error}"),
                }
                self.bury_expired();
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(Duration::from_secs(2));
            };
            backoff = Duration::from_millis(100);
            tracing::info!("control database is back");
        }
    }

    /// Whether the last look at the control tables succeeded.
    pub fn connected(&self) -> bool {
        self.0.client.load().is_some()
    }

    /// True while the control tables were read within `limit`: kept up by a task of its own, for the looks themselves
    /// may hang.
    pub fn watch_freshness(&self, limit: Duration) -> Arc<AtomicBool> {
        let fresh = Arc::new(AtomicBool::new(true));
        let (store, flag) = (self.clone(), fresh.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(250)).await;
                let now = store.age() <= limit;
                match (flag.swap(now, Ordering::Relaxed), now) {
                    (true, false) => tracing::error!(
                        ?limit,
                        "the control tables could not be read for longer than --control-freshness: statements that reach labels are refused"
                    ),
                    (false, true) => {
                        tracing::info!("the control tables are read again: statements that reach labels are served")
                    }
                    (true, true) | (false, false) => {}
                }
            }
        });
        fresh
    }

    /// Since the last successful look.
    pub fn age(&self) -> Duration {
        let last = Duration::from_millis(self.0.last_read.load(Ordering::Relaxed));
        self.0.started.elapsed().saturating_sub(last)
    }

    /// All tokens whose MAC is right, dead ones included.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// A new token for a client. Whether the client exists is the caller's to check.
    pub async fn issue(&self, client_name: &str, ttl: Duration, created_by: &str) -> Result<Issued, StoreError> {
        let client = self.client()?;
        let (kid, text) = token::generate();
        let now = token::to_micros(SystemTime::now());
        let row = token::Row {
            scram_verifier: token::scram_verifier(&text),
            kid,
            client: client_name.to_owned(),
            created_at: now,
            expires_at: token::to_micros(now + ttl),
            revoked_at: None,
            created_by: created_by.to_owned(),
        };
        rows::insert(&client, &row, &row.mac(&self.0.mac)).await?;
        self.look().await?;
        Ok(Issued { kid: row.kid, token: text, created_at: row.created_at, expires_at: row.expires_at })
    }

    /// Revokes tokens; returns the ids of those that were live or expired, and are now revoked.
    pub async fn revoke(&self, kids: &[Arc<str>]) -> Result<Vec<Arc<str>>, StoreError> {
        let client = self.client()?;
        let now = token::to_micros(SystemTime::now());
        let mut revoked = Vec::new();
        for kid in kids {
            if rows::revoke(&client, &self.0.mac, kid, now).await? {
                revoked.push(kid.clone());
            }
        }
        self.look().await?;
        Ok(revoked)
    }

    /// What a login that clients use can do that it must not.
    pub async fn overreach(&self, login: &str) -> Result<Option<schema::Overreach>, StoreError> {
        let client = self.client()?;
        Ok(pg::within(LIMIT, schema::overreach(&client, login)).await?)
    }

    /// Tells the other replicas that this database's catalog changed.
    pub async fn announce_catalog(&self, database: &str) -> Result<(), StoreError> {
        let client = self.client()?;
        let sql = "INSERT INTO ringfence.catalog_versions AS v (database, version) VALUES ($1, 1) \
                   ON CONFLICT (database) DO UPDATE SET version = v.version + 1, changed_at = now()";
        pg::within(LIMIT, client.execute_typed(sql, &[(&database, Type::TEXT)])).await?;
        Ok(())
    }

    /// The recorded labels of one database.
    pub async fn recorded_labels(&self, database_oid: u32) -> Result<Vec<labels::Recorded>, StoreError> {
        let client = self.client()?;
        let (found, bad) = labels::read(&client, &self.0.mac, database_oid).await?;
        self.report_bad(bad);
        Ok(found)
    }

    /// Adds to the record. It only ever grows here.
    pub async fn record_labels(
        &self,
        database_oid: u32,
        database: &str,
        new: &[labels::Recorded],
    ) -> Result<(), StoreError> {
        if new.is_empty() {
            return Ok(());
        }
        let client = self.client()?;
        Ok(labels::write(&client, &self.0.mac, database_oid, database, new).await?)
    }

    /// Takes a column's labels off the record; returns how many there were.
    pub async fn release_labels(&self, database_oid: u32, column: &str) -> Result<u64, StoreError> {
        let client = self.client()?;
        Ok(labels::release(&client, database_oid, column).await?)
    }

    fn client(&self) -> Result<Arc<Client>, StoreError> {
        self.0.client.load_full().filter(|c| !c.is_closed()).ok_or(StoreError::Away)
    }

    async fn reconnect(&self) -> Result<mpsc::Receiver<String>, StoreError> {
        let (client, notes) = connect(&self.0.url).await?;
        self.adopt(client).await?;
        Ok(notes)
    }

    async fn adopt(&self, client: Client) -> Result<(), StoreError> {
        pg::within(LIMIT, client.batch_execute("LISTEN ringfence_control")).await?;
        self.0.client.store(Some(Arc::new(client)));
        *self.0.reading.lock().await = Marks::default();
        self.look().await.inspect_err(|_| self.0.client.store(None))
    }

    /// Reads what changed since the last look.
    async fn look(&self) -> Result<(), StoreError> {
        let client = self.client()?;
        let mut marks = self.0.reading.lock().await;
        let now = rows::marks(&client).await?;
        if now.tokens != marks.tokens {
            let (fresh, bad) = rows::read(&client, &self.0.mac).await?;
            self.report_bad(bad);
            let old = self.0.snapshot.swap(Arc::new(fresh));
            let new = self.0.snapshot.load();
            let moment = SystemTime::now();
            for token in old.live(moment) {
                let kid = &token.verifier.kid;
                if new.get(kid).is_none_or(|t| t.status(moment) != Status::Live) {
                    self.tell(|l| l.token_died(kid));
                }
            }
        }
        for (database, version) in &now.catalogs {
            // The first look only takes note.
            if !marks.tokens.is_empty() && marks.catalogs.get(database) != Some(version) {
                self.tell(|l| l.catalog_changed(database));
            }
        }
        *marks = now;
        let since = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_read.store(since, Ordering::Relaxed);
        self.0.grace_over.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Tokens that expired since the last call, once each.
    fn bury_expired(&self) {
        let now = SystemTime::now();
        let snapshot = self.0.snapshot.load();
        for token in snapshot.expired_within(now, POLL * 4) {
            self.tell(|l| l.token_died(&token.verifier.kid));
        }
    }

    fn report_bad(&self, count: u64) {
        if count > 0 {
            tracing::error!(
                count,
                "control rows with a wrong MAC are ignored: someone else wrote them, or the key file is another one"
            );
            self.tell(|l| l.bad_rows(count));
        }
    }

    fn tell(&self, what: impl FnOnce(&dyn Listener)) {
        if let Some(listener) = self.0.listener.get() {
            what(&**listener);
        }
    }

    /// False when the control database has been away for longer than the grace.
    fn within_grace(&self) -> bool {
        if self.age() <= self.0.grace {
            return true;
        }
        if !self.0.grace_over.swap(true, Ordering::Relaxed) {
            tracing::error!("the control database has been away for longer than --control-grace: logins are refused");
        }
        false
    }

    fn usable(&self, token: &Token, now: SystemTime) -> bool {
        token.status(now) == Status::Live
            && self.0.listener.get().is_none_or(|l| l.knows_client(&token.verifier.client))
    }
}

/// A connection to a control schema of this program's version: also after a loss, for what comes back may be a backup.
async fn connect(url: &PgUrl) -> Result<(Client, mpsc::Receiver<String>), StoreError> {
    let (mut client, notes) = pg::connect(url, url.database.as_deref().unwrap_or("postgres")).await?;
    // An acknowledged revocation must survive a crash, whatever the server's setting.
    let durable = "SELECT pg_catalog.set_config('synchronous_commit', 'on', false) \
                   WHERE pg_catalog.current_setting('synchronous_commit') IN ('off', 'local')";
    pg::within(LIMIT, client.batch_execute(durable)).await?;
    schema::apply(&mut client).await?;
    Ok((client, notes))
}

/// `NAME~KID`, or `NAME` alone. Client names hold no tilde (the classification refuses them).
fn split_login(login: &str) -> (&str, Option<&str>) {
    match login.rsplit_once('~') {
        Some((name, kid)) => (name, Some(kid)),
        None => (login, None),
    }
}

impl Verifiers for Store {
    fn lookup(&self, login: &str) -> Option<Verifier> {
        self.candidates(login).into_iter().next()
    }

    fn candidates(&self, login: &str) -> Vec<Verifier> {
        if !self.within_grace() {
            return Vec::new();
        }
        let now = SystemTime::now();
        let snapshot = self.0.snapshot.load();
        let (name, kid) = split_login(login);
        match kid {
            Some(kid) => snapshot
                .get(kid)
                .filter(|t| &*t.verifier.client == name && self.usable(t, now))
                .map(|t| t.verifier.clone())
                .into_iter()
                .collect(),
            None => snapshot.of_client(name).filter(|t| self.usable(t, now)).map(|t| t.verifier.clone()).collect(),
        }
    }

    fn serving(&self) -> bool {
        self.within_grace()
    }

    fn valid_until(&self, kid: &str) -> Option<SystemTime> {
        let snapshot = self.0.snapshot.load();
        let token = snapshot.get(kid)?;
        self.usable(token, SystemTime::now()).then_some(token.expires_at)
    }
}
