//! Queries: WITH, set operations, ORDER BY positions.

use super::names::folded;
use super::{Column, Columns, Shaper, derived};
use crate::facts::Output;
use crate::parse::ast::{Expr, OrderBy, OrderByKind, Query, SetExpr, Statement, TableAlias, Value, Values, With};

impl Shaper<'_, '_, '_, '_> {
    /// A query's columns; with `feeding`, its select list is the outermost one or feeds it.
    pub(super) fn query(&mut self, query: &Query, feeding: bool) -> Columns {
        let Query {
            with,
            body,
            order_by,
            limit_clause: _,
            fetch: _,
            locks: _,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty() {
            return Columns::default();
        }
        let scope = self.ctes.len();
        if let Some(with) = with {
            self.with(with);
        }
        let columns = self.body(body, feeding);
        if let Some(order_by) = order_by {
            self.order_by(order_by, &columns);
        }
        self.ctes.truncate(scope);
        columns
    }

    fn with(&mut self, with: &With) {
        let first = self.ctes.len();
        if with.recursive {
            // Every name hides its table everywhere; its columns are not known before it is read.
            for cte in &with.cte_tables {
                self.ctes.push((folded(&cte.alias.name), Columns::default()));
            }
        }
        for (index, cte) in with.cte_tables.iter().enumerate() {
            let columns = renamed(self.query(&cte.query, cte.from.is_none()), Some(&cte.alias));
            if with.recursive {
                if let Some(slot) = self.ctes.get_mut(first + index) {
                    slot.1 = columns;
                }
            } else {
                self.ctes.push((folded(&cte.alias.name), columns));
            }
        }
    }

    fn body(&mut self, body: &SetExpr, feeding: bool) -> Columns {
        match body {
            SetExpr::Select(select) => self.select(select, feeding),
            SetExpr::Query(query) => self.query(query, feeding),
            SetExpr::SetOperation { left, right, op: _, set_quantifier: _ } => {
                let left = self.body(left, false);
                let _ = self.body(right, false);
                Columns {
                    list: left
                        .list
                        .map(|columns| columns.into_iter().map(|c| Column { output: derived(), ..c }).collect()),
                    labels: Vec::new(),
                }
            }
            SetExpr::Values(values) => self::values(values),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.returned(statement, feeding),
            SetExpr::Table(_) => Columns::default(),
        }
    }

    fn returned(&mut self, statement: &Statement, feeding: bool) -> Columns {
        if feeding { self.data_modifying(statement) } else { Columns::default() }
    }

    fn order_by(&mut self, order_by: &OrderBy, columns: &Columns) {
        let OrderByKind::Expressions(keys) = &order_by.kind else {
            return;
        };
        for key in keys {
            let Expr::Value(value) = &key.expr else { continue };
            let Value::Number(number, _) = &value.value else {
                continue;
            };
            let at = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            let column = at.and_then(|at| columns.list.as_ref()?.get(at));
            if column.is_some_and(|column| column.output == Output::Free) {
                self.harmless.extend(self.positions.of(value));
            }
        }
    }
}

fn values(values: &Values) -> Columns {
    let width = values.rows.first().map_or(0, |row| row.content.len());
    Columns {
        list: Some((1..=width).map(|n| Column { name: format!("column{n}").into(), output: derived() }).collect()),
        labels: Vec::new(),
    }
}

/// `AS alias (names)`: the first columns get other names.
pub(super) fn renamed(mut columns: Columns, alias: Option<&TableAlias>) -> Columns {
    let Some(alias) = alias else { return columns };
    if alias.columns.is_empty() {
        return columns;
    }
    columns.list = columns.list.and_then(|mut list| {
        if alias.columns.len() > list.len() {
            return None;
        }
        for (column, name) in list.iter_mut().zip(&alias.columns) {
            column.name = folded(&name.name);
        }
        Some(list)
    });
    columns
}
