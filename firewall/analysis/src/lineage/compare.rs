//! Conditions: whatever decides which rows there are, and what it can tell of the labelled columns in it.

use super::Lineage;
use super::uses::needed;
use super::value::Value;
use crate::arbiter::with_stack;
use crate::facts::Predicate;
use crate::parse::ast::{BinaryOperator, Expr, Query, UnaryOperator};

impl Lineage<'_, '_, '_, '_> {
    /// A condition on rows.
    pub(super) fn condition(&mut self, expr: &Expr, construct: &str) {
        let filtering = std::mem::replace(&mut self.filtering, true);
        self.condition_within(expr, construct);
        self.filtering = filtering;
    }

    /// An expression of which anything may be asked: a key of an order, a limit, a part of a condition.
    pub(super) fn asked(&mut self, expr: &Expr, construct: &str) {
        let filtering = std::mem::replace(&mut self.filtering, true);
        self.asked_within(expr, construct);
        self.filtering = filtering;
    }

    /// A key whose equal values come together.
    pub(super) fn key(&mut self, expr: &Expr, construct: &str) {
        let filtering = std::mem::replace(&mut self.filtering, true);
        let value = self.value(expr);
        self.filtering = filtering;
        self.distinguished(&value, construct);
        value.discarded();
    }

    fn asked_within(&mut self, expr: &Expr, construct: &str) {
        let value = self.value(expr);
        self.filter(&value, Predicate::Any, construct);
        value.discarded();
    }

    fn condition_within(&mut self, expr: &Expr, construct: &str) {
        if !self.spend(1) {
            return;
        }
        with_stack(|| self.condition_here(expr, construct));
    }

    fn condition_here(&mut self, expr: &Expr, construct: &str) {
        if let Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Not, expr: inner } = expr {
            return self.condition_within(inner, construct);
        }
        if let Expr::BinaryOp { left, op, right } = expr {
            if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
                self.condition_within(left, construct);
                return self.condition_within(right, construct);
            }
            if is_equality(op) {
                return self.equal(left, right, construct);
            }
        }
        if let Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) = expr {
            return self.equal(left, right, construct);
        }
        if let Expr::IsNull(inner) | Expr::IsNotNull(inner) = expr {
            let value = self.value(inner);
            self.distinguished(&value, construct);
            return value.discarded();
        }
        if let Expr::InList { expr, list, negated: _ } = expr {
            return self.in_list(expr, list, construct);
        }
        if let Expr::InSubquery { expr, subquery, negated: _ } = expr {
            return self.in_subquery(expr, subquery, construct);
        }
        if let Expr::AnyOp { left, compare_op, right, is_some: _ } | Expr::AllOp { left, compare_op, right } = expr
            && is_equality(compare_op)
        {
            if let Expr::Subquery(query) = &**right {
                return self.in_subquery(left, query, construct);
            }
            return self.equal_to_one(left, right, construct);
        }
        if let Expr::Exists { subquery, negated: _ } = expr {
            return self.query(subquery).unread();
        }
        self.asked_within(expr, construct);
    }

    /// `left = right`, row by row where both are rows.
    fn equal(&mut self, left: &Expr, right: &Expr, construct: &str) {
        if let (Some(left), Some(right)) = (row(left), row(right))
            && left.len() == right.len()
        {
            for (left, right) in left.iter().zip(right) {
                self.equal(left, right, construct);
            }
            return;
        }
        let left = self.value(left);
        let right = self.value(right);
        self.compared(&left, &right, construct);
        left.discarded();
        right.discarded();
    }

    /// `left = ANY (array)`: only an array that is written down, or a parameter, shows how many guesses it is.
    fn equal_to_one(&mut self, left: &Expr, right: &Expr, construct: &str) {
        let left = self.value(left);
        let right = self.value(right);
        if right.is_free() && !right.is_given() {
            self.filter(&left, Predicate::Any, construct);
        } else {
            self.compared(&left, &right, construct);
        }
        left.discarded();
        right.discarded();
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr], construct: &str) {
        if row(expr).is_some() {
            for other in list {
                self.equal(expr, other, construct);
            }
            return;
        }
        let value = self.value(expr);
        let mut needs = Predicate::Equality;
        for other in list {
            let other = self.value(other);
            needs = needs.max(needed(&value, &other));
            self.filter(&other, needed(&other, &value), construct);
            other.discarded();
        }
        self.filter(&value, needs, construct);
        value.discarded();
    }

    fn in_subquery(&mut self, expr: &Expr, query: &Query, construct: &str) {
        let lefts: Vec<Value> = match row(expr) {
            Some(parts) => {
                let mut values = Vec::with_capacity(parts.len());
                for part in parts {
                    values.push(self.value(part));
                }
                values
            }
            None => vec![self.value(expr)],
        };
        let columns = self.query(query);
        match columns.listed() {
            Some(rights) if rights.len() == lefts.len() => {
                for (left, right) in lefts.iter().zip(rights) {
                    // What a query makes up by itself can be any number of guesses.
                    if right.value.is_free() && !right.value.is_given() {
                        self.filter(left, Predicate::Any, construct);
                    } else {
                        self.compared(left, &right.value, construct);
                    }
                }
            }
            _ => {
                let right = self.whole(&columns);
                for value in lefts.iter().chain([&right]) {
                    self.filter(value, Predicate::Any, construct);
                }
                right.discarded();
            }
        }
        for left in lefts {
            left.discarded();
        }
        columns.unread();
    }
}

pub(super) fn is_equality(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq)
}

/// The parts of a row.
fn row(expr: &Expr) -> Option<&[Expr]> {
    if let Expr::Tuple(parts) = expr { Some(parts) } else { None }
}
