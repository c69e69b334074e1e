//! What is stored where.

use std::rc::Rc;

use super::Lineage;
use super::names::{folded, parts};
use super::scope::Columns;
use super::value::Value;
use crate::parse::ast::{Assignment, AssignmentTarget, Expr, ObjectName};

/// A column of the target.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Named(Rc<str>),
    /// Without a column list: its place.
    At(usize),
    /// Any column: which one is not known.
    Any,
    /// A field or element of a column, or something that is not understood.
    Part(Rc<str>),
}

/// The relation that a statement writes to, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Store {
    /// Its index in the arbiter's list.
    pub relation: usize,
    pub updates: bool,
    pub construct: &'static str,
}

impl Lineage<'_, '_, '_, '_> {
    /// A value goes into a column of the target.
    pub(super) fn store(&mut self, store: Store, target: &Target, value: &Value) {
        self.flow(value, store.construct);
        if self.filtering {
            self.evaluated(value);
        }
        let harmless = !matches!(target, Target::Part(_)) && (value.is_storable() || value.is_unmodified());
        let resolved = self.resolved;
        for marked in resolved.marked(store.relation) {
            let meant = match target {
                Target::Named(name) | Target::Part(name) => *marked.name == **name,
                Target::At(at) => marked.index == *at,
                Target::Any => true,
            };
            if meant {
                let key = (store.relation, marked.id, store.updates);
                *self.stored.entry(key).or_insert(true) &= harmless;
            }
        }
    }

    /// The columns of a query go into those of the target, one by one.
    pub(super) fn store_columns(&mut self, store: Store, targets: &[Target], columns: Columns) {
        let Some(listed) = columns.listed() else {
            // Which goes where is not known.
            let whole = self.whole(&columns);
            self.store(store, &Target::Any, &whole);
            return whole.discarded();
        };
        for (at, column) in listed.iter().enumerate() {
            let target = if targets.is_empty() { Some(&Target::At(at)) } else { targets.get(at) };
            if let Some(target) = target {
                self.store(store, target, &column.value);
            }
        }
    }

    /// `SET …`
    pub(super) fn assign(&mut self, store: Store, assignments: &[Assignment]) {
        for Assignment { target, value } in assignments {
            match target {
                AssignmentTarget::ColumnName(name) => {
                    let value = self.value(value);
                    let target = self.target(name);
                    self.store(store, &target, &value);
                    value.discarded();
                }
                AssignmentTarget::Tuple(names) => {
                    let targets: Vec<Target> = names.iter().map(|name| self.target(name)).collect();
                    self.assign_row(store, &targets, value);
                }
            }
        }
    }

    fn assign_row(&mut self, store: Store, targets: &[Target], value: &Expr) {
        if let Expr::Nested(inner) = value {
            return self.assign_row(store, targets, inner);
        }
        if let Expr::Tuple(values) = value
            && values.len() == targets.len()
        {
            for (target, value) in targets.iter().zip(values) {
                let value = self.value(value);
                self.store(store, target, &value);
                value.discarded();
            }
            return;
        }
        if let Expr::Subquery(query) = value {
            let columns = self.query(query).passed();
            return self.store_columns(store, targets, columns);
        }
        self.broken = true;
    }

    pub(super) fn target(&mut self, name: &ObjectName) -> Target {
        let Some(parts) = parts(name) else {
            self.broken = true;
            return Target::Part("".into());
        };
        match parts.as_slice() {
            [column] => Target::Named(folded(column).into()),
            [column, ..] => Target::Part(folded(column).into()),
            [] => Target::Part("".into()),
        }
    }
}
