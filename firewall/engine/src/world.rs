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
}

impl World {
    pub fn new(catalog: Arc<Catalog>, policy_version: u64, upstream_login: Arc<str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), catalog, policy_version, upstream_login }
    }
}
