//! One database: its connection, its current snapshot, and how it is refreshed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio_postgres::Client;

use super::Inner;
use super::snapshot::Snapshot;
use crate::catalog::{self, Context};
use crate::config::secret::Secret;
use crate::config::url::PgUrl;
use crate::event_trigger;
use crate::pg::{self, ConnectError};
use crate::policy_file::{LoadedPolicy, PolicyErrors};
use crate::shared::Problem;
use crate::store::labels::Recorded;
use ringfence_engine::Changes;

/// A catalog read that takes longer than this means that the server is in trouble.
const LIMIT: Duration = Duration::from_secs(35);
/// A database without sessions keeps its connection for so long. An idle connection stands in the way of DROP DATABASE,
/// which waits for five seconds before it gives up.
const LINGER: Duration = Duration::from_secs(2);

pub(super) struct Database {
    name: Arc<str>,
    current: ArcSwapOption<Snapshot>,
    state: Arc<Mutex<State>>,
    /// Refreshes begun and ended, by number: a caller needs one that began after it asked.
    begun: AtomicU64,
    ended: AtomicU64,
    /// The last refresh failed so.
    failure: std::sync::Mutex<Option<(u64, Problem)>>,
    polling: AtomicBool,
    /// Somebody opened the database since the poller looked.
    touched: AtomicBool,
    /// Changes of the catalog that sessions saw.
    changes: Arc<Changes>,
    complained: AtomicBool,
}

/// What a refresh needs; whoever holds the lock is the only one to publish.
#[derive(Default)]
struct State {
    client: Option<Client>,
    /// Its notifications, until somebody listens to them.
    notes: Option<mpsc::Receiver<String>>,
    /// The record of labels, once read.
    records: Option<Vec<Recorded>>,
    epoch: u64,
    /// Of the classification, at the last reading.
    mistakes: Vec<String>,
    last_used: Option<Instant>,
}

/// For `status`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DatabaseStatus {
    pub database: String,
    pub server_version: u32,
    pub epoch: u64,
    pub relations: usize,
    pub labelled_columns: usize,
    pub policy_version: u64,
}

/// A database with a new policy, held until all are ready.
pub(super) struct Rebound {
    database: Arc<Database>,
    snapshot: Snapshot,
    /// Mistakes of the classification that show in this database: (line, column), and the text.
    pub(super) mistakes: Vec<((u32, u32), String)>,
    warnings: Vec<String>,
    new_records: Vec<Recorded>,
    turn: OwnedMutexGuard<State>,
}

impl Rebound {
    pub(super) fn name(&self) -> &str {
        &self.database.name
    }

    /// What it is worth when nobody takes it over: its name, the snapshot, warnings.
    pub(super) fn tried(self) -> (Arc<str>, Snapshot, Vec<String>) {
        (self.database.name.clone(), self.snapshot, self.warnings)
    }

    pub(super) async fn publish(mut self, inner: &Inner) {
        for warning in &self.warnings {
            tracing::warn!(database = self.name(), "{warning}");
        }
        let oid = self.snapshot.bare.catalog.database_oid;
        self.turn.epoch = self.snapshot.epoch;
        inner.remember(&self.snapshot);
        self.database.current.store(Some(Arc::new(self.snapshot)));
        let records = self.turn.records.get_or_insert_default();
        self.database.keep(inner, records, oid, &self.new_records).await;
    }
}

impl Database {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            current: ArcSwapOption::empty(),
            state: Arc::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failure: std::sync::Mutex::new(None),
            polling: AtomicBool::new(false),
            touched: AtomicBool::new(false),
            changes: Arc::default(),
            complained: AtomicBool::new(false),
        }
    }

    pub(super) fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// The snapshot, loaded if there is none, or if nobody has watched the database for a while.
    pub(super) async fn open(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        client: Option<&str>,
    ) -> Result<Arc<Snapshot>, Problem> {
        self.touched.store(true, Ordering::SeqCst);
        if self.polling.load(Ordering::SeqCst)
            && let Some(current) = self.current()
        {
            return Ok(current);
        }
        self.refresh(inner, client, false).await
    }

    /// A snapshot of a moment after this call. `announce`: a difference was caused here, so the other replicas are told.
    pub(super) async fn refresh(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        client: Option<&str>,
        announce: bool,
    ) -> Result<Arc<Snapshot>, Problem> {
        let wanted = self.begun.load(Ordering::Acquire) + 1;
        let mut state = self.state.lock().await;
        if self.ended.load(Ordering::Acquire) >= wanted {
            // Somebody else's, begun after we asked.
            let failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some((number, problem)) = failure.as_ref()
                && *number >= wanted
            {
                return Err(problem.clone());
            }
            if let Some(current) = self.current() {
                return Ok(current);
            }
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let began = Instant::now();
        let result = tokio::time::timeout(LIMIT, self.look(inner, &mut state, client)).await.unwrap_or_else(|_| {
            Err(Problem::new("57014", format!("the catalog of database \"{}\" could not be read in time", self.name)))
        });
        self.ended.store(number, Ordering::Release);
        state.last_used = Some(Instant::now());
        if result.is_err() {
            state.client = None;
        } else if self.complained.swap(false, Ordering::Relaxed) {
            tracing::info!(database = &*self.name, "the catalog can be read again");
        }
        if let Some(notes) = state.notes.take() {
            self.hear(inner, notes);
        }
        drop(state);
        let word = match &result {
            Ok((_, true)) => "changed",
            Ok((_, false)) => "unchanged",
            Err(_) => "failed",
        };
        inner.metrics.refreshed(word, began.elapsed());
        *self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            result.as_ref().err().map(|problem| (number, problem.clone()));
        if result.as_ref().is_err_and(|problem| problem.sqlstate == "3D000") {
            self.current.store(None);
        }
        let (snapshot, changed) = result?;
        if changed {
            inner.changed();
            if announce {
                let (store, name) = (inner.store.clone(), self.name.clone());
                tokio::spawn(async move {
                    if let Err(error) = store.announce_catalog(&name).await {
                        tracing::warn!("other replicas could not be told of a new catalog: {error}");
                    }
                });
            }
        }
        self.watch(inner);
        Ok(snapshot)
    }

    /// Compares marks, and reads the catalog if they differ.
    async fn look(
        &self,
        inner: &Inner,
        state: &mut State,
        client: Option<&str>,
    ) -> Result<(Arc<Snapshot>, bool), Problem> {
        let policy = inner.policy.load_full();
        // A kept connection may have died unnoticed: once more with a new one.
        let kept = state.client.as_ref().is_some_and(|c| !c.is_closed());
        match self.look_once(inner, state, client, &policy).await {
            Err(_) if kept && state.client.as_ref().is_none_or(Client::is_closed) => {
                state.client = None;
                self.look_once(inner, state, client, &policy).await
            }
            result => result,
        }
    }

    async fn look_once(
        &self,
        inner: &Inner,
        state: &mut State,
        client: Option<&str>,
        policy: &Arc<LoadedPolicy>,
    ) -> Result<(Arc<Snapshot>, bool), Problem> {
        if state.client.as_ref().is_none_or(Client::is_closed) {
            let (connected, notes) = self.connect(inner, policy, client).await?;
            state.client = Some(connected);
            state.notes = Some(notes);
        }
        let Some(connection) = &state.client else {
            return Err(Problem::new("08006", "no connection"));
        };
        let server = |error| self.failed(&pg::Explained(error));
        let seen = self.changes.count();
        if let Some(current) = self.current()
            && current.policy.version == policy.version
            && catalog::marks(connection).await.map_err(server)? == *current.marks()
        {
            current.compared(seen);
            return Ok((current, false));
        }
        let context = Context {
            upstream_logins: policy.login_names(&inner.upstream.user).into_iter().collect(),
            trusted_extensions: policy.policy.trusted_extensions.iter().cloned().collect(),
        };
        let bare = Arc::new(catalog::load(connection, &context).await.map_err(server)?);
        self.read_records(inner, &mut state.records, bare.catalog.database_oid).await?;
        let records = state.records.as_deref().unwrap_or_default();
        let epoch = state.epoch + 1;
        let changes = (&self.changes, seen);
        let (snapshot, notes) =
            Snapshot::new(connection, policy.clone(), bare, epoch, records, &inner.upstream.user, changes)
                .await
                .map_err(server)?;
        inner.metrics.label_disagreements.add(notes.disagreements as u64);
        let oid = snapshot.bare.catalog.database_oid;
        self.keep(inner, state.records.get_or_insert_default(), oid, &notes.new_records).await;
        // The first time, a classification that does not fit is worth a line each; clients are served all the same,
        // because every table that does exist is protected.
        if epoch == 1 {
            let expected = inner.upstream.database.as_deref() == Some(&*self.name);
            for (_, problem) in notes.errors.iter().filter(|_| expected) {
                tracing::warn!(database = &*self.name, "{problem}");
            }
            for problem in &notes.warnings {
                tracing::warn!(database = &*self.name, "{problem}");
            }
        }
        state.mistakes = notes.errors.into_iter().map(|(_, text)| text).collect();
        state.epoch = epoch;
        let snapshot = Arc::new(snapshot);
        inner.remember(&snapshot);
        self.current.store(Some(snapshot.clone()));
        Ok((snapshot, true))
    }

    /// The default login; a client's own where that one is not let in.
    async fn connect(
        &self,
        inner: &Inner,
        policy: &LoadedPolicy,
        client: Option<&str>,
    ) -> Result<(Client, mpsc::Receiver<String>), Problem> {
        let mut error = match pg::connect(&inner.upstream, &self.name).await {
            Ok(connected) => return Ok(listening(connected).await),
            Err(error) => error,
        };
        if let Some(own) = client.and_then(|c| policy.login(c)).and_then(|l| l.own) {
            let url = PgUrl {
                user: own.user.to_string(),
                password: own.password.map(|p| Secret::new(p.to_string())),
                ..inner.upstream.clone()
            };
            error = match pg::connect(&url, &self.name).await {
                Ok(connected) => return Ok(listening(connected).await),
                Err(error) => error,
            };
        }
        Err(match &error {
            ConnectError::Server { source, .. } => self.failed(source),
            ConnectError::Timeout { .. } | ConnectError::Tls(_) => {
                self.complain(&error);
                Problem::new("08006", "the firewall cannot reach the database server")
            }
        })
    }

    /// Reads the record of labels; an older reading serves while the control database is away.
    async fn read_records(&self, inner: &Inner, records: &mut Option<Vec<Recorded>>, oid: u32) -> Result<(), Problem> {
        match inner.store.recorded_labels(oid).await {
            Ok(found) => *records = Some(found),
            Err(error) if records.is_some() => tracing::warn!("the record of labels could not be read: {error}"),
            Err(error) => {
                tracing::error!("the record of labels could not be read: {error}");
                return Err(Problem::new("57P03", "the firewall cannot reach its control database")
                    .hint("Databases in use go on working; this one was not in use."));
            }
        }
        Ok(())
    }

    /// Adds to the record of labels.
    async fn keep(&self, inner: &Inner, records: &mut Vec<Recorded>, oid: u32, new: &[Recorded]) {
        if new.is_empty() {
            return;
        }
        records.extend(new.iter().cloned());
        if let Err(error) = inner.store.record_labels(oid, &self.name, new).await {
            tracing::warn!("labels could not be recorded (tried again at the next change): {error}");
        }
    }

    /// The same catalog under a new policy. Keeps refreshes out until the result is published or dropped.
    pub(super) async fn rebind(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        policy: &Arc<LoadedPolicy>,
    ) -> Result<Option<Rebound>, PolicyErrors> {
        let mut turn = self.state.clone().lock_owned().await;
        let state = &mut *turn;
        let Some(current) = self.current() else { return Ok(None) };
        let broken = |what: String| PolicyErrors(vec![format!("database \"{}\": {what}", self.name)]);
        if state.client.as_ref().is_none_or(Client::is_closed) {
            match self.connect(inner, policy, None).await {
                Ok((connected, notes)) => {
                    state.client = Some(connected);
                    self.hear(inner, notes);
                }
                Err(problem) if problem.sqlstate == "3D000" => {
                    self.current.store(None);
                    return Ok(None);
                }
                Err(problem) => return Err(broken(problem.message)),
            }
        }
        let Some(connection) = &state.client else { return Ok(None) };
        // Logins and trusted extensions are the policy's, so the catalog is read anew.
        let context = Context {
            upstream_logins: policy.login_names(&inner.upstream.user).into_iter().collect(),
            trusted_extensions: policy.policy.trusted_extensions.iter().cloned().collect(),
        };
        let server = |error| broken(self.failed(&pg::Explained(error)).message);
        let seen = self.changes.count();
        let bare = Arc::new(catalog::load(connection, &context).await.map_err(server)?);
        let epoch = current.epoch + 1;
        self.read_records(inner, &mut state.records, bare.catalog.database_oid).await.map_err(|p| broken(p.message))?;
        let records = state.records.clone().unwrap_or_default();
        let changes = (&self.changes, seen);
        let (snapshot, notes) =
            Snapshot::new(connection, policy.clone(), bare, epoch, &records, &inner.upstream.user, changes)
                .await
                .map_err(server)?;
        Ok(Some(Rebound {
            database: self.clone(),
            snapshot,
            mistakes: notes.errors,
            warnings: notes.warnings,
            new_records: notes.new_records,
            turn,
        }))
    }

    /// Looks at once when the event trigger (`ringfence install-trigger`) tells of DDL, until the connection ends.
    fn hear(self: &Arc<Self>, inner: &Arc<Inner>, mut notes: mpsc::Receiver<String>) {
        let (this, inner) = (self.clone(), inner.clone());
        tokio::spawn(async move {
            while notes.recv().await.is_some() {
                while notes.try_recv().is_ok() {}
                this.changes.note();
                if inner.policy.load().policy.has_labels() {
                    let _ = this.refresh(&inner, None, false).await;
                }
            }
        });
    }

    /// Looks for changes from elsewhere, as long as the database is in use.
    fn watch(self: &Arc<Self>, inner: &Arc<Inner>) {
        if self.polling.swap(true, Ordering::SeqCst) {
            return;
        }
        let (this, inner) = (self.clone(), inner.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(inner.poll).await;
                if this.idle(&inner).await {
                    return;
                }
                // Without labels nobody's statements are analysed, and a reload of the policy reads the catalog anew. To
                // read it now would only keep VACUUM from pages that the transaction can see.
                let needed = inner.policy.load().policy.has_labels();
                if needed && this.changed_elsewhere().await {
                    let _ = this.refresh(&inner, None, false).await;
                }
            }
        });
    }

    /// Gives the connection up when no session has been in the database for a while.
    async fn idle(&self, inner: &Inner) -> bool {
        let named = inner.upstream.database.as_deref() == Some(&*self.name);
        if named || inner.in_use(&self.name) || self.touched.swap(false, Ordering::SeqCst) {
            self.state.lock().await.last_used = Some(Instant::now());
            return false;
        }
        let mut state = self.state.lock().await;
        if state.last_used.is_some_and(|used| used.elapsed() < LINGER) {
            return false;
        }
        // Who opens the database from here on reads it again, unless they came in between.
        self.polling.store(false, Ordering::SeqCst);
        if self.touched.swap(false, Ordering::SeqCst) && !self.polling.swap(true, Ordering::SeqCst) {
            state.last_used = Some(Instant::now());
            return false;
        }
        state.client = None;
        true
    }

    /// Temporary relations do not count: an unknown OID brings those in.
    async fn changed_elsewhere(&self) -> bool {
        let mut state = self.state.lock().await;
        let (Some(current), Some(client)) = (self.current(), &state.client) else { return true };
        match pg::within(Duration::from_secs(10), catalog::marks(client)).await {
            Ok(marks) => marks.lasting != current.marks().lasting,
            Err(error) => {
                self.complain(&error);
                state.client = None;
                false
            }
        }
    }

    /// What in the classification does not fit this database.
    pub(super) async fn mistakes(&self) -> Vec<String> {
        self.state.lock().await.mistakes.clone()
    }

    pub(super) fn status(&self) -> Option<DatabaseStatus> {
        let current = self.current()?;
        Some(DatabaseStatus {
            database: self.name.to_string(),
            server_version: current.server_version(),
            epoch: current.epoch,
            relations: current.relations(),
            labelled_columns: current.labelled_columns,
            policy_version: current.policy.version,
        })
    }

    /// What the server itself said about the database or the login is the client's to know; the rest is for the log.
    fn failed(&self, error: &pg::Explained) -> Problem {
        let database = &*self.name;
        let Some(db) = error.0.as_db_error() else {
            self.complain(error);
            return Problem::new("08006", "the firewall cannot reach the database server");
        };
        match db.code().code() {
            "3D000" => Problem::new("3D000", format!("database \"{database}\" does not exist")),
            "53300" => Problem::new("53300", "the database server has no connections left"),
            "57P03" => Problem::new("57P03", "the database server is starting up or shutting down"),
            "55000" => Problem::new("55000", format!("database \"{database}\" does not accept connections")),
            _ => {
                self.complain(error);
                Problem::new("08006", format!("the firewall cannot read the catalog of database \"{database}\""))
                    .hint("The firewall's log says why.")
            }
        }
    }

    /// Once, until it works again.
    fn complain(&self, error: &dyn std::error::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::error!(database = &*self.name, "the catalog cannot be read: {error}");
        }
    }
}

/// A connection that hears of DDL, where the event trigger is installed. A standby cannot listen: polling serves.
async fn listening((client, notes): (Client, mpsc::Receiver<String>)) -> (Client, mpsc::Receiver<String>) {
    let listen = format!("LISTEN {}", event_trigger::CHANNEL);
    if let Err(error) = pg::within(Duration::from_secs(10), client.batch_execute(&listen)).await {
        tracing::debug!("DDL is noticed by polling only: {error}");
    }
    (client, notes)
}
