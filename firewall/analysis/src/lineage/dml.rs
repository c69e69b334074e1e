//! INSERT, UPDATE and DELETE.

use std::rc::Rc;

use super::Lineage;
use super::names::folded;
use super::scope::{Column, Columns, Entry, Item, Scope};
use super::select::computed;
use super::store::{Store, Target};
use super::value::{Set, Value};
use crate::parse::ast::{
    ConflictTarget, Delete, DoUpdate, FromTable, Insert, OnConflict, OnConflictAction, OnInsert, Query, SelectItem,
    SetExpr, Statement, TableAliasWithoutColumns, TableObject, Update, UpdateTableFromKind,
};

impl Lineage<'_, '_, '_, '_> {
    /// The columns that it returns.
    pub(super) fn data_modifying(&mut self, statement: &Statement) -> Columns {
        if let Statement::Insert(insert) = statement {
            return self.insert(insert);
        }
        if let Statement::Update(update) = statement {
            return self.update(update);
        }
        if let Statement::Delete(delete) = statement {
            return self.delete(delete);
        }
        if let Statement::Merge(merge) = statement {
            return self.merge(merge);
        }
        self.broken = true;
        Columns::default()
    }

    fn insert(&mut self, insert: &Insert) -> Columns {
        let Insert {
            insert_token: _,
            optimizer_hints: _,
            or,
            ignore,
            into: _,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        self.broken |= or.is_some()
            || *ignore
            || *overwrite
            || !assignments.is_empty()
            || partitioned.is_some()
            || !after_columns.is_empty()
            || *has_table_keyword
            || output.is_some()
            || *replace_into
            || priority.is_some()
            || insert_alias.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        let TableObject::TableName(name) = table else {
            self.broken = true;
            return Columns::default();
        };
        let Some((relation, own_name)) = self.relation_at(name) else {
            self.broken = true;
            return Columns::default();
        };
        let store = Store { relation, updates: false, construct: "INSERT" };
        let targets: Vec<Target> = columns.iter().map(|column| self.target(column)).collect();
        let proposed = match source {
            Some(source) => self.insert_source(store, &targets, source),
            None => Vec::new(),
        };
        let alias: Rc<str> = match table_alias {
            Some(TableAliasWithoutColumns { explicit: _, alias }) => folded(alias).into(),
            None => own_name,
        };
        let item =
            Item { alias: Some(alias), columns: Rc::new(Columns(vec![Entry::Relation(relation)])), qualified: false };
        match on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => {
                self.on_conflict(relation, conflict, item.clone(), &targets, proposed);
            }
            // MySQL's; the second parser reserves the right to learn others.
            Some(_) => self.broken = true,
        }
        self.returning(returning.as_deref(), Scope::of(item), true)
    }

    /// Stores the source's rows; returns what is proposed for each column in order.
    fn insert_source(&mut self, store: Store, targets: &[Target], source: &Query) -> Vec<Value> {
        if let Query { with: None, body, order_by: None, limit_clause: None, fetch: None, .. } = source
            && let SetExpr::Values(values) = &**body
        {
            let mut proposed: Vec<Value> = Vec::new();
            for row in &values.rows {
                for (at, expr) in row.content.iter().enumerate() {
                    let value = self.value(expr);
                    let target = if targets.is_empty() { Some(Target::At(at)) } else { targets.get(at).cloned() };
                    if let Some(target) = target {
                        self.store(store, &target, &value);
                    }
                    match proposed.get_mut(at) {
                        None => proposed.push(value),
                        Some(known) if known.is_given() && value.is_given() => value.discarded(),
                        Some(known) => *known = std::mem::replace(known, computed()).either(value),
                    }
                }
            }
            return proposed;
        }
        let columns = self.query(source).passed();
        let proposed = match columns.listed() {
            Some(listed) => listed.into_iter().map(|column| column.value.clone()).collect(),
            None => Vec::new(),
        };
        self.store_columns(store, targets, columns);
        proposed
    }

    fn on_conflict(
        &mut self,
        relation: usize,
        conflict: &OnConflict,
        item: Item,
        targets: &[Target],
        proposed: Vec<Value>,
    ) {
        let OnConflict { conflict_target, action } = conflict;
        match conflict_target {
            // What the constraint compares is found by the target's name.
            None | Some(ConflictTarget::Columns(_) | ConflictTarget::OnConstraint(_)) => {}
        }
        let DoUpdate { assignments, selection } = match action {
            OnConflictAction::DoNothing => return,
            OnConflictAction::DoUpdate(update) => update,
        };
        let excluded = self.excluded(relation, targets, proposed);
        self.levels.push(Scope::of(item).beside(Scope::of(excluded)));
        self.assign(Store { relation, updates: true, construct: "SET" }, assignments);
        if let Some(condition) = selection {
            self.condition(condition, "ON CONFLICT");
        }
        self.levels.pop();
    }

    /// The row that could not be inserted: its columns hold what was proposed for them.
    fn excluded(&mut self, relation: usize, targets: &[Target], proposed: Vec<Value>) -> Item {
        let mut names: Vec<Option<Rc<str>>> = Vec::new();
        if targets.is_empty() {
            let columns = self.expanded(relation).unwrap_or_default();
            names.extend(columns.into_iter().map(|column| Some(column.name)));
        }
        for target in targets {
            names.push(match target {
                Target::Named(name) => Some(Rc::clone(name)),
                Target::At(_) | Target::Any | Target::Part(_) => None,
            });
        }
        let mut entries = Vec::new();
        let mut rest = Value::column(Set::new());
        for (at, value) in proposed.into_iter().enumerate() {
            match names.get(at).cloned().flatten() {
                Some(name) => entries.push(Entry::Named(Column { name, value })),
                None => rest = rest.either(value),
            }
        }
        // Others hold their defaults.
        entries.push(Entry::Open(rest));
        Item { alias: Some("excluded".into()), columns: Rc::new(Columns(entries)), qualified: true }
    }

    fn update(&mut self, update: &Update) -> Columns {
        let Update {
            update_token: _,
            optimizer_hints: _,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        self.broken |=
            output.is_some() || or.is_some() || !order_by.is_empty() || limit.is_some() || !table.joins.is_empty();
        let target = self.factor(&table.relation, &Scope::default());
        let Some(relation) = self.only_relation(&target) else {
            self.broken = true;
            return Columns::default();
        };
        let mut scope = target;
        match from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(tables)) => {
                let from = self.from(tables);
                scope = scope.beside(from);
            }
            Some(UpdateTableFromKind::BeforeSet(_)) => self.broken = true,
        }
        self.levels.push(scope);
        self.assign(Store { relation, updates: true, construct: "SET" }, assignments);
        if let Some(condition) = selection {
            self.condition(condition, "WHERE");
        }
        let scope = self.levels.pop().unwrap_or_default();
        self.returning(returning.as_deref(), scope, true)
    }

    fn delete(&mut self, delete: &Delete) -> Columns {
        let Delete {
            delete_token: _,
            optimizer_hints: _,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        self.broken |= output.is_some() || !order_by.is_empty() || limit.is_some() || !tables.is_empty();
        let mut scope = match from {
            FromTable::WithFromKeyword(tables) => self.from(tables),
            FromTable::WithoutKeyword(_) => {
                self.broken = true;
                Scope::default()
            }
        };
        if let Some(using) = using {
            let using = self.from(using);
            scope = scope.beside(using);
        }
        self.levels.push(scope);
        if let Some(condition) = selection {
            self.condition(condition, "WHERE");
        }
        let scope = self.levels.pop().unwrap_or_default();
        self.returning(returning.as_deref(), scope, true)
    }

    /// The relation that a target is.
    pub(super) fn only_relation(&self, scope: &Scope) -> Option<usize> {
        let [item] = scope.items.as_slice() else { return None };
        match item.columns.0.as_slice() {
            [Entry::Relation(at)] => Some(*at),
            _ => None,
        }
    }

    /// `versions`: the first item's old and new rows have names of their own.
    pub(super) fn returning(&mut self, list: Option<&[SelectItem]>, mut scope: Scope, versions: bool) -> Columns {
        let Some(list) = list else { return Columns::default() };
        if versions && let Some(first) = scope.items.first() {
            let columns = Rc::clone(&first.columns);
            for alias in ["old", "new"] {
                if !scope.items.iter().any(|item| item.alias.as_deref() == Some(alias)) {
                    scope.items.push(Item { alias: Some(alias.into()), columns: Rc::clone(&columns), qualified: true });
                }
            }
        }
        self.levels.push(scope);
        let columns = self.list(list);
        self.levels.pop();
        columns
    }
}
