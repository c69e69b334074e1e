//! One database as the firewall sees it now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_analysis::Catalog;

/// A catalog snapshot under one version of the policy, for one upstream login. Immutable; a refresh makes another.
#[derive(Debug)]
pub struct World {
    /// Unique in this process: plans made in one world are never used in another.
    pub id: u64,
    pub catalog: Arc<Catalog>,
    /// Increases with every classification that was loaded.
    pub policy_version: u64,
    /// The login under which statements of this world run.
    pub upstream_login: Arc<str>,
    changes: Arc<Changes>,
    /// The last of `changes` that was sure to be in the catalog when it was read, or compared.
    as_of: AtomicU64,
}

/// Changes of one database's catalog that sessions saw committed, counted. They are noted before the session that made
/// one is told, and whoever decides a statement afterwards waits for a snapshot that has it.
#[derive(Debug, Default)]
pub struct Changes(AtomicU64);

impl Changes {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Another one was committed.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl World {
    pub fn new(catalog: Arc<Catalog>, policy_version: u64, upstream_login: Arc<str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            catalog,
            policy_version,
            upstream_login,
            changes: Arc::default(),
            as_of: AtomicU64::new(0),
        }
    }

    /// The world of a database whose changes are counted there; the first `as_of` of them are in the catalog.
    #[must_use]
    pub fn following(self, changes: Arc<Changes>, as_of: u64) -> Self {
        Self { changes, as_of: AtomicU64::new(as_of), ..self }
    }

    /// The catalog was compared with the server's: it has the first `count` changes.
    pub fn compared(&self, count: u64) {
        self.as_of.fetch_max(count, Ordering::AcqRel);
    }

    /// A session saw a change that the catalog may not have.
    pub(crate) fn is_behind(&self) -> bool {
        self.changes.count() > self.as_of.load(Ordering::Acquire)
    }

    /// How many changes it has.
    pub(crate) fn as_of(&self) -> u64 {
        self.as_of.load(Ordering::Acquire)
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }
}
