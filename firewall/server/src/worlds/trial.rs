//! Worlds to look at: the one that a client is in now, and those that another policy would make.

use std::collections::HashMap;
use std::sync::Arc;

use ringfence_engine::World;

use super::Worlds;
use super::database::Database;
use super::snapshot::Snapshot;
use crate::policy_file::{LoadedPolicy, PolicyErrors};
use crate::shared::Problem;

/// A policy laid over the databases in use. Nobody takes it over.
#[derive(Debug)]
pub struct Trial {
    pub policy: Arc<LoadedPolicy>,
    /// What in it does not fit but would not keep it from being taken over.
    pub warnings: Vec<String>,
    databases: HashMap<Arc<str>, (Arc<Snapshot>, Snapshot)>,
}

/// A policy, and a catalog under it.
pub type Side = (Arc<LoadedPolicy>, Arc<World>);

impl Worlds {
    /// What a session of the client would go by; `None`: the policy does not know the client. `fresh`: of a moment after
    /// this call.
    pub async fn world(&self, database: &str, client: &str, fresh: bool) -> Result<Option<Side>, Problem> {
        let found = self.database(database);
        let opened = if fresh {
            found.refresh(&self.0, Some(client), true).await
        } else {
            found.open(&self.0, Some(client)).await
        };
        drop(found);
        if opened.is_err() {
            self.forget_if_unused(database);
        }
        let snapshot = opened?;
        Ok(side(&snapshot, client))
    }

    /// The database of `--upstream`, else the only one in use.
    pub fn only_database(&self) -> Option<String> {
        if let Some(name) = &self.0.upstream.database {
            return Some(name.clone());
        }
        let mut known = self.status().into_iter();
        let only = known.next()?.database;
        known.next().is_none().then_some(only)
    }

    /// Lays a policy over every database in use as a reload would, with the same complaints, and stops there.
    /// `needed`: databases that are opened for it.
    pub async fn trial(&self, policy: LoadedPolicy, needed: &[String]) -> Result<Trial, TrialError> {
        for name in needed {
            let opened = self.database(name).open(&self.0, None).await;
            if let Err(problem) = opened {
                self.forget_if_unused(name);
                return Err(TrialError::Database(problem));
            }
        }
        let policy = Arc::new(policy);
        let databases: Vec<Arc<Database>> = self.read_databases().values().cloned().collect();
        let mut ready = Vec::new();
        let mut before = HashMap::new();
        let mut errors = Vec::new();
        {
            // A reload waits for every database as well: two at once would wait for each other.
            let _turn = self.0.reloading.lock().await;
            for database in &databases {
                let Some(current) = database.current() else { continue };
                match database.rebind(&self.0, &policy).await {
                    Ok(Some(rebound)) => {
                        before.insert(Arc::<str>::from(rebound.name()), current);
                        ready.push(rebound);
                    }
                    Ok(None) => {}
                    Err(found) => errors.extend(found.0),
                }
            }
        }
        errors.extend(self.fatal(&policy, &ready));
        if !errors.is_empty() {
            return Err(TrialError::Policy(PolicyErrors(errors)));
        }
        let mut trial = Trial { policy, warnings: Vec::new(), databases: HashMap::new() };
        for rebound in ready {
            let (name, snapshot, warnings) = rebound.tried();
            trial.warnings.extend(warnings);
            if let Some(current) = before.remove(&name) {
                trial.databases.insert(name, (current, snapshot));
            }
        }
        trial.warnings.sort();
        trial.warnings.dedup();
        Ok(trial)
    }
}

/// Why a policy could not be tried.
#[derive(Debug)]
pub enum TrialError {
    Policy(PolicyErrors),
    Database(Problem),
}

impl Trial {
    /// Before and after: `None` on a side whose policy does not know the client.
    pub fn sides(&self, database: &str, client: &str) -> Option<(Option<Side>, Option<Side>)> {
        let (old, new) = self.databases.get(database)?;
        Some((side(old, client), side(new, client)))
    }
}

fn side(snapshot: &Snapshot, client: &str) -> Option<Side> {
    Some((snapshot.policy.clone(), snapshot.view(client)?.world))
}
