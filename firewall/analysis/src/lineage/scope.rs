//! What names mean: FROM items, their columns, and the levels of a query around each other.

use std::rc::Rc;

use smallvec::SmallVec;

use super::names::folded;
use super::value::{Set, Source, Value};
use super::{Lineage, SYSTEM_COLUMNS};
use crate::arbiter::MAX_TARGETS;
use crate::catalog::Relation;
use crate::parse::ast::Ident;
use crate::reach::Why;

/// One column of a FROM item or select list.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: Rc<str>,
    pub value: Value,
}

/// A column, or some columns that only their names tell apart.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Named(Column),
    /// All columns of whatever relation the arbiter's name means.
    Relation(usize),
    /// Columns that are not known; each of them may be this value.
    Open(Value),
}

/// The columns of a query or FROM item, in order.
#[must_use = "columns are handed on, consumed or left unread"]
#[derive(Debug, Clone, Default)]
pub(super) struct Columns(pub Vec<Entry>);

/// A FROM item by the name that qualifies its columns.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub alias: Option<Rc<str>>,
    pub columns: Rc<Columns>,
    /// Its columns need the qualifier (`excluded`, `old`, the alias of a join's USING).
    pub qualified: bool,
}

/// A part of what `*` expands to.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// An item's columns, without those that a join has merged.
    Item(usize, SmallVec<[Rc<str>; 2]>),
    Merged(Column),
}

/// A FROM clause, or a part of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub items: Vec<Item>,
    pub star: Vec<Part>,
    /// Columns merged by USING or NATURAL: the name alone means these.
    pub merged: Vec<Column>,
}

/// Whether a name is one of some columns.
#[derive(Debug)]
pub(super) enum Presence {
    No,
    /// It may be; then this is its value.
    Maybe(Value),
    Sure(Value),
}

impl Columns {
    pub(super) fn open(value: Value) -> Self {
        Self(vec![Entry::Open(value)])
    }

    /// Nobody reads them. (What may tell by being computed has been noted where it stands.)
    pub(super) fn unread(self) {}

    /// Every column, if all are known.
    pub(super) fn listed(&self) -> Option<Vec<&Column>> {
        self.0
            .iter()
            .map(|entry| match entry {
                Entry::Named(column) => Some(column),
                Entry::Relation(_) | Entry::Open(_) => None,
            })
            .collect()
    }

    /// As the columns of a subquery.
    pub(super) fn passed(mut self) -> Self {
        for entry in &mut self.0 {
            if let Entry::Named(column) = entry {
                let value = std::mem::replace(&mut column.value, Value::free(Source::Given));
                column.value = value.passed();
            }
        }
        self
    }
}

impl Scope {
    pub(super) fn of(item: Item) -> Self {
        let star = if item.qualified { Vec::new() } else { vec![Part::Item(0, SmallVec::new())] };
        Self { items: vec![item], star, merged: Vec::new() }
    }

    pub(super) fn beside(mut self, other: Self) -> Self {
        let shift = self.items.len();
        self.items.extend(other.items);
        self.merged.extend(other.merged);
        self.star.extend(other.star.into_iter().map(|part| match part {
            Part::Item(at, hidden) => Part::Item(at + shift, hidden),
            merged @ Part::Merged(_) => merged,
        }));
        self
    }
}

impl Lineage<'_, '_, '_, '_> {
    /// All columns of a relation, in order, if all that it may be have the same.
    pub(super) fn expanded(&self, at: usize) -> Option<Vec<Column>> {
        let candidates = self.resolved.candidates.get(at)?.as_slice();
        if self.resolved.is_fresh(at) {
            let name = self.resolved.seen.relations.get(at)?.name;
            let own = self.resolved.session.columns(name).filter(|_| candidates.is_empty())?;
            return Some(own.iter().map(|name| self.own_column(at, name)).collect());
        }
        let (first, others) = candidates.split_first()?;
        let names = |r: &Relation| r.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let own = names(first);
        if !others.iter().all(|other| names(other) == own) {
            return None;
        }
        Some(own.iter().map(|name| self.own_column(at, name)).collect())
    }

    fn own_column(&self, at: usize, name: &str) -> Column {
        Column { name: name.into(), value: self.relation_value(at, name) }
    }

    /// The value of a column by name, over all that the relation may be.
    fn relation_value(&self, at: usize, name: &str) -> Value {
        let mut set = Set::new();
        let mut row = Set::new();
        let mut text = false;
        for marked in self.resolved.marked(at).filter(|marked| &*marked.name == name) {
            match marked.why {
                Why::Label(label) => set.push((marked.id, label)),
                Why::Text => text = true,
                Why::Row(id, label) => row.push((id, label)),
            }
        }
        set.dedup();
        if !row.is_empty() {
            set.extend(row);
            return Value::made([Value::column(set)], "column of a row type", false);
        }
        if text && set.is_empty() {
            return Value::text();
        }
        let value = Value::column(set);
        // The server's name for it is that of a relation which no snapshot knows.
        if self.resolved.is_fresh(at) { value.carried() } else { value }
    }

    fn relation_has(&self, at: usize, name: &str) -> Presence {
        if SYSTEM_COLUMNS.contains(&name) {
            return Presence::Sure(Value::free(Source::Computed));
        }
        let candidates = self.resolved.candidates.get(at).map(|c| c.as_slice()).unwrap_or_default();
        let holders = candidates.iter().filter(|relation| relation.column(name).is_some()).count();
        let fresh = self.resolved.is_fresh(at);
        if fresh || candidates.is_empty() {
            return Presence::Maybe(self.relation_value(at, name));
        }
        match holders {
            0 => Presence::No,
            some if some == candidates.len() => Presence::Sure(self.relation_value(at, name)),
            _ => Presence::Maybe(self.relation_value(at, name)),
        }
    }

    /// Everything labelled in a relation.
    pub(super) fn whole_relation(&self, at: usize) -> Value {
        let mut set = Set::new();
        for marked in self.resolved.marked(at) {
            if let Why::Label(label) | Why::Row(_, label) = marked.why {
                set.push((marked.id, label));
            }
        }
        Value::column(set)
    }

    /// Everything labelled in some columns.
    pub(super) fn whole(&self, columns: &Columns) -> Value {
        let values: Vec<Value> = columns
            .0
            .iter()
            .map(|entry| match entry {
                Entry::Named(column) => column.value.clone(),
                Entry::Relation(at) => self.whole_relation(*at),
                Entry::Open(value) => value.clone(),
            })
            .collect();
        values.into_iter().reduce(Value::or).unwrap_or_else(|| Value::free(Source::Computed))
    }

    fn has(&self, columns: &Columns, name: &str) -> Presence {
        let mut sure: Option<Value> = None;
        let mut maybe: Option<Value> = None;
        let join = |slot: &mut Option<Value>, value: Value| {
            *slot = Some(match slot.take() {
                Some(known) => known.or(value),
                None => value,
            });
        };
        for entry in &columns.0 {
            match entry {
                Entry::Named(column) if &*column.name == name => join(&mut sure, column.value.clone()),
                Entry::Named(_) => {}
                Entry::Relation(at) => match self.relation_has(*at, name) {
                    Presence::No => {}
                    Presence::Maybe(value) => join(&mut maybe, value),
                    Presence::Sure(value) => join(&mut sure, value),
                },
                Entry::Open(value) => join(&mut maybe, value.clone()),
            }
        }
        match (sure, maybe) {
            (Some(value), None) => Presence::Sure(value),
            // Two columns of one name are the server's error, unless the second is none.
            (Some(sure), Some(_)) => Presence::Sure(sure),
            (None, Some(value)) => Presence::Maybe(value),
            (None, None) => Presence::No,
        }
    }

    /// A name alone, at one level.
    pub(super) fn at_level(&self, scope: &Scope, name: &str) -> Presence {
        if let Some(merged) = scope.merged.iter().rev().find(|column| &*column.name == name) {
            return Presence::Sure(merged.value.clone());
        }
        let mut maybe: Option<Value> = None;
        let mut sure: Option<Value> = None;
        for item in scope.items.iter().filter(|item| !item.qualified) {
            let (slot, value) = match self.has(&item.columns, name) {
                Presence::No => continue,
                Presence::Maybe(value) => (&mut maybe, value),
                Presence::Sure(value) => (&mut sure, value),
            };
            *slot = Some(match slot.take() {
                Some(known) => known.or(value),
                None => value,
            });
        }
        match (sure, maybe) {
            (Some(value), _) => Presence::Sure(value),
            (None, Some(value)) => Presence::Maybe(value),
            (None, None) => Presence::No,
        }
    }

    /// What a column reference means; its position is then accounted for.
    pub(super) fn resolve(&mut self, idents: &[Ident]) -> Value {
        let Some((last, qualifiers)) = idents.split_last() else {
            return self.lost();
        };
        let name = folded(last);
        let position = idents.first().and_then(|first| self.positions.ident(first));
        let found = match qualifiers.last() {
            None => self.unqualified(&name),
            Some(qualifier) => self.qualified(&folded(qualifier), &name),
        };
        let Some(value) = found else {
            return if qualifiers.is_empty() { self.whole_row(&name) } else { self.lost() };
        };
        self.visit(position, idents.len(), &name, &value);
        value.at(position.unwrap_or(usize::MAX))
    }

    fn unqualified(&self, name: &str) -> Option<Value> {
        let mut maybe: Option<Value> = None;
        for scope in self.levels.iter().rev() {
            match self.at_level(scope, name) {
                Presence::No => {}
                Presence::Maybe(value) => {
                    maybe = Some(match maybe.take() {
                        Some(known) => known.or(value),
                        None => value,
                    });
                }
                Presence::Sure(value) => {
                    return Some(match maybe {
                        Some(known) => known.or(value),
                        None => value,
                    });
                }
            }
        }
        maybe
    }

    fn qualified(&self, qualifier: &str, name: &str) -> Option<Value> {
        let scope = self.levels.iter().rev().find(|scope| named_items(scope, qualifier).next().is_some())?;
        let mut found: Option<Value> = None;
        for item in named_items(scope, qualifier) {
            match self.has(&item.columns, name) {
                Presence::No => {}
                Presence::Maybe(value) | Presence::Sure(value) => {
                    found = Some(match found.take() {
                        Some(known) => known.or(value),
                        None => value,
                    });
                }
            }
        }
        found
    }

    /// A name that is no column: the row of a FROM item, or the value of a function in FROM.
    fn whole_row(&mut self, name: &str) -> Value {
        let item = self.levels.iter().rev().find_map(|scope| named_items(scope, name).next());
        match item.map(|item| Rc::clone(&item.columns)) {
            Some(columns) => Value::made([self.whole(&columns)], "whole row", false),
            None => self.lost(),
        }
    }

    /// `*`, or `item.*`.
    pub(super) fn star(&mut self, qualifier: Option<&str>) -> Option<Columns> {
        let scope = match qualifier {
            None => self.levels.last()?,
            Some(qualifier) => self.levels.iter().rev().find(|s| named_items(s, qualifier).next().is_some())?,
        };
        let mut entries = Vec::new();
        match qualifier {
            Some(qualifier) => {
                for item in named_items(scope, qualifier) {
                    self.expand(&item.columns, &[], &mut entries);
                }
            }
            None => {
                for part in &scope.star {
                    match part {
                        Part::Merged(column) => entries.push(Entry::Named(column.clone())),
                        Part::Item(at, hidden) => {
                            if let Some(item) = scope.items.get(*at) {
                                self.expand(&item.columns, hidden, &mut entries);
                            }
                        }
                    }
                    if entries.len() > MAX_TARGETS {
                        break;
                    }
                }
            }
        }
        Some(Columns(entries))
    }

    pub(super) fn expand(&self, columns: &Columns, hidden: &[Rc<str>], entries: &mut Vec<Entry>) {
        for entry in &columns.0 {
            match entry {
                Entry::Named(column) if hidden.contains(&column.name) => {}
                Entry::Named(_) | Entry::Open(_) => entries.push(entry.clone()),
                Entry::Relation(at) => match self.expanded(*at) {
                    Some(own) => {
                        entries.extend(own.into_iter().filter(|c| !hidden.contains(&c.name)).map(Entry::Named));
                    }
                    None => entries.push(entry.clone()),
                },
            }
        }
    }
}

fn named_items<'s>(scope: &'s Scope, alias: &'s str) -> impl Iterator<Item = &'s Item> {
    scope.items.iter().filter(move |item| item.alias.as_deref() == Some(alias))
}
