//! Queries: WITH, set operations, VALUES, ORDER BY, LIMIT.

use std::rc::Rc;

use super::Lineage;
use super::foreign::is_foreign_query;
use super::names::folded;
use super::scope::{Column, Columns, Entry};
use super::select::computed;
use super::value::Value;
use crate::arbiter::with_stack;
use crate::facts::Predicate;
use crate::parse::ast::{
    Expr, Fetch, LimitClause, Offset, OrderByExpr, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier, TableAlias,
    Values, With,
};

impl Lineage<'_, '_, '_, '_> {
    pub(super) fn query(&mut self, query: &Query) -> Columns {
        self.ordered_query(query, &[])
    }

    fn ordered_query(&mut self, query: &Query, outer: &[OrderByExpr]) -> Columns {
        if !self.spend(1) {
            return Columns::default();
        }
        with_stack(|| self.query_here(query, outer))
    }

    fn query_here(&mut self, query: &Query, outer: &[OrderByExpr]) -> Columns {
        if is_foreign_query(query) {
            self.broken = true;
            return Columns::default();
        }
        let scope = self.ctes.len();
        if let Some(with) = &query.with {
            self.with(with);
        }
        let own: &[OrderByExpr] = match &query.order_by {
            None => &[],
            Some(order_by) => {
                self.broken |= order_by.interpolate.is_some();
                match &order_by.kind {
                    OrderByKind::Expressions(keys) => keys,
                    OrderByKind::All(_) => {
                        self.broken = true;
                        &[]
                    }
                }
            }
        };
        // Parentheses around a query: only one of the two has an ORDER BY.
        self.broken |= !own.is_empty() && !outer.is_empty();
        let columns = self.body(&query.body, if own.is_empty() { outer } else { own });
        self.limits(query.limit_clause.as_ref(), query.fetch.as_ref());
        self.ctes.truncate(scope);
        columns
    }

    fn limits(&mut self, limit: Option<&LimitClause>, fetch: Option<&Fetch>) {
        match limit {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                self.broken |= !limit_by.is_empty();
                if let Some(limit) = limit {
                    self.asked(limit, "LIMIT");
                }
                if let Some(Offset { value, rows: _ }) = offset {
                    self.asked(value, "OFFSET");
                }
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => self.broken = true,
        }
        if let Some(Fetch { with_ties: _, percent: _, quantity: Some(quantity) }) = fetch {
            self.asked(quantity, "LIMIT");
        }
    }

    pub(super) fn with(&mut self, with: &With) {
        let With { with_token: _, recursive, cte_tables } = with;
        if *recursive {
            return self.with_recursive(cte_tables);
        }
        for cte in cte_tables {
            self.broken |= cte.from.is_some();
            let columns = self.query(&cte.query).passed();
            let columns = self.renamed(columns, Some(&cte.alias));
            self.ctes.push((folded(&cte.alias.name).into(), Some(Rc::new(columns))));
        }
    }

    pub(super) fn body(&mut self, body: &SetExpr, order: &[OrderByExpr]) -> Columns {
        if !self.spend(1) {
            return Columns::default();
        }
        with_stack(|| self.body_here(body, order))
    }

    fn body_here(&mut self, body: &SetExpr, order: &[OrderByExpr]) -> Columns {
        let columns = match body {
            SetExpr::Select(select) => return self.select(select, order),
            SetExpr::Query(query) => return self.ordered_query(query, order),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let left = self.body(left, &[]);
                let right = self.body(right, &[]);
                self.combined(left, *op, *set_quantifier, right)
            }
            SetExpr::Values(values) => self.values(values),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.data_modifying(statement),
            SetExpr::Table(_) => {
                self.broken = true;
                Columns::default()
            }
        };
        self.order_by(order, &columns);
        columns
    }

    pub(super) fn combined(&mut self, left: Columns, op: SetOperator, how: SetQuantifier, right: Columns) -> Columns {
        let keeps_all = match how {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                self.broken = true;
                false
            }
        };
        let (construct, compares) = match op {
            SetOperator::Union => ("UNION", !keeps_all),
            SetOperator::Except => ("EXCEPT", true),
            SetOperator::Intersect => ("INTERSECT", true),
            SetOperator::Minus => {
                self.broken = true;
                ("MINUS", true)
            }
        };
        let aligned = match (left.listed(), right.listed()) {
            (Some(left), Some(right)) => left.len() == right.len(),
            _ => false,
        };
        if !aligned {
            let (one, other) = (self.whole(&left), self.whole(&right));
            if compares {
                self.filter(&one, Predicate::Any, construct);
                self.filter(&other, Predicate::Any, construct);
            }
            return Columns::open(one.either(other));
        }
        let pairs = left.0.into_iter().zip(right.0);
        Columns(
            pairs
                .map(|pair| match pair {
                    (Entry::Named(Column { name, value }), Entry::Named(other)) => {
                        if compares {
                            self.compared(&value, &other.value, construct);
                        }
                        let value = if matches!(op, SetOperator::Except) {
                            // Only rows of the first side are left.
                            other.value.discarded();
                            value.carried().passed()
                        } else {
                            value.either(other.value)
                        };
                        Entry::Named(Column { name, value })
                    }
                    (entry, _) => entry,
                })
                .collect(),
        )
    }

    fn values(&mut self, values: &Values) -> Columns {
        let Values { explicit_row, value_keyword, rows } = values;
        self.broken |= *explicit_row || *value_keyword;
        let mut columns: Vec<Value> = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            for (at, expr) in row.content.iter().enumerate() {
                let value = self.listed_value(expr);
                if number == 0 {
                    columns.push(if value.is_given() { value } else { value.carried() });
                } else if let Some(slot) = columns.get_mut(at) {
                    let known = std::mem::replace(slot, computed());
                    *slot = if known.is_given() && value.is_given() { known } else { known.either(value) };
                } else {
                    self.broken = true;
                    value.discarded();
                }
            }
        }
        Columns(
            columns
                .into_iter()
                .enumerate()
                .map(|(at, value)| Entry::Named(Column { name: format!("column{}", at + 1).into(), value }))
                .collect(),
        )
    }

    /// One value of a VALUES list.
    fn listed_value(&mut self, expr: &Expr) -> Value {
        let value = self.value(expr);
        self.evaluated(&value);
        value
    }

    /// `AS alias (names)`: the first columns get other names.
    pub(super) fn renamed(&mut self, columns: Columns, alias: Option<&TableAlias>) -> Columns {
        let Some(alias) = alias else { return columns };
        if super::foreign::is_foreign_alias(alias) {
            self.broken = true;
        }
        if alias.columns.is_empty() {
            return columns;
        }
        let mut expanded = Vec::new();
        self.expand(&columns, &[], &mut expanded);
        let names: Vec<Rc<str>> = alias.columns.iter().map(|column| folded(&column.name).into()).collect();
        let known = expanded.iter().take(names.len()).all(|entry| matches!(entry, Entry::Named(_)));
        if known && expanded.len() >= names.len() {
            for (entry, name) in expanded.iter_mut().zip(names) {
                if let Entry::Named(column) = entry {
                    column.name = name;
                }
            }
            return Columns(expanded);
        }
        // Which of them gets which name is not known.
        let whole = self.whole(&columns);
        let mut entries: Vec<Entry> =
            names.into_iter().map(|name| Entry::Named(Column { name, value: whole.clone() })).collect();
        entries.push(Entry::Open(whole));
        Columns(entries)
    }
}
