//! Databases as the firewall sees them: for each, a catalog under the policy, replaced as a whole when either changes.

mod database;
mod snapshot;
mod trial;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::audit::{NameSource, Names};
use crate::config::url::PgUrl;
use crate::metrics::Metrics;
use crate::policy_file::{LoadedPolicy, PolicyErrors};
use crate::shared::{Boxed, ClientLogin, Problem, Shared, View, Worlds as WorldsContract};
use crate::store::Store;
pub use database::DatabaseStatus;
use database::{Database, Rebound};
use snapshot::Snapshot;
pub use trial::{Side, Trial, TrialError};

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Worlds(Arc<Inner>);

struct Inner {
    upstream: PgUrl,
    poll: Duration,
    policy: ArcSwap<LoadedPolicy>,
    store: Store,
    metrics: Arc<Metrics>,
    databases: RwLock<HashMap<Arc<str>, Arc<Database>>>,
    /// Names for the audit log: worlds by their number, the newest last.
    recent: Mutex<Vec<(u64, Names)>>,
    shared: OnceLock<Weak<Shared>>,
    /// One reload of the policy at a time.
    reloading: tokio::sync::Mutex<()>,
}

/// Names of so many past worlds are kept, for lines that are still on their way.
const RECENT: usize = 64;

impl fmt::Debug for Worlds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worlds").finish_non_exhaustive()
    }
}

impl Worlds {
    pub fn new(upstream: PgUrl, poll: Duration, policy: LoadedPolicy, store: Store, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            upstream,
            poll,
            policy: ArcSwap::from_pointee(policy),
            store,
            metrics,
            databases: RwLock::default(),
            recent: Mutex::default(),
            shared: OnceLock::new(),
            reloading: tokio::sync::Mutex::new(()),
        }))
    }

    /// Where changes are announced. Without it (in tests) nobody is told.
    pub fn announce_to(&self, shared: &Arc<Shared>) {
        let _ = self.0.shared.set(Arc::downgrade(shared));
    }

    pub fn policy(&self) -> Arc<LoadedPolicy> {
        self.0.policy.load_full()
    }

    /// Loads the database that `--upstream` names before the first client asks; the classification must fit it.
    pub async fn preload(&self, database: &str) -> Result<Result<(), PolicyErrors>, Problem> {
        let found = self.database(database);
        found.open(&self.0, None).await?;
        let mistakes = found.mistakes().await;
        Ok(if mistakes.is_empty() { Ok(()) } else { Err(PolicyErrors(mistakes)) })
    }

    /// Another replica saw DDL there: looks at once, if the database is in use here.
    pub fn catalog_hint(&self, database: &str) {
        if let Some(database) = self.known(database) {
            let inner = self.0.clone();
            tokio::spawn(async move {
                let _ = database.refresh(&inner, None, false).await;
            });
        }
    }

    /// Takes over a new policy, for all databases or for none.
    pub async fn reload(&self, fresh: LoadedPolicy) -> Result<(), PolicyErrors> {
        let _turn = self.0.reloading.lock().await;
        self.lay(Arc::new(fresh)).await
    }

    /// Lays the policy in force over all databases again: the record of labels changed.
    pub async fn rebind(&self) -> Result<(), PolicyErrors> {
        let _turn = self.0.reloading.lock().await;
        self.lay(self.policy()).await
    }

    pub async fn database_oid(&self, database: &str) -> Result<u32, Problem> {
        let snapshot = self.database(database).open(&self.0, None).await;
        if snapshot.is_err() {
            self.forget_if_unused(database);
        }
        Ok(snapshot?.bare.catalog.database_oid)
    }

    async fn lay(&self, fresh: Arc<LoadedPolicy>) -> Result<(), PolicyErrors> {
        let databases: Vec<Arc<Database>> = self.read_databases().values().cloned().collect();
        // Catalog refreshes wait until the new policy is in force everywhere: none may bring the old one back.
        let mut ready = Vec::new();
        let mut errors = Vec::new();
        for database in &databases {
            match database.rebind(&self.0, &fresh).await {
                Ok(rebound) => ready.extend(rebound),
                Err(found) => errors.extend(found.0),
            }
        }
        errors.extend(self.fatal(&fresh, &ready));
        if !errors.is_empty() {
            return Err(PolicyErrors(errors));
        }
        self.0.policy.store(fresh);
        for rebound in ready {
            rebound.publish(&self.0).await;
        }
        self.0.changed();
        Ok(())
    }

    /// Mistakes that keep a policy from being taken over. A table may be missing where it is not expected: what counts
    /// is the database that `--upstream` names, those that the file names, and what is wrong in every database.
    fn fatal(&self, policy: &LoadedPolicy, ready: &[Rebound]) -> Vec<String> {
        let expected = |name: &str| {
            self.0.upstream.database.as_deref() == Some(name) || policy.policy.databases().any(|d| d == name)
        };
        let everywhere = |place: &(u32, u32)| ready.iter().all(|r| r.mistakes.iter().any(|(p, _)| p == place));
        let mut found: Vec<((u32, u32), String)> = ready
            .iter()
            .flat_map(|r| r.mistakes.iter().filter(|(place, _)| expected(r.name()) || everywhere(place)).cloned())
            .collect();
        found.sort();
        found.dedup_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, text)| text).collect()
    }

    pub fn status(&self) -> Vec<DatabaseStatus> {
        let mut all: Vec<_> = self.read_databases().values().filter_map(|d| d.status()).collect();
        all.sort_by(|a, b| a.database.cmp(&b.database));
        all
    }

    fn read_databases(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Arc<str>, Arc<Database>>> {
        self.0.databases.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Option<Arc<Database>> {
        self.read_databases().get(name).cloned()
    }

    fn database(&self, name: &str) -> Arc<Database> {
        if let Some(found) = self.known(name) {
            return found;
        }
        let mut databases = self.0.databases.write().unwrap_or_else(PoisonError::into_inner);
        databases.entry(Arc::from(name)).or_insert_with(|| Arc::new(Database::new(name))).clone()
    }

    /// Names that turned out to be no database do not stay.
    fn forget_if_unused(&self, name: &str) {
        let mut databases = self.0.databases.write().unwrap_or_else(PoisonError::into_inner);
        if databases.get(name).is_some_and(|d| d.current().is_none() && Arc::strong_count(d) <= 2) {
            databases.remove(name);
        }
    }

    fn view(snapshot: &Snapshot, client: &str) -> Option<View> {
        snapshot.view(client)
    }
}

impl Inner {
    /// Every connection takes over the newest policy and catalog.
    fn changed(&self) {
        if let Some(shared) = self.shared.get().and_then(Weak::upgrade) {
            shared.changed();
        }
    }

    fn remember(&self, snapshot: &Snapshot) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.extend(snapshot.names());
        let excess = recent.len().saturating_sub(RECENT);
        recent.drain(..excess);
    }

    /// Some session is in that database.
    fn in_use(&self, database: &str) -> bool {
        self.shared
            .get()
            .and_then(Weak::upgrade)
            .is_some_and(|shared| shared.sessions.list().iter().any(|context| &*context.database == database))
    }
}

impl NameSource for Worlds {
    fn names(&self, world: u64) -> Option<Names> {
        let recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().find(|(id, _)| *id == world).map(|(_, names)| names.clone())
    }

    fn newest(&self, database: &str) -> Option<Names> {
        self.known(database)?.current()?.names().into_iter().next().map(|(_, names)| names)
    }
}

fn unknown_client(client: &str) -> Problem {
    Problem::new("28000", format!("client \"{client}\" is not in the classification"))
}

impl WorldsContract for Worlds {
    fn login(&self, client: &str) -> Option<ClientLogin> {
        self.0.policy.load().login(client)
    }

    fn open<'a>(&'a self, database: &'a str, client: &'a str) -> Boxed<'a, Result<View, Problem>> {
        Box::pin(async move {
            let opened = self.database(database).open(&self.0, Some(client)).await;
            match opened {
                Ok(snapshot) => Self::view(&snapshot, client).ok_or_else(|| unknown_client(client)),
                Err(problem) => {
                    self.forget_if_unused(database);
                    Err(problem)
                }
            }
        })
    }

    fn current(&self, database: &str, client: &str) -> Option<View> {
        Self::view(&*self.known(database)?.current()?, client)
    }

    fn refresh<'a>(&'a self, database: &'a str, client: &'a str) -> Boxed<'a, Result<View, Problem>> {
        Box::pin(async move {
            let snapshot = self.database(database).refresh(&self.0, Some(client), true).await?;
            Self::view(&snapshot, client).ok_or_else(|| unknown_client(client))
        })
    }
}
