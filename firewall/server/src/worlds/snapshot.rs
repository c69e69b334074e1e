//! One database's catalog under one version of the policy.

use std::collections::HashMap;
use std::sync::Arc;

use ringfence_analysis::{Catalog, ColumnId};
use ringfence_policy::{Record, Severity, bind};
use tokio_postgres::Client;

use crate::audit::Names;
use crate::catalog::{Loaded, Marks, texts};
use crate::policy_file::{LoadedPolicy, describe_as};
use crate::shared::View;
use crate::store::labels::Recorded;
use ringfence_engine::{Changes, World};

/// Immutable; a refresh or a reload makes another.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) policy: Arc<LoadedPolicy>,
    /// As loaded, without labels: what the next policy is laid over.
    pub(super) bare: Arc<Loaded>,
    pub(super) epoch: u64,
    worlds: HashMap<String, Arc<World>>,
    default_login: Arc<str>,
    catalog: Arc<Catalog>,
    pub(super) labelled_columns: usize,
}

/// What laying the policy over a catalog brought up, beside the snapshot.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) new_records: Vec<Recorded>,
    pub(super) warnings: Vec<String>,
    /// (line, column), and the text.
    pub(super) errors: Vec<((u32, u32), String)>,
    pub(super) disagreements: usize,
}

impl Snapshot {
    /// `records`: labels that columns of this database were ever found to have.
    pub(super) async fn new(
        client: &Client,
        policy: Arc<LoadedPolicy>,
        bare: Arc<Loaded>,
        epoch: u64,
        records: &[Recorded],
        default_login: &str,
        (changes, as_of): (&Arc<Changes>, u64),
    ) -> Result<(Self, Notes), tokio_postgres::Error> {
        let mut catalog = bare.catalog.clone();
        catalog.epoch = epoch;
        let known: Vec<Record> = records
            .iter()
            .map(|r| Record {
                column: ColumnId { relation: r.table_oid, attnum: r.attnum },
                label: r.label.as_str().into(),
            })
            .collect();
        let binding = bind(&policy.policy, &mut catalog, &known);
        texts::add(client, &mut catalog).await?;
        let mut notes = Notes { disagreements: binding.alerts.len(), ..Notes::default() };
        for diagnostic in &binding.diagnostics {
            match diagnostic.severity {
                Severity::Error => {
                    let place = (diagnostic.what.line, diagnostic.what.column);
                    notes.errors.push((place, describe_as("error", &diagnostic.what)));
                }
                Severity::Warning => notes.warnings.push(describe_as("warning", &diagnostic.what)),
            }
        }
        notes.warnings.extend(binding.alerts.iter().map(|alert| {
            format!("{} (if that is meant: rfctl label release {} {})", alert.message, catalog.database, alert.name)
        }));
        for record in &binding.new_records {
            let (Some(relation), Some(column)) =
                (catalog.by_oid(record.column.relation), catalog.column(record.column))
            else {
                continue;
            };
            notes.new_records.push(Recorded {
                table_oid: record.column.relation,
                attnum: record.column.attnum,
                label: record.label.to_string(),
                table_name: format!("{}.{}", relation.schema, relation.name),
                column_name: column.name.to_string(),
            });
        }
        let labelled_columns = catalog
            .relations()
            .iter()
            .filter(|r| !r.system)
            .flat_map(|r| &r.columns)
            .filter(|c| c.label.is_some())
            .count();
        let catalog = Arc::new(catalog);
        let default_login: Arc<str> = Arc::from(default_login);
        let worlds = policy
            .login_names(&default_login)
            .into_iter()
            .map(|login| {
                let world = World::new(catalog.clone(), policy.version, Arc::from(login.as_str()))
                    .following(changes.clone(), as_of);
                (login, Arc::new(world))
            })
            .collect();
        let snapshot = Self { policy, bare, epoch, worlds, default_login, catalog, labelled_columns };
        Ok((snapshot, notes))
    }

    /// What a session of this client goes by; `None` if the policy does not know the client.
    pub(super) fn view(&self, client: &str) -> Option<View> {
        let entry = self.policy.policy.client(client)?;
        let world = self.worlds.get(self.policy.login_name(client, &self.default_login))?;
        Some(View { world: world.clone(), client: entry.policy.clone() })
    }

    /// The server's catalog was found unchanged, with the first `count` changes in it.
    pub(super) fn compared(&self, count: u64) {
        self.worlds.values().for_each(|world| world.compared(count));
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.bare.marks
    }

    pub(super) fn names(&self) -> Vec<(u64, Names)> {
        let names = Names { catalog: self.catalog.clone(), labels: self.policy.policy.labels().clone() };
        self.worlds.values().map(|world| (world.id, names.clone())).collect()
    }

    pub(super) fn server_version(&self) -> u32 {
        self.catalog.server_version
    }

    pub(super) fn relations(&self) -> usize {
        self.catalog.relations().len()
    }
}
