//! What is reached without a column reference: by a relation's mere name, by what is stored, by merged names and by
//! positions.

use super::Resolved;
use crate::arbiter::seen::{Place, StoreColumn, Value};
use crate::catalog::{ColumnId, Relation, RelationKind};
use crate::facts::{Access, Kind, Predicate, Rule};
use crate::found::{Candidate, Found, OpenStore};
use crate::reach::Why;

impl<'a> Resolved<'_, 'a, '_> {
    /// What the mere name of a relation means: views, COPY, DDL.
    pub(super) fn whole_relation(&self, at: usize, found: &mut Found) {
        let Some(relation) = self.seen.relations.get(at) else {
            return;
        };
        let index = self.index;
        for candidate in self.candidates.get(at).into_iter().flatten() {
            if candidate.system && !matches!(relation.access, Access::Read | Access::Lock) {
                found.other(Rule::Admin, "write to a system catalog", relation.position);
            }
            if &*candidate.schema == "pg_toast" && relation.access == Access::Read {
                found.other(Rule::Statistics, "toast table", relation.position);
            }
            self.set_off(at, candidate, found);
            let Some(reach) = index.of(candidate.oid) else {
                continue;
            };
            for (id, label) in reach.view_for(relation.access) {
                found.violation(*id, *label, Place::of(Rule::View, "view"), relation.position);
            }
            // A plan prints the conditions of the view, constants and all, and what the server expects of them.
            if self.seen.kind == Kind::Explain && candidate.kind == RelationKind::View && !candidate.system {
                for column in &reach.below {
                    found.filter(*column, Predicate::Any, "EXPLAIN", relation.position);
                }
            }
            if let Some(opaque) = &reach.opaque {
                let construct = format!("view {} (function {opaque})", candidate.name);
                found.other(Rule::View, &construct, relation.position);
            }
            let rule = match (self.seen.kind, relation.access) {
                (Kind::CopyOut, Access::Read) if self.seen.copy_table.is_some() => Place::of(Rule::Copy, "COPY"),
                (Kind::CopyIn, Access::Insert) => Place::of(Rule::Copy, "COPY"),
                (Kind::CreateTableAs, Access::Ddl) => continue,
                (_, Access::Ddl) => Place::of(Rule::Ddl, self.seen.verb),
                _ => continue,
            };
            // COPY of a table: what it does not list is not sent, and the server names the rest (soundness 12).
            let listed = self.seen.copy_table.as_deref().filter(|_| self.seen.kind == Kind::CopyOut);
            for marked in &reach.columns {
                if listed.is_some_and(|names| !names.is_empty() && !names.contains(&&*marked.name)) {
                    continue;
                }
                match marked.why {
                    Why::Label(label) if listed.is_some() => found.output(marked.id, label),
                    Why::Label(label) => found.violation(marked.id, label, rule, relation.position),
                    Why::Row(id, label) => found.violation(id, label, rule, relation.position),
                    Why::Text => found.catalog_text(marked.id, relation.position),
                }
            }
        }
    }

    /// What a write sets off that can hand out labelled values as its result: rules, and defaults that call functions.
    fn set_off(&self, at: usize, candidate: &Relation, found: &mut Found) {
        let Some(relation) = self.seen.relations.get(at) else { return };
        let inserts = match relation.access {
            Access::Insert => true,
            Access::Update => self.seen.merge_inserts,
            Access::Delete => false,
            Access::Read | Access::Ddl | Access::Lock => return,
        };
        let tells = |oid: u32| {
            let function = self.catalog.all_functions().find(|f| f.oid == oid);
            function.is_none_or(|f| crate::bodies::may_tell(f, self.catalog))
        };
        for reached in candidate.asks.iter().map(|oid| self.catalog.reached(*oid)) {
            // The row is refused, changed or left out by what it finds.
            let construct =
                format!("a constraint or trigger condition of {} (function {})", candidate.name, reached.name);
            for hit in &reached.columns {
                found.filter(*hit, Predicate::Any, &construct, relation.position);
            }
        }
        if candidate.ruled {
            let place = Place::of(Rule::View, "rule");
            for reach in candidate.write_reaches.iter().filter_map(|oid| self.index.of(*oid)) {
                for marked in &reach.columns {
                    if let Why::Label(label) | Why::Row(_, label) = marked.why {
                        found.violation(marked.id, label, place, relation.position);
                    }
                }
                for (id, label) in reach.view.iter().chain(&reach.below) {
                    found.violation(*id, *label, place, relation.position);
                }
            }
            if candidate.calls.iter().any(|oid| tells(*oid)) {
                found.other(Rule::View, "rule that calls a function", relation.position);
            }
        }
        // A view passes on what is written to it; which of its columns are whose is not asked.
        let below = candidate.reads.iter().filter_map(|oid| self.catalog.by_oid(*oid));
        if inserts && below.flat_map(|r| &r.default_calls).any(|(_, function)| tells(*function)) {
            found.other(Rule::Function, "default of a column under the view", relation.position);
        }
        for (attnum, function) in &candidate.default_calls {
            let Some(index) = candidate.columns.iter().position(|c| c.attnum == *attnum) else { continue };
            let name = candidate.columns.get(index).map_or("", |c| &c.name);
            let mut given = false;
            let mut default = false;
            for store in self.seen.stores.iter().filter(|store| store.relation == at) {
                let meant = match store.column {
                    StoreColumn::Named(column) => column == name,
                    StoreColumn::At(column) => column == index,
                    StoreColumn::All => true,
                };
                // A star may bring fewer columns; a MERGE has several lists.
                given |= meant && !matches!(store.column, StoreColumn::All) && !self.seen.merge_inserts;
                default |= meant && store.value == Value::Default;
            }
            if (default || (inserts && !given)) && tells(*function) {
                let construct = format!("default of column {name}");
                found.other(Rule::Function, &construct, relation.position);
            }
        }
    }

    pub(super) fn merges(&self, found: &mut Found) {
        for merge in &self.seen.merges {
            for name in &merge.names {
                for hit in self.tainted(name) {
                    if matches!(hit.1, Why::Label(_) | Why::Row(..)) && !found.merges.contains(&hit) {
                        found.merges.push(hit);
                    }
                }
            }
            if !merge.natural || !self.any_hot_in(merge.relations.clone()) {
                continue;
            }
            // Which columns it compares is settled when it runs: only of relations that no client can replace or change
            // is it known before.
            let settled =
                |relation: &Relation| !relation.temporary && !self.catalog.client_roles.contains(&relation.owner);
            let plain = merge.relations.clone().all(|at| {
                self.seen.relations.get(at).is_some_and(|r| r.cte.is_none() && r.schema.is_some())
                    && !self.is_fresh(at)
                    && self.candidates.get(at).is_some_and(|c| !c.is_empty() && c.iter().all(|r| settled(r)))
            }) && self.seen.items.iter().all(|item| item.base && item.names.is_empty());
            for (id, why) in self.under(merge.relations.clone()) {
                let (Why::Label(label) | Why::Row(_, label)) = why else {
                    continue;
                };
                let shared = !plain || {
                    let name = self.catalog.column(id).map(|c| &*c.name);
                    let holders = merge.relations.clone().filter(|at| {
                        self.candidates
                            .get(*at)
                            .is_some_and(|found| found.iter().any(|r| name.is_some_and(|n| r.column(n).is_some())))
                    });
                    holders.count() > 1
                };
                if shared {
                    found.filter((id, label), Predicate::Any, "NATURAL JOIN", usize::MAX);
                }
            }
        }
    }

    pub(super) fn ordinals(&self, found: &mut Found) {
        for ordinal in &self.seen.ordinals {
            let place = Place::filter(ordinal.construct);
            for (at, column) in ordinal.columns.iter().filter_map(|at| Some((*at, self.seen.columns.get(*at)?))) {
                let mut reached = Found::default();
                self.column(at, column, &mut reached);
                for candidate in reached.candidates {
                    found.ordinals.push(Candidate { position: ordinal.position, place, ..candidate });
                }
                let text = self.named(column).iter().any(|(_, why)| *why == Why::Text);
                if text {
                    found.other(Rule::CatalogText, ordinal.construct, ordinal.position);
                }
            }
        }
    }

    pub(super) fn stores(&self, found: &mut Found) {
        for store in &self.seen.stores {
            for marked in self.marked(store.relation) {
                let meant = match store.column {
                    StoreColumn::Named(name) => name == &*marked.name,
                    StoreColumn::At(index) => index == marked.index,
                    StoreColumn::All => true,
                };
                if !meant {
                    continue;
                }
                let label = match marked.why {
                    Why::Label(label) => label,
                    Why::Row(id, label) => {
                        let place = Place::of(Rule::StoredExpression, "value of a row type");
                        found.violation(id, label, place, store.position);
                        continue;
                    }
                    Why::Text => continue,
                };
                if self.seen.kind == Kind::Explain {
                    found.filter((marked.id, label), Predicate::Any, "EXPLAIN", store.position);
                    continue;
                }
                if store.value != Value::Default && self.is_constrained(marked.id) {
                    // Whether the row was taken tells whether the value was there, or is there elsewhere.
                    found.filter((marked.id, label), Predicate::Equality, "a constraint", store.position);
                }
                match store.value {
                    Value::Parameter(number) => {
                        found.stored(marked.id, label, store.access);
                        let parameter = (number, marked.id, label);
                        if !found.parameters.contains(&parameter) {
                            found.parameters.push(parameter);
                        }
                    }
                    Value::Literal { token: true } => {
                        let place = Place::of(Rule::WrittenToken, "written token");
                        found.violation(marked.id, label, place, store.position);
                    }
                    Value::Literal { token: false } | Value::Default => found.stored(marked.id, label, store.access),
                    // Of unlabelled columns, or another expression: the lineage knows.
                    Value::Column | Value::Other => found.stores.push(OpenStore {
                        relation: store.relation,
                        column: marked.id,
                        label,
                        access: store.access,
                        position: store.position,
                    }),
                }
            }
        }
    }

    /// A constraint compares what is written to the column.
    fn is_constrained(&self, id: ColumnId) -> bool {
        self.catalog.by_oid(id.relation).is_some_and(|relation| relation.constrained.contains(&id.attnum))
    }
}
