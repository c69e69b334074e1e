//! Places where the database itself copies a protected column to one that is not, or answers questions about it.

use std::collections::BTreeSet;

use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::{Catalog, ColumnId, LabelId, Relation, builtin};
use ringfence_policy::{Binding, Policy};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::Finding;

/// What a finding is about.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// `schema.table.column`
    pub(super) columns: Vec<String>,
    pub(super) labels: Vec<String>,
}

pub(super) async fn find(
    client: &Client,
    catalog: &Catalog,
    policy: &Policy,
    binding: &Binding,
) -> Result<Vec<Finding>, Error> {
    let mut places = Places { catalog, policy, found: Vec::new() };
    places.views(binding);
    places.columns(binding);
    places.functions();
    places.objects(client).await?;
    Ok(places.found)
}

struct Places<'a> {
    catalog: &'a Catalog,
    policy: &'a Policy,
    found: Vec<Finding>,
}

/// (kind, what it does, what to do) of the objects that the server lists.
const KINDS: &[(&str, &str, &str)] = &[
    (
        "index",
        "is led by a labelled column and holds others: an index scan returns those in its order",
        "lead the index by another column, or keep the labelled one in an index of its own",
    ),
    (
        "expression index",
        "keeps what an expression makes of a labelled column, and ANALYZE keeps statistics of it",
        "make sure that nothing of it can be read back: drop it before the column is sealed",
    ),
    (
        "partial index",
        "is chosen by a labelled column: which rows it holds, and how fast it answers, tells of it",
        "use a predicate over other columns",
    ),
    (
        "check",
        "compares a labelled column: a write that it refuses tells of the value written",
        "that is harmless unless the comparison involves something that clients control",
    ),
    (
        "domain",
        "checks values of a labelled column: a write that it refuses tells of the value written",
        "that is harmless unless the check involves something that clients control",
    ),
    (
        "policy",
        "compares a labelled column: which rows are seen may answer questions about it",
        "make sure that it compares with nothing that clients control (settings, function arguments)",
    ),
    ("trigger condition", "has a WHEN over a labelled column", "make sure that what it does is not seen by clients"),
    (
        "statistics",
        "keeps combined values of a labelled column",
        "drop it, or leave the column out: planners rarely need it",
    ),
    (
        "rule",
        "names a labelled column, and turns writes into other statements: the firewall refuses those to restricted clients",
        "use a trigger instead, which clients cannot read through",
    ),
    (
        "publication",
        "sends a labelled column to its subscribers, past the firewall",
        "publish the other columns only, or protect the subscriber as well",
    ),
];

impl Places<'_> {
    fn name(&self, column: ColumnId) -> String {
        match (self.catalog.by_oid(column.relation), self.catalog.column(column)) {
            (Some(relation), Some(column)) => format!("{}.{}.{}", relation.schema, relation.name, column.name),
            _ => String::from("?"),
        }
    }

    fn add(&mut self, kind: &'static str, name: &str, columns: &[(ColumnId, LabelId)], what: &str, help: &str) {
        let names: BTreeSet<String> = columns.iter().map(|(column, _)| self.name(*column)).collect();
        let labels: BTreeSet<&str> = columns.iter().map(|(_, label)| self.policy.label_name(*label)).collect();
        let named: Vec<&str> = names.iter().map(String::as_str).collect();
        let labelled: Vec<&str> = labels.iter().copied().collect();
        let message = format!("{kind} {name} {what}: {} (label {})", named.join(", "), labelled.join(", "));
        let mut finding = Finding::warning(message, help);
        finding.object = Some(Object {
            kind,
            name: name.to_owned(),
            labels: labelled.into_iter().map(str::to_owned).collect(),
            columns: names.into_iter().collect(),
        });
        self.found.push(finding);
    }

    fn labelled(&self, relation: &Relation) -> Vec<(ColumnId, LabelId)> {
        let of = |attnum| ColumnId { relation: relation.oid, attnum };
        relation.columns.iter().filter_map(|c| Some((of(c.attnum), c.label?))).collect()
    }

    fn views(&mut self, binding: &Binding) {
        for view in &binding.opaque_views {
            let message = format!(
                "view {} reads labelled columns and is refused as a whole to restricted clients: {}",
                view.name, view.reason
            );
            let mut finding = Finding::warning(
                message,
                "make its query plainer, or let restricted clients query the tables themselves",
            );
            finding.object =
                Some(Object { kind: "view", name: view.name.clone(), columns: Vec::new(), labels: Vec::new() });
            self.found.push(finding);
        }
        let views = self.catalog.relations().iter().filter(|r| !r.system && r.kind == RelationKind::MaterializedView);
        for view in views.cloned().collect::<Vec<_>>() {
            let columns = self.labelled(&view);
            if !columns.is_empty() {
                let name = format!("{}.{}", view.schema, view.name);
                self.add(
                    "materialised view",
                    &name,
                    &columns,
                    "holds copies of labelled columns (its columns have their labels)",
                    "refresh it after a column is sealed; drop it if nobody needs it",
                );
            }
        }
    }

    /// Generated columns, defaults and foreign keys.
    fn columns(&mut self, binding: &Binding) {
        let catalog = self.catalog;
        for relation in catalog.relations().iter().filter(|r| !r.system) {
            let of = |attnum| ColumnId { relation: relation.oid, attnum };
            let labels = self.labelled(relation);
            let label_of = |attnum| labels.iter().find(|(column, _)| column.attnum == attnum).copied();
            let mut generated: BTreeSet<i16> = BTreeSet::new();
            for (own, source) in &relation.generated {
                if let Some(source) = label_of(*source)
                    && generated.insert(*own)
                {
                    let taken = match label_of(*own) {
                        Some((_, label)) => format!("and has label {}", self.policy.label_name(label)),
                        None => String::from("and has no label"),
                    };
                    let name = self.name(of(*own));
                    self.add(
                        "generated column",
                        &name,
                        &[source],
                        &format!("is computed from a labelled column {taken}"),
                        "name it under `columns:` if another label fits better",
                    );
                }
            }
            for (own, target, attnum) in &relation.references {
                let target = ColumnId { relation: *target, attnum: *attnum };
                let label = catalog.column(target).and_then(|c| c.label);
                if let Some(label) = label
                    && !binding.declared.contains(&of(*own))
                {
                    let name = self.name(of(*own));
                    self.add(
                        "foreign key",
                        &name,
                        &[(target, label)],
                        "references a labelled column and takes its label",
                        "name the column under `columns:`, with the same label",
                    );
                }
            }
            for (own, function) in &relation.default_calls {
                let reached = catalog.reached(*function);
                let columns = protected(&reached.columns);
                if !columns.is_empty() && label_of(*own).is_none() {
                    let name = self.name(of(*own));
                    self.add(
                        "default",
                        &name,
                        &columns,
                        &format!(
                            "calls function {}, which reads labelled columns into a column without a label",
                            reached.name
                        ),
                        "give the column a label, or compute the value elsewhere",
                    );
                }
            }
        }
    }

    fn functions(&mut self) {
        let catalog = self.catalog;
        let mut all: Vec<_> = catalog.all_functions().collect();
        all.sort_by(|a, b| (&a.schema, &a.name, a.oid).cmp(&(&b.schema, &b.name, b.oid)));
        for function in all {
            let name = format!("{}.{}", function.schema, function.name);
            if catalog.declassifies(function) {
                if catalog.client_roles.contains(&function.owner) {
                    self.found.push(Finding::warning(
                        format!("function {name} is declassified, and belongs to a login that clients use: they may be able to replace it"),
                        "give it to an owner that no client can act as",
                    ));
                }
                continue;
            }
            let columns = protected(&catalog.reached(function.oid).columns);
            if !columns.is_empty() {
                self.add(
                    "function",
                    &name,
                    &columns,
                    "reads labelled columns: it is refused to clients who do not see them in plain",
                    "list it under `declassify: { functions: [...] }` if what it returns gives nothing away",
                );
            }
        }
    }

    /// What the server knows to depend on labelled columns, and triggers.
    async fn objects(&mut self, client: &Client) -> Result<(), Error> {
        let (mut tables, mut attnums): (Vec<u32>, Vec<i16>) = (Vec::new(), Vec::new());
        for relation in self.catalog.relations().iter().filter(|r| !r.system) {
            for (column, _) in self.labelled(relation) {
                tables.push(column.relation);
                attnums.push(column.attnum);
            }
        }
        if tables.is_empty() {
            return Ok(());
        }
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&tables, Type::OID_ARRAY), (&attnums, Type::INT2_ARRAY)];
        for row in client.query_typed(OBJECTS, &parameters).await? {
            let (kind, object, relation, attnums): (String, String, u32, Vec<i16>) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            let label = |attnum: i16| {
                let column = ColumnId { relation, attnum };
                Some((column, self.catalog.column(column)?.label?))
            };
            let columns: Vec<(ColumnId, LabelId)> = attnums.into_iter().filter_map(label).collect();
            if let Some((kind, what, help)) = KINDS.iter().find(|(known, _, _)| *known == kind) {
                self.add(kind, &object, &columns, what, help);
            }
        }
        for row in client.query_typed(TRIGGERS, &parameters[..1]).await? {
            let (name, relation, function): (String, u32, u32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            self.trigger(&name, relation, function);
        }
        Ok(())
    }

    /// A trigger whose function names labelled columns of its row and can put them elsewhere.
    fn trigger(&mut self, name: &str, relation: u32, function: u32) {
        let catalog = self.catalog;
        let Some(relation) = catalog.by_oid(relation) else { return };
        let body = catalog.all_functions().find(|f| f.oid == function);
        let labelled = self.labelled(relation);
        let readable = body.filter(|f| matches!(&*f.language, "plpgsql" | "sql")).and_then(|f| f.body.as_deref());
        let Some(text) = readable else {
            self.add(
                "trigger",
                name,
                &labelled,
                "runs a function that cannot be read on rows with labelled columns",
                "make sure that it stores them nowhere else",
            );
            return;
        };
        let text = text.to_lowercase();
        let words: BTreeSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).collect();
        let elsewhere = ["insert", "update", "merge", "copy", "execute", "notify", "pg_notify", "raise", "dblink_exec"];
        if !elsewhere.iter().any(|word| words.contains(word)) {
            return;
        }
        // `NEW` without a column is the whole row.
        let whole = ["new", "old"].iter().any(|row| {
            text.match_indices(row).any(|(at, _)| {
                let before = text.get(..at).and_then(|t| t.chars().next_back());
                let after = text.get(at + row.len()..).unwrap_or_default();
                let alone = !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                    && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                // The usual end of a trigger.
                let returned = text.get(..at).is_some_and(|t| t.trim_end().ends_with("return"));
                alone && !returned && (!after.trim_start().starts_with('.') || after.trim_start().starts_with(".*"))
            })
        });
        let named = |(column, _): &(ColumnId, LabelId)| {
            whole
                || words.contains("execute")
                || catalog.column(*column).is_some_and(|c| words.contains(&*c.name.to_lowercase()))
        };
        let columns: Vec<(ColumnId, LabelId)> = labelled.into_iter().filter(named).collect();
        if !columns.is_empty() {
            let to: BTreeSet<&str> = catalog
                .relations()
                .iter()
                .filter(|r| {
                    !r.system && r.oid != relation.oid && !matches!(r.kind, RelationKind::Index | RelationKind::Toast)
                })
                .filter(|r| words.contains(&*r.name.to_lowercase()))
                .map(|r| &*r.name)
                .collect();
            let to = if to.is_empty() {
                String::from("elsewhere")
            } else {
                format!("to {}", to.into_iter().collect::<Vec<_>>().join(", "))
            };
            self.add(
                "trigger",
                name,
                &columns,
                &format!("may copy labelled columns {to}"),
                "label the columns that it writes, or leave these out of what it writes",
            );
        }
    }
}

/// Without the built-in labels: what describes the server is no copy of a protected column.
fn protected(columns: &[(ColumnId, LabelId)]) -> Vec<(ColumnId, LabelId)> {
    columns.iter().filter(|(_, label)| usize::from(label.0) >= builtin::NAMES.len()).copied().collect()
}

/// Triggers on relations ($1): (name, relation, function).
const TRIGGERS: &str = "SELECT t.tgname::text || ' of ' || t.tgrelid::regclass::text, t.tgrelid, t.tgfoid FROM pg_catalog.pg_trigger t \
    WHERE NOT t.tgisinternal AND t.tgrelid = ANY ($1) ORDER BY 1";

/// Objects that depend on columns ($1, $2): (kind, name, relation, columns).
const OBJECTS: &str = "WITH l (r, a) AS (SELECT * FROM unnest($1::oid[], $2::int2[])), \
    depends AS (SELECT d.classid, d.objid, l.r, l.a FROM l JOIN pg_catalog.pg_depend d \
        ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = l.r AND d.refobjsubid = l.a), \
    found (kind, object, r, a) AS ( \
    SELECT 'index', i.indexrelid::regclass::text, l.r, l.a FROM pg_catalog.pg_index i JOIN l ON l.r = i.indrelid AND l.a = i.indkey[0] \
        WHERE i.indnatts > 1 AND EXISTS (SELECT 1 FROM generate_series(1, i.indnatts - 1) k \
            WHERE NOT EXISTS (SELECT 1 FROM l m WHERE m.r = i.indrelid AND m.a = i.indkey[k])) \
    UNION SELECT 'expression index', i.indexrelid::regclass::text, d.r, d.a FROM pg_catalog.pg_index i \
        JOIN depends d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid AND d.r = i.indrelid \
        WHERE i.indexprs IS NOT NULL AND NOT d.a = ANY (i.indkey::int2[]) \
    UNION SELECT 'partial index', i.indexrelid::regclass::text, d.r, d.a FROM pg_catalog.pg_index i \
        JOIN depends d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid AND d.r = i.indrelid \
        WHERE i.indpred IS NOT NULL AND (i.indexprs IS NULL OR d.a = ANY (i.indkey::int2[])) \
            AND pg_catalog.pg_get_expr(i.indpred, i.indrelid) ~ (SELECT '\\m' || a.attname || '\\M' FROM pg_catalog.pg_attribute a WHERE a.attrelid = d.r AND a.attnum = d.a) \
    UNION SELECT 'check', c.conname::text || ' of ' || c.conrelid::regclass::text, l.r, l.a FROM pg_catalog.pg_constraint c \
        JOIN l ON l.r = c.conrelid AND l.a = ANY (c.conkey) WHERE c.contype = 'c' \
    UNION SELECT 'domain', t.oid::regtype::text, l.r, l.a FROM l JOIN pg_catalog.pg_attribute a ON a.attrelid = l.r AND a.attnum = l.a \
        JOIN pg_catalog.pg_class c ON c.oid = l.r AND c.relkind IN ('r', 'p', 'f') \
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid) \
    UNION SELECT 'policy', p.polname::text || ' of ' || p.polrelid::regclass::text, d.r, d.a FROM pg_catalog.pg_policy p \
        JOIN depends d ON d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid \
    UNION SELECT 'trigger condition', t.tgname::text || ' of ' || t.tgrelid::regclass::text, d.r, d.a FROM pg_catalog.pg_trigger t \
        JOIN depends d ON d.classid = 'pg_catalog.pg_trigger'::regclass AND d.objid = t.oid WHERE t.tgqual IS NOT NULL AND NOT t.tgisinternal \
    UNION SELECT 'statistics', s.stxnamespace::regnamespace::text || '.' || s.stxname::text, d.r, d.a FROM pg_catalog.pg_statistic_ext s \
        JOIN depends d ON d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND d.objid = s.oid \
    UNION SELECT 'rule', r.rulename::text || ' of ' || r.ev_class::regclass::text, d.r, d.a FROM pg_catalog.pg_rewrite r \
        JOIN depends d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid WHERE r.rulename <> '_RETURN' \
    UNION SELECT 'publication', p.pubname::text, l.r, l.a FROM pg_catalog.pg_publication_tables p \
        JOIN pg_catalog.pg_class c ON c.relname = p.tablename \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname JOIN l ON l.r = c.oid) \
    SELECT kind, object, r, array_agg(a ORDER BY a) FROM found GROUP BY kind, object, r ORDER BY 1, 2";
