//! Keys that can also mean output columns: ORDER BY, GROUP BY, DISTINCT ON.

use super::Lineage;
use super::names::folded;
use super::scope::{Columns, Entry, Presence};
use super::value::Value;
use crate::facts::Predicate;
use crate::parse::ast::{Expr, GroupByExpr, Ident, OrderByExpr, Value as Literal};

/// What a bare name or number as a key means.
enum Meaning {
    /// An output column, or it may be one.
    Output(Value),
    /// An expression of the scope.
    Input,
}

impl Lineage<'_, '_, '_, '_> {
    pub(super) fn order_by(&mut self, keys: &[OrderByExpr], columns: &Columns) {
        for OrderByExpr { expr, options: _, with_fill } in keys {
            self.broken |= with_fill.is_some();
            match self.meaning(expr, columns, false) {
                Meaning::Output(value) => {
                    self.filter(&value, Predicate::Any, "ORDER BY");
                    value.discarded();
                }
                Meaning::Input => self.asked(expr, "ORDER BY"),
            }
        }
    }

    pub(super) fn distinct_on(&mut self, key: &Expr, columns: &Columns) {
        match self.meaning(key, columns, false) {
            Meaning::Output(value) => {
                self.distinguished(&value, "DISTINCT ON");
                value.discarded();
            }
            Meaning::Input => self.key(key, "DISTINCT ON"),
        }
    }

    pub(super) fn group_by(&mut self, group_by: &GroupByExpr, columns: &Columns) {
        match group_by {
            GroupByExpr::All(_) => self.broken = true,
            GroupByExpr::Expressions(keys, modifiers) => {
                self.broken |= !modifiers.is_empty();
                for key in keys {
                    self.group_key(key, columns);
                }
            }
        }
    }

    fn group_key(&mut self, key: &Expr, columns: &Columns) {
        if !self.spend(1) {
            return;
        }
        if let Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) = key {
            return sets.iter().flatten().for_each(|key| self.group_key(key, columns));
        }
        if let Expr::Tuple(keys) = key {
            return keys.iter().for_each(|key| self.group_key(key, columns));
        }
        match self.meaning(key, columns, true) {
            Meaning::Output(value) => {
                self.distinguished(&value, "GROUP BY");
                value.discarded();
            }
            Meaning::Input => self.key(key, "GROUP BY"),
        }
    }

    /// `grouping`: a column of FROM comes before one of the list.
    fn meaning(&mut self, key: &Expr, columns: &Columns, grouping: bool) -> Meaning {
        if let Expr::Nested(inner) = key {
            return self.meaning(inner, columns, grouping);
        }
        if let Expr::Value(value) = key
            && let Literal::Number(number, _) = &value.value
        {
            let position = self.positions.of(value);
            return match self.by_number(number, columns) {
                Some(value) => {
                    self.ordinals.extend(position);
                    Meaning::Output(value.at(position.unwrap_or(usize::MAX)))
                }
                None => Meaning::Input,
            };
        }
        if let Expr::Identifier(ident) = key {
            return self.by_name(ident, columns, grouping);
        }
        Meaning::Input
    }

    fn by_number(&self, number: &str, columns: &Columns) -> Option<Value> {
        let at = number.parse::<usize>().ok()?.checked_sub(1)?;
        let before = columns.0.iter().take(at + 1);
        let known = before.clone().all(|entry| matches!(entry, Entry::Named(_)));
        if known && let Some(Entry::Named(column)) = columns.0.get(at) {
            return Some(column.value.clone());
        }
        Some(self.whole(columns))
    }

    fn by_name(&mut self, ident: &Ident, columns: &Columns, grouping: bool) -> Meaning {
        let name = folded(ident);
        let mut input: Option<Value> = None;
        if grouping && let Some(scope) = self.levels.last() {
            match self.at_level(scope, &name) {
                Presence::Sure(value) => {
                    value.discarded();
                    return Meaning::Input;
                }
                Presence::Maybe(value) => input = Some(value),
                Presence::No => {}
            }
        }
        let mut output: Option<Value> = None;
        let mut unsure = false;
        for entry in &columns.0 {
            match entry {
                Entry::Named(column) if *column.name == *name => {
                    output = Some(match output.take() {
                        Some(known) => known.or(column.value.clone()),
                        None => column.value.clone(),
                    });
                }
                Entry::Named(_) => {}
                Entry::Relation(_) | Entry::Open(_) => unsure = true,
            }
        }
        let Some(output) = output else {
            // A column behind a star of unknown columns has the same name in FROM.
            return Meaning::Input;
        };
        let mut value = output;
        if unsure || input.is_some() {
            let resolved = self.resolve(std::slice::from_ref(ident));
            value = value.or(resolved);
        }
        if let Some(input) = input {
            value = value.or(input);
        }
        let position = self.positions.ident(ident);
        self.visit(position, 1, &name, &value);
        Meaning::Output(value.at(position.unwrap_or(usize::MAX)))
    }
}
