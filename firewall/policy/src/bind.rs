//! Lays a policy over a catalog snapshot: which column has which label, and what in the policy does not fit.
//!
//! A column is labelled if the classification names it, if a record says that it once was (soundness 11), or if a
//! labelled value can reach it through the schema: inheritance and partitions (by column name), a foreign key, a column
//! whose type is a labelled relation's row, a generated column, and the columns of views (`views`).

mod views;

use std::collections::{HashMap, HashSet};

use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::{Catalog, ColumnId, LabelId, Relation, builtin};

use crate::Handling;
use crate::carry::carrier;
use crate::error::{ConfigError, Place, closest};
use crate::policy::{Policy, TableEntry};

/// A label as the control schema keeps it. It stays when columns are renamed or detached, until it is released.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub column: ColumnId,
    pub label: Box<str>,
}

/// What laying the policy over one database brought up.
#[derive(Debug, Default)]
pub struct Binding {
    /// Mistakes and warnings, with places in the classification, in its order.
    pub diagnostics: Vec<Diagnostic>,
    /// Disagreements between the classification and the records. Such columns keep the stricter reading.
    pub alerts: Vec<Alert>,
    /// Labels that no record has yet: to be kept.
    pub new_records: Vec<Record>,
    /// Columns that the classification itself names.
    pub declared: HashSet<ColumnId>,
    /// Views over labelled columns whose own columns cannot be told apart: refused as a whole.
    pub opaque_views: Vec<OpaqueView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The classification does not fit this database.
    Error,
    /// It fits, but does something that may not be meant.
    Warning,
}

#[derive(Debug, Clone)]
pub struct Diagnostic {
    pub severity: Severity,
    pub what: ConfigError,
}

/// A column whose label by name and label by record differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub column: ColumnId,
    /// `schema.table.column`
    pub name: String,
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// A view that only those may read who see everything under it in plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpaqueView {
    /// `schema.view`
    pub name: String,
    /// Why (`its query compares email with more than constants`).
    pub reason: String,
}

/// Two labels met in one column: nobody who is restricted may have it.
const CONTESTED: LabelId = builtin::STATISTICS;

/// Sets every column's label in `catalog` and every relation's `unclassified`.
pub fn bind(policy: &Policy, catalog: &mut Catalog, records: &[Record]) -> Binding {
    let mut binding = Binding::default();
    let mut labels = Labels::default();
    let mut classified = HashSet::new();

    for entry in entries(policy, &catalog.database) {
        match find(catalog, entry) {
            Ok(relation) => {
                classified.insert(relation.oid);
                declare(policy, relation, entry, &mut labels, &mut binding.diagnostics);
            }
            Err((message, fix)) => binding
                .diagnostics
                .push(Diagnostic { severity: Severity::Error, what: policy.error_at(entry.at, message, fix) }),
        }
    }
    binding.declared = labels.of.keys().copied().collect();
    labels.spread(catalog, policy, &mut binding.diagnostics);
    remember(policy, catalog, records, &mut labels, &mut binding);
    // What a record labels spreads as well.
    labels.spread(catalog, policy, &mut binding.diagnostics);

    note_records(policy, &labels, records, &mut binding);
    unfit_types(policy, catalog, &labels, &mut binding.diagnostics);
    apply(policy, catalog, &labels, &classified);
    catalog.declassified = policy.declassify.functions.iter().map(|name| name.as_str().into()).collect();
    catalog.declassified_aggregates = policy.declassify.aggregates.iter().map(|name| name.as_str().into()).collect();
    catalog.settle();
    if policy.has_labels() {
        views::settle(policy, catalog, &labels, &mut binding);
        // Functions that read views are known better now, and what calls them.
        catalog.settle();
    }
    binding.diagnostics.sort_by_key(|d| (d.what.line, d.what.column, d.severity));
    binding
}

fn entries<'p>(policy: &'p Policy, database: &str) -> impl Iterator<Item = &'p TableEntry> {
    policy.tables.iter().filter(move |entry| entry.database.as_deref().is_none_or(|name| name == database))
}

/// Labels on their way into the catalog.
#[derive(Default)]
struct Labels {
    of: HashMap<ColumnId, Label>,
}

#[derive(Clone, Copy)]
struct Label {
    label: LabelId,
    /// Where the classification says so, or the place of the entry that it was spread from.
    at: Place,
}

impl Labels {
    fn get(&self, column: ColumnId) -> Option<Label> {
        self.of.get(&column).copied()
    }

    /// Spreads labels until nothing changes. Each round can only add labels, or make one contested.
    fn spread(&mut self, catalog: &Catalog, policy: &Policy, diagnostics: &mut Vec<Diagnostic>) {
        let rows: HashMap<u32, u32> =
            catalog.relations().iter().filter(|r| !r.system && r.row_type != 0).map(|r| (r.row_type, r.oid)).collect();
        loop {
            let mut changed = false;
            for relation in catalog.relations().iter().filter(|r| !r.system) {
                for parent in relation.parents.iter().filter_map(|&oid| catalog.by_oid(oid)) {
                    changed |= self.spread_between(relation, parent, policy, diagnostics);
                }
                for &(own, target, attnum) in &relation.references {
                    let own = ColumnId { relation: relation.oid, attnum: own };
                    if let (None, Some(label)) = (self.get(own), self.get(ColumnId { relation: target, attnum })) {
                        self.of.insert(own, label);
                        changed = true;
                    }
                }
                changed |= self.spread_to_rows(relation, catalog, &rows);
                changed |= self.spread_to_generated(relation, policy);
            }
            if !changed {
                return;
            }
        }
    }

    /// Columns of one name in a parent and its child have one label.
    fn spread_between(
        &mut self,
        child: &Relation,
        parent: &Relation,
        policy: &Policy,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let mut changed = false;
        for column in &child.columns {
            let Some(above) = parent.column(&column.name) else { continue };
            let below = ColumnId { relation: child.oid, attnum: column.attnum };
            let above = ColumnId { relation: parent.oid, attnum: above.attnum };
            match (self.get(below), self.get(above)) {
                (Some(label), None) => changed |= self.of.insert(above, label).is_none(),
                (None, Some(label)) => changed |= self.of.insert(below, label).is_none(),
                (Some(a), Some(b)) if a.label != b.label => {
                    if a.label != CONTESTED && b.label != CONTESTED {
                        diagnostics.push(Diagnostic {
                            severity: Severity::Error,
                            what: policy.error_at(
                                a.at.max(b.at),
                                format!(
                                    "column {} has label {} in {}.{} and label {} in its parent {}.{}",
                                    column.name,
                                    policy.label_name(a.label),
                                    child.schema,
                                    child.name,
                                    policy.label_name(b.label),
                                    parent.schema,
                                    parent.name
                                ),
                                Some(String::from("give both the same label, or label only one of them")),
                            ),
                        });
                    }
                    for column in [below, above] {
                        let at = self.get(column).map(|l| l.at).unwrap_or_default();
                        self.of.insert(column, Label { label: CONTESTED, at });
                    }
                    changed = true;
                }
                _ => {}
            }
        }
        changed
    }

    /// A column that the database computes from labelled ones. A label that the classification gives it counts.
    fn spread_to_generated(&mut self, relation: &Relation, policy: &Policy) -> bool {
        let mut changed = false;
        for &(own, source) in &relation.generated {
            let own = ColumnId { relation: relation.oid, attnum: own };
            let Some(source) = self.get(ColumnId { relation: relation.oid, attnum: source }) else { continue };
            let computed = policy.computed(source.label);
            let label = match self.get(own) {
                None => computed,
                // Computed from two labels.
                Some(label) if policy.is_computed(label.label) && label.label != computed => CONTESTED,
                Some(_) => continue,
            };
            self.of.insert(own, Label { label, at: source.at });
            changed = true;
        }
        changed
    }

    /// A column that holds another relation's whole rows. `rows`: relations by row type.
    fn spread_to_rows(&mut self, relation: &Relation, catalog: &Catalog, rows: &HashMap<u32, u32>) -> bool {
        let mut changed = false;
        for column in &relation.columns {
            let id = ColumnId { relation: relation.oid, attnum: column.attnum };
            if column.type_oid < FIRST_USER_OID || self.get(id).is_some_and(|l| l.label == CONTESTED) {
                continue;
            }
            let row = catalog.row_types.get(&column.type_oid).copied().unwrap_or(column.type_oid);
            let Some(held) = rows.get(&row).and_then(|&oid| catalog.by_oid(oid)) else {
                continue;
            };
            let mut found =
                held.columns.iter().filter_map(|c| self.get(ColumnId { relation: held.oid, attnum: c.attnum }));
            let Some(first) = found.next() else { continue };
            let same = found.all(|l| l.label == first.label);
            let label = match self.get(id) {
                None if same => first.label,
                Some(own) if same && own.label == first.label => continue,
                _ => CONTESTED,
            };
            self.of.insert(id, Label { label, at: first.at });
            changed = true;
        }
        changed
    }
}

/// OIDs below are the server's own.
const FIRST_USER_OID: u32 = 16_384;

fn find<'c>(catalog: &'c Catalog, entry: &TableEntry) -> Result<&'c Relation, (String, Option<String>)> {
    let (schema, name) = (&*entry.schema, &*entry.name);
    let found = catalog.by_name(name).find(|relation| &*relation.schema == schema);
    let Some(relation) = found else {
        return Err((
            format!("there is no table {schema}.{name} in database \"{}\"", catalog.database),
            nearest(catalog, schema, name),
        ));
    };
    if relation.system {
        return Err((
            format!("{schema}.{name} is the server's own"),
            Some(String::from("remove it; system relations have built-in labels")),
        ));
    }
    match relation.kind {
        RelationKind::Table
        | RelationKind::PartitionedTable
        | RelationKind::View
        | RelationKind::MaterializedView
        | RelationKind::ForeignTable
        | RelationKind::CompositeType => Ok(relation),
        RelationKind::Sequence | RelationKind::Index | RelationKind::Toast => {
            Err((format!("{schema}.{name} is not a table"), None))
        }
    }
}

fn nearest(catalog: &Catalog, schema: &str, name: &str) -> Option<String> {
    let own = |relation: &&Relation| !relation.system && !relation.temporary;
    if let Some(elsewhere) = catalog.by_name(name).find(own) {
        return Some(format!("did you mean {}.{}?", elsewhere.schema, elsewhere.name));
    }
    let tables = || catalog.relations().iter().filter(own).filter(|r| table_like(r));
    if !tables().any(|r| &*r.schema == schema) {
        let schemas = tables().map(|r| &*r.schema);
        return closest(schema, schemas).map(|found| format!("there is no schema {schema}; did you mean {found}?"));
    }
    closest(name, tables().filter(|r| &*r.schema == schema).map(|r| &*r.name))
        .map(|found| format!("did you mean {schema}.{found}?"))
}

fn declare(
    policy: &Policy,
    relation: &Relation,
    entry: &TableEntry,
    labels: &mut Labels,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for declared in &entry.columns {
        let Some(column) = relation.column(&declared.name) else {
            let names = relation.columns.iter().map(|c| &*c.name);
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                what: policy.error_at(
                    declared.at,
                    format!("table {}.{} has no column {}", relation.schema, relation.name, declared.name),
                    crate::error::suggestion(&declared.name, names),
                ),
            });
            continue;
        };
        let id = ColumnId { relation: relation.oid, attnum: column.attnum };
        labels.of.insert(id, Label { label: declared.label, at: declared.at });
    }
}

/// Labels that columns had before: kept, and named where they differ from what the classification says now.
fn remember(policy: &Policy, catalog: &Catalog, records: &[Record], labels: &mut Labels, binding: &mut Binding) {
    for record in records {
        let (Some(relation), Some(column)) = (catalog.by_oid(record.column.relation), catalog.column(record.column))
        else {
            continue;
        };
        let name = format!("{}.{}.{}", relation.schema, relation.name, column.name);
        let fix = format!("if that is meant: rfctl label release {name}");
        let recorded = policy.label_id(&record.label).filter(|id| usize::from(id.0) >= builtin::NAMES.len());
        let now = labels.get(record.column);
        let message = match (now, recorded) {
            (Some(now), Some(recorded)) if now.label == recorded => continue,
            (Some(now), _) if now.label == CONTESTED => continue,
            (Some(now), _) => {
                let at = now.at;
                labels.of.insert(record.column, Label { label: CONTESTED, at });
                format!(
                    "column {name} has label {} by the classification and {} by its record: restricted clients are refused",
                    policy.label_name(now.label),
                    record.label
                )
            }
            (None, Some(recorded)) => {
                labels.of.insert(record.column, Label { label: recorded, at: Place::default() });
                format!(
                    "column {name} has no label by the classification and {} by its record, which counts",
                    record.label
                )
            }
            (None, None) => {
                labels.of.insert(record.column, Label { label: CONTESTED, at: Place::default() });
                format!(
                    "column {name} has label {} by its record, and the classification no longer has that label: restricted \
                     clients are refused",
                    record.label
                )
            }
        };
        binding.alerts.push(Alert { column: record.column, name, message, fix });
    }
}

fn note_records(policy: &Policy, labels: &Labels, records: &[Record], binding: &mut Binding) {
    let known: HashSet<ColumnId> = records.iter().map(|r| r.column).collect();
    binding.new_records.extend(
        labels
            .of
            .iter()
            .filter(|(column, label)| !known.contains(column) && label.label != CONTESTED)
            .map(|(&column, label)| Record { column, label: policy.label_name(label.label).into() }),
    );
    binding.new_records.sort();
}

/// Columns whose type cannot carry what some client's policy wants.
fn unfit_types(policy: &Policy, catalog: &Catalog, labels: &Labels, diagnostics: &mut Vec<Diagnostic>) {
    let severity = if policy.strict_types { Severity::Error } else { Severity::Warning };
    for (&id, label) in &labels.of {
        let (Some(relation), Some(column)) = (catalog.by_oid(id.relation), catalog.column(id)) else {
            continue;
        };
        let (carrier, _) = carrier(catalog, column.type_oid);
        let mut unfit: Vec<(&'static str, Vec<&str>)> = Vec::new();
        for (client, entry) in policy.clients() {
            let handling = entry.policy.handling(label.label);
            if carrier.carries(handling) {
                continue;
            }
            match unfit.iter_mut().find(|(name, _)| *name == handling.name()) {
                Some((_, clients)) => clients.push(client),
                None => unfit.push((handling.name(), vec![client])),
            }
        }
        for (handling, clients) in unfit {
            let message = format!(
                "column {}.{}.{} has type {}, which cannot carry {handling}: {} get NULL",
                relation.schema,
                relation.name,
                column.name,
                column.type_name,
                clients.join(", ")
            );
            let fix = format!(
                "give the clients {} for label {}, or change the column's type",
                Handling::Drop.name(),
                policy.label_name(label.label)
            );
            diagnostics.push(Diagnostic { severity, what: policy.error_at(label.at, message, Some(fix)) });
        }
    }
}

fn apply(policy: &Policy, catalog: &mut Catalog, labels: &Labels, classified: &HashSet<u32>) {
    let inherited: HashSet<u32> = catalog
        .relations()
        .iter()
        .filter(|relation| ancestors_named(catalog, relation, classified))
        .map(|relation| relation.oid)
        .collect();
    for relation in catalog.relations_mut() {
        relation.settled = false;
        let statements = &*relation.name == "pg_stat_statements";
        for column in &mut relation.columns {
            let id = ColumnId { relation: relation.oid, attnum: column.attnum };
            column.label = if relation.system || statements {
                builtin::label(&relation.name, &column.name)
            } else {
                labels.get(id).map(|l| l.label)
            };
        }
        let refuse = policy
            .unclassified
            .schemas
            .iter()
            .find(|(schema, _)| **schema == *relation.schema)
            .map_or(policy.unclassified.refuse, |(_, refuse)| *refuse);
        relation.unclassified = refuse
            && !relation.system
            && !relation.temporary
            && table_like(relation)
            && !classified.contains(&relation.oid)
            && !inherited.contains(&relation.oid);
    }
}

/// A partition of a table that somebody looked at is looked at.
fn ancestors_named(catalog: &Catalog, relation: &Relation, classified: &HashSet<u32>) -> bool {
    let mut above: Vec<u32> = relation.parents.clone();
    let mut seen = 0;
    while let Some(oid) = above.pop() {
        seen += 1;
        if classified.contains(&oid) {
            return true;
        }
        if seen > 1_000 {
            return false;
        }
        above.extend(catalog.by_oid(oid).map(|r| r.parents.clone()).unwrap_or_default());
    }
    false
}

fn table_like(relation: &Relation) -> bool {
    match relation.kind {
        RelationKind::Table
        | RelationKind::PartitionedTable
        | RelationKind::View
        | RelationKind::MaterializedView
        | RelationKind::ForeignTable => true,
        RelationKind::Sequence | RelationKind::Index | RelationKind::Toast | RelationKind::CompositeType => false,
    }
}
